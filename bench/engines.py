"""The noise predictor in float32 on a processor, by the engines that are installed, in turn: evaluations a second and their numbers.

python bench/engines.py                      (pip install openvino, or onnxruntime, onnx and onnxscript, for those engines)
python bench/engines.py --threads 1 --busy   (processor time instead of the clock's, on a machine that others use)
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python bench/engines.py --engines eager inductor     (as without AVX-512)

An engine that is not installed is left out with a line. "differs by" is the largest difference from the eager network.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing import in_turn, markdown, matrix_rate, median, spread
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from dva_core import load_model

CPU = torch.device("cpu")
NEEDS = {
    "eager": (),
    "inductor": (),
    "inductor, frozen": (),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "openvino": ("openvino", "onnx", "onnxscript"),
}
EQUAL = 1e-4
Run = Callable[[], Tensor]


class Flat(nn.Module):
    """The noise predictor with its conditions one by one, as exported graphs take them."""

    def __init__(self, network: nn.Module, form) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, x_t: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
        return self.network(x_t, t.expand(len(x_t)), tree_unflatten(list(conditions), self.form))


class Engines:
    """One evaluation of `frames` frames by each engine; the conditions are ready, the shapes fixed."""

    def __init__(self, model, frames: int, threads: int, folder: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(frames, 3, model.image_size, model.image_size, generator=generator)
        with torch.no_grad():
            flat, form = tree_flatten(model.face_conditions(torch.randn(frames, model.face_dim, generator=generator)))
        self.inputs = (x, torch.full((1,), 500), *flat)
        self.network, self.threads, self.folder = Flat(model.noise_predictor, form).eval(), threads, folder

    def build(self, name: str) -> Run:
        if name.startswith("inductor"):
            return self.inductor({"freezing": True} if "frozen" in name else {})
        return getattr(self, name)()

    def eager(self) -> Run:
        return torch.no_grad()(lambda: self.network(*self.inputs))

    def inductor(self, options: dict) -> Run:
        torch._dynamo.reset()
        compiled = torch.compile(copy.deepcopy(self.network), dynamic=False, options=options)
        return torch.no_grad()(lambda: compiled(*self.inputs))

    def exported(self) -> Path:
        """The network as ONNX; written once."""
        path = self.folder / "network.onnx"
        if not path.is_file():
            torch.onnx.export(self.network, self.inputs, path, dynamo=True, verbose=False)
        return path

    def onnxruntime(self) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(self.exported(), options, providers=["CPUExecutionProvider"])
        values = {one.name: value.numpy() for one, value in zip(session.get_inputs(), self.inputs)}
        return lambda: torch.from_numpy(session.run(None, values)[0])

    def openvino(self) -> Run:
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        settings["SNIPPETS_MODE"] = "DISABLE"  # with its code generator, 2026.4.1 ends the process on this graph
        request = openvino.Core().compile_model(self.exported(), "CPU", settings).create_infer_request()
        values = [value.numpy() for value in self.inputs]
        return lambda: torch.from_numpy(next(iter(request.infer(values, share_inputs=True, share_outputs=True).values())))


def missing(name: str) -> list[str]:
    """Packages that the engine needs and that are not installed."""
    return [package for package in NEEDS[name] if importlib.util.find_spec(package) is None]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--engines", nargs="+", choices=NEEDS, default=list(NEEDS), metavar="NAME", help=", ".join(NEEDS))
    parser.add_argument("--frames", type=int, default=16, help="of the evaluation (16, a processor's usual batch a core)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--matrix", type=int, default=2048, help="size of the matrix product whose rate they are held against")
    parser.add_argument("--busy", action="store_true", help="count processor time; right with one thread")
    args = parser.parse_args(argv)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.busy else time.perf_counter
    works: dict[str, Run] = {}
    ready: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        engines = Engines(load_model(args.model, device=CPU, dtype="fp32"), args.frames, args.threads, Path(folder))
        for name in dict.fromkeys(["eager", *args.engines]):
            if packages := missing(name):
                print(f"{name} is left out: {', '.join(packages)} not installed.\n")
                continue
            started = time.perf_counter()
            try:
                works[name] = engines.build(name)
                works[name]()
            except (RuntimeError, OSError, ImportError) as error:
                print(f"{name} is left out: {str(error).strip().splitlines()[0]}\n")
                works.pop(name, None)
            ready[name] = time.perf_counter() - started
        expected = works["eager"]()
        errors = {name: float((work() - expected).abs().max()) for name, work in works.items()}
        taken = in_turn(works, args.repeats, CPU, clock=clock)
    base = median(taken["eager"])
    rows = []
    for name, some in taken.items():
        rates = [args.frames / s for s in some]
        differs = f"{errors[name]:.0e}" + ("" if errors[name] <= EQUAL else " (too much)")
        rows.append([name, f"{ready[name]:.1f}", f"{median(rates):.1f}", spread(rates), f"{base / median(some):.2f}", differs])
    print(markdown(["", "s until ready", "evaluations a second", "range", "times eager", "differs by"], rows))
    rate = matrix_rate(CPU, torch.float32, args.matrix, clock)
    how = f"{torch.backends.cpu.get_cpu_capability()}, {args.threads} threads, {args.frames} frames, torch {torch.__version__}"
    print(f"\nMatrix product {rate / 1e9:.0f} GFLOP/s ({how}).")


if __name__ == "__main__":
    main()
