"""What an evaluation of the noise predictor should need of a GPU, counted on tensors without data: launches, bytes, FLOP, memory. Writes
a page to hold measurements against.

python bench/paper.py -o docs/gpu.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import torch
from timing import markdown
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dva_core.model.evaluation import batch_within
from dva_core.networks import normalisation
from dva_core.networks.peak import Layouts, planned_for
from dva_core.networks.unet import UNet
from dva_core.train.settings import SHIPPED

BATCH = 64
HALF = torch.float16
CARDS = {"H100": (798e12, 3.0e12), "RTX 4090": (165e12, 1.0e12)}  # FLOP and bytes a second; the first as once measured, the other as told
LAUNCH = 5e-6  # seconds
OTHERS = 1 << 30  # bytes
CARD_SIZES = (6, 8, 12, 24)  # GB
NOTES = "## What the card is waited for"  # from here on a page is kept as it was
KINDS = {
    "convolution": "convolutions",
    "bias": "bias adds",
    "layout": "layout copies",
    "native_group_norm": "norms",
    "mean": "norms",
    "linalg_vector_norm": "norms",
    "silu": "SiLU",
    "silu_": "SiLU",
    "addcmul": "scale and shift, or the norm's own",
    "add": "additions",
    "add_": "additions",
    "cat": "concatenation",
    "clone": "layout copies",
    "avg_pool2d": "resampling",
    "upsample_nearest2d": "resampling",
    "upsample_bilinear2d": "resampling",
    "pixel_unshuffle": "layout copies",
    "pixel_shuffle": "layout copies",
    "bmm": "attention",
    "_softmax": "attention",
    "_safe_softmax": "attention",
}
NO_LAUNCH = ("empty", "detach", "_unsafe_view", "new_empty")


class Ledger(Layouts):
    """Launches and bytes by kind, as ATen's kernels for CUDA do it (see `Layouts`).

    A convolution adds its bias in a launch of its own; a group norm takes three launches.
    """

    def __init__(self) -> None:
        super().__init__("cuda")
        self.launches: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def note(self, kind: str, size: int, launches: int = 1) -> None:
        self.launches[KINDS.get(kind, "small things")] += launches
        self.bytes[KINDS.get(kind, "small things")] += size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        result, copied = self.lay(name, args, func(*args, **(kwargs or {})))
        if func.is_view or name.startswith(NO_LAUNCH):
            return result
        if copied:
            self.note("layout", 2 * copied)
        if name == "convolution":
            self.note(name, size_of(args[0]) + size_of(args[1]) + size_of(result))
            if args[2] is not None:
                self.note("bias", 2 * size_of(result))
        elif name == "native_group_norm":
            self.note(name, 2 * size_of(args[0]) + size_of(result[0]), 3)
        else:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.note(name, sum(map(size_of, {id(x): x for x in tensors}.values())))
        return result


def size_of(tensor: Tensor) -> int:
    """Bytes that a kernel reads or writes; an expanded axis is read once."""
    numel = 1
    for length, stride in zip(tensor.shape, tensor.stride()):
        numel *= length if stride else 1
    return numel * tensor.element_size()


def count(config: dict, in_place: bool = True, batch: int = BATCH) -> tuple[Ledger, int, UNet]:
    """Launches and bytes of one evaluation of a batch, its FLOP, and the network; without `in_place` all norms are ATen's."""
    settings = {k: v for k, v in config["noise_predictor"].items() if k != "type"}
    large = normalisation.LARGE_BATCH if in_place else sys.maxsize
    with torch.device("meta"), torch.no_grad(), planned_for("cuda"), patch.object(normalisation, "LARGE_BATCH", large):
        network = UNet(**settings).eval().to(HALF, memory_format=torch.channels_last)
        x = torch.empty(batch, 3, network.image_size, network.image_size, dtype=HALF)
        t, conditions = (
            torch.zeros(1, dtype=torch.int64).expand(batch),
            network.face_conditions(torch.empty(batch, network.condition_channels, dtype=HALF)),
        )
        with Ledger() as ledger:
            network(x, t, conditions)
        with FlopCounterMode(display=False) as flop:
            network(x, t, conditions)
    return ledger, flop.get_total_flops(), network


def about(name: str, config: dict) -> list[str]:
    """The tables of one network."""
    before, flop, network = count(config, in_place=False)
    after, *_ = count(config)
    kinds = sorted(before.bytes.keys() | after.bytes.keys(), key=lambda kind: -before.bytes[kind])
    rows = [[kind, *(f"{ledger.launches[kind]} | {ledger.bytes[kind] / 1e9:.2f}" for ledger in (before, after))] for kind in kinds]
    rows.append(["all", *(f"{ledger.launches.total()} | {ledger.bytes.total() / 1e9:.2f}" for ledger in (before, after))])
    head = ["", "launches, plain", "GB, plain", "launches", "GB"]
    text = f"One evaluation of {BATCH} frames is {flop / 1e12:.2f} TFLOP ({flop / BATCH / 1e9:.2f} GFLOP a frame), in half precision."
    page = [f"## {name}", text, markdown(head, rows)]
    floors = [
        [card, *(f"{1e3 * s:.2f}" for s in (flop / rate, before.bytes.total() / band, after.bytes.total() / band))]
        for card, (rate, band) in CARDS.items()
    ]
    page.append(markdown(["at the rates of", "ms, products alone", "ms, bytes alone, plain", "ms, bytes alone"], floors))
    slow = 1e3 * LAUNCH * after.launches.total()
    page.append(f"Launched one by one, at 5 us each, it cannot take less than {slow:.1f} ms.")
    weights = sum(p.numel() for p in network.parameters())
    sizes = [
        [str(frames), *(f"{network.peak_bytes(frames, dtype, 'cuda') / 2**20:.0f}" for dtype in (HALF, torch.float32))]
        for frames in (1, 4, 16, 64)
    ]
    page.append(f"Memory: weights {weights * HALF.itemsize / 2**20:.0f} MiB in half precision; an evaluation takes beside them:")
    page.append(markdown(["frames at once", "MiB, half precision", "MiB, float32"], sizes))
    for dtype, label in ((HALF, "half precision"), (torch.float32, "float32")):
        room = {gb: 3 * (gb * 2**30 - weights * dtype.itemsize - OTHERS) // 4 for gb in CARD_SIZES}
        fits = ", ".join(f"{batch_within(left, network, dtype, torch.device('cuda'))} on {gb} GB" for gb, left in room.items())
        page.append(f"Frames at once in {label}, with {OTHERS >> 30} GiB in use by others and a quarter left free: {fits}.")
    return page


INTRODUCTION = """# A GPU, on paper

Written by `bench/paper.py`; nothing here was measured on a GPU. `bench/speed.py VIDEO --device cuda` measures it: where its figures are far
from these, one of the two is wrong. Counted on tensors without data, as ATen's kernels for CUDA do it: a convolution takes maps whose
channels lie together and adds its bias in a launch of its own; group norm lays its result out channel after channel, whatever comes in.
"Plain" leaves all norms to ATen; the other columns are this network as it runs, whose large norms keep the layout and take the
condition's scale and shift along. `torch.compile` (`--compile`) fuses more than that and is not counted here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PAGE.md")
    args = parser.parse_args()
    page = [INTRODUCTION]
    for name in ("published", "starter"):
        config = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
        page += about(f"The {'published network' if name == 'published' else name}, {config['image_size']} pixels", config)
    if args.out.exists():
        page += [f"{NOTES}\n\n{notes.strip()}" for notes in args.out.read_text(encoding="utf-8").split(NOTES)[1:]]
    args.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
