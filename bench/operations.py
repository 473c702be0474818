"""Where the time of one evaluation goes on a processor: operations by kind, and convolutions and products by shape against the rate of
a matrix product.

python bench/operations.py --frames 16 --precision fp32 --threads 1
python bench/operations.py --threads 1 --busy            (processor time, on a machine that others use)
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict

import torch
from timing import Clock, in_turn, markdown, matrix_rate, median
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dva_core import load_model

CPU = torch.device("cpu")
KINDS = {
    "conv2d": "convolutions",
    "conv1d": "linear layers",
    "linear": "linear layers",
    "scaled_dot_product_attention": "attention",
    "silu": "SiLU",
    "silu_": "SiLU",
    "group_norm": "norms",
    "addcmul": "norms",
    "avg_pool2d": "norms and halving",
    "mean": "norms",
    "square": "norms",
    "sub": "norms",
    "rsqrt": "norms",
    "mul": "norms",
    "add": "additions",
    "cat": "concatenation",
    "upsample_nearest2d": "resampling",
    "upsample_bilinear2d": "resampling",
    "adaptive_avg_pool2d": "resampling",
    "pixel_unshuffle": "layout copies",
    "pixel_shuffle": "layout copies",
    "clone": "layout copies",
}


class Clocks(TorchDispatchMode):
    """Seconds and calls by (operation, shapes)."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.calls: Counter[tuple[str, str]] = Counter()
        self.flop: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        started = self.clock()
        result = func(*args, **(kwargs or {}))
        taken = self.clock() - started
        if not func.is_view:
            name = func.overloadpacket.__name__
            tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            key = (name, " with ".join("x".join(map(str, tensor.shape)) for tensor in tensors[:2]))
            self.seconds[key] += taken
            self.calls[key] += 1
            if name in ("conv1d", "conv2d"):
                self.flop[key] += 2 * result.numel() * tensors[1][0].numel()
            elif name == "linear":
                self.flop[key] += 2 * result.numel() * tensors[1].shape[1]
        return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--shapes", type=int, default=12, help="how many of the shapes are listed")
    parser.add_argument("--matrix", type=int, default=2048, help="size of the matrix product whose rate they are held against")
    parser.add_argument("--busy", action="store_true", help="count processor time; right with one thread")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    clock = time.thread_time if args.busy else time.perf_counter
    model = load_model(args.model, device=CPU, dtype=args.precision)
    network, dtype, frames = model.noise_predictor, model.host.dtype, args.frames
    x, t = torch.randn(frames, 3, model.image_size, model.image_size).to(dtype), torch.full((1,), 500).expand(frames)
    with torch.inference_mode():
        conditions = model.face_conditions(torch.randn(frames, model.face_dim))
        with FlopCounterMode(display=False) as counter:
            network(x, t, conditions)
        runs: list[Clocks] = []

        def by_operation() -> None:
            with Clocks(clock) as clocks:
                network(x, t, conditions)
            runs.append(clocks)

        works = {"whole": lambda: network(x, t, conditions), "operations": by_operation}
        whole = median(in_turn(works, args.repeats, CPU, clock=clock)["whole"])
    rate = matrix_rate(CPU, dtype, args.matrix, clock)
    flop = counter.get_total_flops()
    seconds = {key: median([run.seconds[key] for run in runs[1:]]) for key in runs[0].seconds}
    total, kinds, sums, calls = sum(seconds.values()), defaultdict(float), Counter(), runs[0].calls
    for key, value in seconds.items():
        kind = KINDS.get(key[0], "small things")
        kinds[kind] += value
        sums[kind] += calls[key]
    print(
        f"{frames / whole:.1f} evaluations a second of {flop / frames / 1e9:.2f} GFLOP: {flop / whole / 1e9:.0f} GFLOP/s, "
        f"{flop / whole / rate:.0%} of the {rate / 1e9:.0f} of a product ({dtype}, {frames} frames, {args.threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}).\n"
    )
    rows = [[kind, f"{1e3 * s:.1f}", f"{s / total:.1%}", str(sums[kind])] for kind, s in sorted(kinds.items(), key=lambda pair: -pair[1])]
    rows.append(["between the operations", f"{1e3 * (whole - total):.1f}", "", ""])
    print(markdown(["", "ms", "share", "calls"], rows) + "\n")
    largest = sorted((key for key in seconds if runs[0].flop[key]), key=lambda key: -seconds[key])[: args.shapes]
    rows = [[*key, str(calls[key]), f"{1e3 * seconds[key]:.1f}", f"{runs[0].flop[key] / seconds[key] / rate:.0%}"] for key in largest]
    print(markdown(["", "shapes", "calls", "ms", "of the matrix rate"], rows))


if __name__ == "__main__":
    main()
