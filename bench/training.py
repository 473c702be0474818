"""What a step of training should need of a GPU, counted on tensors without data, and the rate at which a core can feed it.

python bench/training.py --config starter_large --settings starter_large_training --faces ../shared/data/faces128
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from paper import CARDS, HALF, count
from timing import markdown
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dva_core.diffusion.solvers import STEPS
from dva_core.train.faces import read_faces
from dva_core.train.settings import DiffusionSettings, read_json

BACKWARD = 3  # forward and backward in forwards
PICTURES = 4  # that the counts are made of
SHARES = (0.15, 0.3)  # of the card's rate of products, which such small maps may reach


def forwards(s: DiffusionSettings) -> float:
    """Evaluations of one picture that a step costs, those with a gradient counted BACKWARD times."""
    trained = 2 * s.people * s.frames * s.accumulate + 2 * s.pairs + s.paths  # two noises; two vectors; one state
    decoded = s.paths * (STEPS - 1 + 2 * STEPS) / s.path_every if s.paths else 0  # inverted once, decoded with two vectors
    return BACKWARD * trained + decoded


def network_figures(config: dict) -> tuple[int, float, float]:
    """Parameters, FLOP of one evaluation of a picture, and bytes that autocast in half precision keeps of it for the backward pass."""
    _, flop, network = count(config, batch=PICTURES)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[id(tensor.untyped_storage())] = tensor.numel() * tensor.element_size()
        storages.append(tensor)
        return tensor

    storages: list[Tensor] = []  # alive, so that no id is given twice
    x = torch.empty(PICTURES, 3, network.image_size, network.image_size, dtype=HALF, device="meta")
    t = torch.zeros(PICTURES, dtype=torch.int64, device="meta")
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x, t, torch.empty(PICTURES, config["face_dim"], dtype=HALF, device="meta"))
    return sum(p.numel() for p in network.parameters()), flop / PICTURES, sum(kept.values()) / PICTURES


def feeding_rate(s: DiffusionSettings, size: int, faces: Path) -> float:
    """Pictures a second that one core gathers and draws noise for; framing, light and encoders run on the device."""
    pictures, generator, rng = read_faces(faces).pictures, torch.Generator().manual_seed(0), np.random.default_rng(0)
    people = s.people * s.frames

    def feed() -> None:
        pictures[rng.integers(len(pictures), size=people + 2 * s.pairs)]
        torch.randn((2, people + s.pairs, 3, size, size), generator=generator)

    feed()
    start = time.process_time()
    feed()
    return (people + s.pairs + s.paths) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="starter_large")
    parser.add_argument("--settings", default="starter_large_training")
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training the diffusion part (default: 8)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config, settings = read_json(args.config), DiffusionSettings.of(read_json(args.settings))
    settings = replace(settings, minutes=args.minutes)
    parameters, flop, kept = network_figures(config)
    step, pictures = flop * forwards(settings), settings.people * settings.frames + settings.pairs + settings.paths
    largest = 2 * max(settings.people * settings.frames, settings.pairs, settings.paths // 2)
    rows = [
        ["parameters", f"{parameters / 1e6:.1f} M"],
        ["an evaluation of a picture", f"{flop / 1e9:.2f} GFLOP"],
        ["a step", f"{pictures} pictures, {step / 1e12:.1f} TFLOP"],
        ["kept for the backward pass", f"{largest * kept / 2**30:.1f} GiB"],
        ["one core gathers and draws noise for", f"{feeding_rate(settings, config['image_size'], args.faces):.0f} pictures a second"],
    ]
    for card, (rate, _) in CARDS.items():
        for share in SHARES:
            a_second = pictures * share * rate / step
            rows.append(
                [f"{card} at {share:.0%} of its products", f"{a_second:.0f} pictures a second, {60 * args.minutes * a_second:.0f} in all"]
            )
    print(markdown(["", f"{args.config}, {args.minutes:g} minutes"], rows))


if __name__ == "__main__":
    main()
