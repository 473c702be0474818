"""What an evaluation of the noise predictor should need of a GPU, counted on tensors without data: launches, bytes, FLOP, memory. Writes
a page to hold measurements against.

python bench/paper.py -o docs/gpu.md
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from timing import markdown
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dva_core.model.bundle import read_bundle, resolve_model
from dva_core.model.convert import published_config
from dva_core.networks import normalisation
from dva_core.networks.unet import UNet

BATCH = 64
HALF = torch.float16
CARDS = {"H100": (798e12, 3.0e12), "RTX 4090": (165e12, 1.0e12)}  # FLOP and bytes a second; the first as once measured, the other as told
LAUNCH = 5e-6  # seconds
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


class Ledger(TorchDispatchMode):
    """Launches and bytes by kind, as ATen's kernels for CUDA do it.

    A convolution takes and gives maps whose channels lie together (another layout is copied first) and adds its bias in a launch of its
    own; group norm takes and gives them channel after channel (another layout is copied first), in three launches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def note(self, kind: str, size: int, launches: int = 1) -> None:
        self.launches[KINDS.get(kind, "small things")] += launches
        self.bytes[KINDS.get(kind, "small things")] += size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if func.is_view or name.startswith(NO_LAUNCH):
            return result
        if name == "convolution":
            return self.convolution(result, *args)
        if name == "native_group_norm":
            if not args[0].is_contiguous():
                self.note("layout", 2 * size_of(args[0]))
            self.note(name, 2 * size_of(args[0]) + size_of(outputs[0]), 3)
            return (result[0].contiguous(), *result[1:])
        self.note(name, sum(map(size_of, {id(x): x for x in inputs + outputs}.values())))
        return result

    def convolution(self, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *_) -> Tensor:
        last = torch.channels_last
        if x.dim() == 4 and x.shape[2] * x.shape[3] > 1:
            if not x.is_contiguous(memory_format=last):
                self.note("layout", 2 * size_of(x))
            out = out.contiguous(memory_format=last)
        self.note("convolution", size_of(x) + size_of(weight) + size_of(out))
        if bias is not None:
            self.note("bias", 2 * size_of(out))
        return out


def size_of(tensor: Tensor) -> int:
    """Bytes that a kernel reads or writes; an expanded axis is read once."""
    numel = 1
    for length, stride in zip(tensor.shape, tensor.stride()):
        numel *= length if stride else 1
    return numel * tensor.element_size()


@contextmanager
def as_on_cuda(in_place: bool) -> Iterator[None]:
    """Norms choose as on CUDA; or, without `in_place`, all of them are ATen's."""

    def stays(norm: nn.Module, x: Tensor, condition: object = None) -> bool:
        return in_place and x.numel() >= normalisation.LARGE_BATCH and x.is_contiguous(memory_format=torch.channels_last)

    with patch.object(normalisation, "stays_in_place", stays), patch.object(normalisation, "prefers_channels_last", lambda device: True):
        yield


def count(config: dict, in_place: bool = True, batch: int = BATCH) -> tuple[Ledger, int, UNet]:
    """Launches and bytes of one evaluation of a batch, its FLOP, and the network."""
    settings = {k: v for k, v in config["noise_predictor"].items() if k != "type"}
    with torch.device("meta"), torch.no_grad():
        network = UNet(**settings).eval().to(HALF, memory_format=torch.channels_last)
        x = torch.empty(batch, 3, network.image_size, network.image_size, dtype=HALF)
        t, conditions = (
            torch.zeros(1, dtype=torch.int64).expand(batch),
            network.face_conditions(torch.empty(batch, network.condition_channels, dtype=HALF)),
        )
        with as_on_cuda(in_place), Ledger() as ledger:
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
    image = network.peak_values() * HALF.itemsize
    weights = sum(p.numel() for p in network.parameters()) * HALF.itemsize
    free = {gigabytes: int(gigabytes * 2**30 - weights - 2**30) for gigabytes in (6, 8, 12, 24)}
    fits = ", ".join(f"{max(1, min(64, 3 * left // (4 * image)))} frames on {gb} GB" for gb, left in free.items())
    page.append(f"Memory: weights {weights / 2**20:.0f} MiB; a frame takes {image / 2**20:.1f} MiB beside them.")
    page.append(f"With 1 GiB in use by others: {fits}.")
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
    parser.add_argument("--notes", type=Path, help="what to put at the end of the page")
    args = parser.parse_args()
    page = [INTRODUCTION]
    page += about("The published network, 256 pixels", published_config())
    page += about("The starter, 64 pixels", read_bundle(resolve_model("starter")).config)
    if args.notes is not None:
        page.append(args.notes.read_text(encoding="utf-8").strip())
    args.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
