"""Whether everything computes rightly on a graphics card, how fast, and in how much memory: one command for a machine that has one.

python bench/gpu_check.py -o FOLDER                         (the example's video and the starter)
python bench/gpu_check.py VIDEO --faces FACES --comfyui DIR -o FOLDER --seconds 470
python bench/gpu_check.py --device cpu --tiny -o FOLDER     (tries the script out)

A check compares the card's numbers with the CPU's in float32 or float64 and reports "ok" or "OUT OF BOUNDS"; the others are figures. What
there is no time for is reported as skipped. FOLDER/report.md and report.json are written as it goes. Exit code 1 where a check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from gpu_setup import EVALUATION_BOUNDS, Report, Setup  # noqa: E402
from timing import matrix_rate  # noqa: E402

import dva_core  # noqa: E402
from dva_core.edit.text import text_search  # noqa: E402
from dva_core.hosts.devices import PRECISIONS  # noqa: E402
from dva_core.model.evaluation import CompiledEvaluation, ThreadedEvaluation, activation_bytes, usual_batch  # noqa: E402
from dva_core.model.graphs import GraphEvaluation  # noqa: E402
from dva_core.model.loader import load_model  # noqa: E402
from dva_core.pipeline import decode, decode_crops, encode  # noqa: E402
from dva_core.progress import Stopwatch  # noqa: E402

EXAMPLE = ROOT / "example_workflows" / "dva_example.mp4"
EDIT = {"Young": -0.8}
# mean differences of crops in [-1, 1]
CROP_BOUNDS = {"fp32 without TF32": 1e-3, "fp32": 5e-3, "bf16": 1e-2, "fp16": 2e-3}


class Checks(Setup):
    """The sections; each takes what it needs from `args` and adds to the report."""

    def machine(self) -> None:
        """What it is, and its rates."""
        add = self.report.add
        add("machine", "device", torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device))
        add("machine", "torch", torch.__version__)
        size = 256 if self.args.tiny else 8192
        for name, dtype in PRECISIONS.items():
            add("machine", f"{name} matrix product", f"{matrix_rate(self.device, dtype, size) / 1e12:.3g} TFLOP/s")

    def evaluation(self) -> None:
        """One evaluation of the starter and of the full size in each precision, against float64 on the CPU."""
        for name, build in (("starter", self.starter), ("full size", self.full_size)):
            model = build("fp32")
            x, t, z = self.inputs(model, 2)
            with torch.no_grad():
                expected = copy.deepcopy(model.noise_predictor).to("cpu", torch.float64)(x.double(), t, z.double())
                for label, precision in self.precisions():
                    dtype = PRECISIONS[precision]
                    network = copy.deepcopy(model.noise_predictor).to(self.device, dtype)
                    noise = (
                        ThreadedEvaluation()(network, x.to(self.device, dtype), t.to(self.device), z.to(self.device, dtype)).double().cpu()
                    )
                    error = float((noise - expected).norm() / expected.norm())
                    self.report.check("one evaluation", f"{name}, {label}", error < EVALUATION_BOUNDS[label], f"{error:.2g}")

    def video(self) -> None:
        """Encode, edit and decode with the starter in each precision, against the CPU's float32."""
        expected = self.edited(load_model("starter", device="cpu"))
        for label, precision in self.precisions():
            crops = self.edited(self.starter(precision))
            errors = [float(np.abs(np.float32(a) - np.float32(b)).mean()) for a, b in zip(crops, expected)]
            self.report.check("video", label, max(errors) < CROP_BOUNDS[label], f"rebuilt {errors[0]:.2g}, edited {errors[1]:.2g}")

    def edited(self, model) -> tuple[np.ndarray, np.ndarray]:
        """The rebuilt and the edited crops of the video."""
        decomposition = encode(self.args.video, model, max_frames=self.frames, steps=self.steps)
        edited = dva_core.edit.apply_attributes(decomposition, model, EDIT)
        return decomposition.rebuilt[:], np.stack(list(decode_crops(edited, model)))

    def text(self) -> None:
        """A search for a text edit, with a stand-in for CLIP: the gradient and the loss against the CPU's."""
        from text_standin import StandIn

        plain = load_model("starter", device="cpu")
        decomposition = encode(self.args.video, plain, max_frames=1, steps=2)
        losses = {}
        for model in (plain, self.starter(), self.starter("bf16")):
            torch.manual_seed(0)
            standin = StandIn().eval().requires_grad_(False)
            search = text_search(
                decomposition, model, "a woman", "a man", clip_model=standin, iterations=self.steps, settle=False, images=2
            )
            search.run()
            losses[f"{model.host.device}, {model.host.dtype}"] = search.history
        first = next(iter(losses.values()))
        for name, history in list(losses.items())[1:]:
            error = max(abs(a - b) for a, b in zip(history, first))
            self.report.check("text edit", name, error < 0.05, f"largest difference of the loss {error:.2g}")

    def training(self) -> None:
        """The first gradient against the CPU's, with --faces; then steps in bf16."""
        from dva_core.train.diffusion import DiffusionSettings, DiffusionTraining
        from dva_core.train.frames import held_out_frames, open_frames
        from dva_core.train.settings import read_json

        if self.args.faces is None:
            return self.report.add("training", "skipped", "no --faces")
        frames, settings = open_frames(self.args.faces, 128), read_json("starter_training")
        settings = {key: settings[key] for key in settings if key not in ("minutes", "precision", "compile", "people", "frames", "steps")}

        def gradient(device: torch.device, precision: str, folder: Path) -> torch.Tensor:
            chosen = DiffusionSettings(**settings, steps=3, people=8, frames=1, precision=precision)
            run = DiffusionTraining(read_json("starter"), dva_core.model.bundle.resolve_model("starter"), frames, held_out_frames(frames),
                                    folder, chosen, device)  # fmt: skip
            run.start_from(dva_core.model.bundle.resolve_model("starter"))
            run.unet.train()
            run.gradient()
            gradients = [parameter.grad for parameter in run.parameters.values() if parameter.grad is not None]  # drawings are fitted
            flat = torch.cat([gradient.reshape(-1).double().cpu() for gradient in gradients])
            return flat / run.scaler.get_scale()

        with tempfile.TemporaryDirectory() as folder:
            expected = gradient(torch.device("cpu"), "fp32", Path(folder) / "cpu")
            for precision in ("fp32", "bf16"):
                actual = gradient(self.device, precision, Path(folder) / precision)
                error = float((actual - expected).norm() / expected.norm())
                self.report.check(
                    "training", f"first gradient, {precision}", error < (0.02 if precision == "fp32" else 0.3), f"{error:.2g}"
                )

    def speed(self) -> None:
        """Evaluations a second and memory by batch: as it is, and compiled; whole edits in frames a second."""
        for name, build, batches in (("starter", self.starter, (16, 256)), ("full size", self.full_size, (1, 16))):
            model = build("bf16")
            model.host.use("noise_predictor", model.noise_predictor)
            for batch in (batches[:1] if not self.args.tiny else (1,)) if self.device.type == "cpu" else batches:
                x, t, z = (value.to(self.device) for value in self.inputs(model, batch))
                for label, evaluate in (
                    ("eager", ThreadedEvaluation()),
                    *((("CUDA graph", GraphEvaluation()), ("compiled", CompiledEvaluation())) if self.device.type == "cuda" else ()),
                ):
                    if self.device.type == "cuda":
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()
                    before = torch.cuda.memory_allocated() if self.device.type == "cuda" else 0
                    model.evaluate = evaluate
                    with torch.inference_mode():
                        seconds = self.seconds(lambda model=model, x=x, t=t, z=z: model.predict_noise(x, t, z))
                    text = f"{batch / seconds:.4g} evaluations/s"
                    if self.device.type == "cuda":
                        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
                        guess = activation_bytes(model.noise_predictor, range(batch), model.host.dtype, self.device) / 2**20
                        text += f", peak {peak:.0f} MiB beside the weights (estimated {guess:.0f})"
                    self.report.add("speed", f"{name}, batch {batch}, {label}", text)
            self.report.add("speed", f"{name}, usual batch", usual_batch(model))
        model, clock = self.starter("auto" if self.device.type == "cuda" else "fp32"), Stopwatch()
        for _ in range(1 if self.args.tiny else 2):  # the first one warms up
            clock = Stopwatch()
            decomposition = encode(self.args.video, model, max_frames=self.frames, steps=self.steps, clock=clock)
            edited = dva_core.edit.apply_attributes(decomposition, model, EDIT)
            drawn = Stopwatch()
            with tempfile.TemporaryDirectory() as folder:
                decode(edited, model, Path(folder) / "out.mp4", detail="model", clock=clock)
                decode(edited, model, Path(folder) / "drawn.mp4", clock=drawn)  # not decoded, as the edit only draws
        phases = ", ".join(f"{phase} {seconds / decomposition.info.frames * 1e3:.1f}" for phase, seconds in clock.seconds.items())
        self.report.add("speed", "whole edit", f"{decomposition.info.frames / clock.total:.2f} frames/s (ms a frame: {phases})")
        self.report.add("speed", "an edit that only draws", f"{decomposition.info.frames / drawn.total:.2f} frames/s")

    def memory(self) -> None:
        """On a card too small for the batch it is halved, and the numbers stay the same."""
        if self.device.type != "cuda":
            return self.report.add("memory", "skipped", "no card")
        model = self.full_size("bf16")
        x, t, z = (value.to(self.device) for value in self.inputs(model, 64))
        sizes: list[int] = []

        def evaluate(rows: range) -> torch.Tensor:
            sizes.append(len(rows))
            return model.predict_noise(x[rows.start : rows.stop], t[: len(rows)], z[rows.start : rows.stop])

        with torch.no_grad():
            expected = torch.cat(list(model.host.run_batched(evaluate, range(16), 4)))
            torch.cuda.empty_cache()
            total = torch.cuda.mem_get_info(self.device)[1]
            room = activation_bytes(model.noise_predictor, range(16), model.host.dtype, self.device)
            torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + room) / total))
            sizes.clear()
            try:
                noise = torch.cat(list(model.host.run_batched(evaluate, range(64), 64)))
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
        error = float((noise[:16] - expected).norm() / expected.norm())
        self.report.check("memory", "out of memory", sizes[0] > sizes[-1] and error < 1e-2, f"batches {sizes}, difference {error:.2g}")

    def comfyui(self) -> None:
        """ComfyUI's memory management, with --comfyui: bench/gpu_check_comfyui.py in its folder."""
        if self.args.comfyui is None:
            return self.report.add("comfyui", "skipped", "no --comfyui")
        folder = Path(self.args.comfyui).expanduser().resolve()
        python = next((p for p in (folder / ".venv/bin/python", folder / ".venv/Scripts/python.exe") if p.is_file()), Path(sys.executable))
        script = ROOT / "bench" / "gpu_check_comfyui.py"
        for flags in ([], ["--novram"]) if self.device.type == "cuda" else (["--cpu"],):
            out = self.report.folder.resolve() / f"comfyui{''.join(flags)}.json"
            out.unlink(missing_ok=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [python, script, self.args.video.resolve(), out, *flags], cwd=folder, timeout=max(10, self.report.left()), check=False
                )
            results = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"start": "FAILED, see above"}
            for name, value in results.items():
                self.report.check("comfyui", f"{name} {' '.join(flags)}".strip(), not str(value).startswith("FAILED"), value)


# in the order that matters most where time is short, with the seconds that each needs on a card
SECTIONS = {"machine": 5, "evaluation": 20, "video": 45, "text": 20, "memory": 15, "comfyui": 60, "training": 40, "speed": 90}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", default=EXAMPLE, help="a video with a face (the example's)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=470.0, help="after which no section is begun (470)")
    parser.add_argument("--faces", type=Path, help="a folder of aligned faces, as `train prepare` makes: for the training's gradient")
    parser.add_argument("--comfyui", metavar="DIR", help="a ComfyUI, whose memory management is checked too")
    parser.add_argument("--only", metavar="NAMES", default=",".join(SECTIONS), help=f"sections with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for trying the script out")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.WARNING)
    report = Report(args.output, args.seconds)
    checks = Checks(args, report)
    for name in args.only.split(","):
        if report.left() < (1 if args.tiny else SECTIONS[name]):
            report.add(name, "skipped", "no time left")
            continue
        try:
            getattr(checks, name)()
        except (RuntimeError, ValueError, OSError) as error:
            logging.exception("%s failed", name)
            report.check(name, "failed", False, f"{type(error).__name__}: {str(error)[:300]}")
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
