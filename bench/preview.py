"""How long the preview of a dragged slider takes: one frame of a decomposition, edited anew each time; nothing is encoded again.

python -m dva_core encode VIDEO.mp4 --steps 20 --max-frames 5 -o decomposition.safetensors
python bench/preview.py decomposition.safetensors --attribute Male --times 8

Seconds by the clock and of the processor for each preview, the first (which also fills caches) told apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import dva_core
from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes
from dva_core.pipeline.preview import PREVIEW_STEPS, nearest_row, stills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decomposition", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--attribute", default="Male")
    parser.add_argument("--steps", type=int, nargs="+", default=[PREVIEW_STEPS])
    parser.add_argument("--times", type=int, default=8)
    args = parser.parse_args()
    model, decomposition = dva_core.load_model(args.model), Decomposition.load(args.decomposition)
    row = nearest_row(decomposition, 0)
    sys.stdout.write("steps,first_s,median_s,slowest_s,median_cpu_s\n")
    for steps in args.steps:
        clock, processor = [], []
        for scale in np.linspace(-0.8, 0.8, args.times + 1):
            began, used = time.perf_counter(), time.process_time()
            stills([apply_attributes(decomposition, model, {args.attribute: float(scale)})], model, row, steps=steps)
            clock.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
        figures = [clock[0], np.median(clock[1:]), max(clock[1:]), np.median(processor[1:])]
        sys.stdout.write(",".join([str(steps), *(f"{value:.3f}" for value in figures)]) + "\n")


if __name__ == "__main__":
    main()
