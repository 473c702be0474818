"""How well clips are rebuilt from their decomposition alone: SSIM and MSE (values 0..1) inside the face crop, per number of steps.

python bench/reconstruction.py CLIP... --steps 20 100 --solver order2 ddim
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage.metrics import structural_similarity

import dva_core
from dva_core.finder import to_images
from dva_core.pipeline import encode, shrink


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--steps", nargs="+", type=int, default=[20, 100])
    parser.add_argument("--solver", nargs="+", default=["order2", "ddim"])
    parser.add_argument("--every", type=int, default=5)
    args = parser.parse_args()
    model = dva_core.load_model(args.model)
    print("steps solver | " + " | ".join(f"{clip.stem} SSIM MSE" for clip in args.clips) + " | mean")
    for steps in args.steps:
        for solver in args.solver:
            figures = []
            for clip in args.clips:
                decomposition = encode(clip, model, steps=steps, solver=solver, every=args.every)
                size = model.image_size
                original = shrink(to_images(decomposition.crops[:]), size).numpy() / 2 + 0.5
                rebuilt = decomposition.rebuilt[:].astype(np.float32) / 2 + 0.5
                pairs = zip(original, rebuilt)
                ssim = np.mean([structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs])
                figures.append((ssim, np.mean((original - rebuilt) ** 2)))
            cells = " | ".join(f"{s:.3f} {m:.5f}" for s, m in [*figures, np.mean(figures, 0)])
            print(f"{steps:4d} {solver:7s} | {cells}", flush=True)


if __name__ == "__main__":
    main()
