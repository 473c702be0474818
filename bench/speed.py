"""How fast it is, in turn in one run: against the plain method, each optimisation alone, by video length, against the device's matrix rate,
and where an edit's time goes. Writes a page with tables and a plot beside it.

python bench/speed.py VIDEO -o docs/performance.md
python bench/speed.py VIDEO --device cuda -o gpu.md     (with a table by precision and option, and whole edits at 360p and 1080p)
python bench/speed.py --config full --device cuda -o gpu.md     (seeded weights; without a video: network only)
"""

from __future__ import annotations

import argparse
import copy
import inspect
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
from gpu import by_precision, end_to_end
from lengths import by_length
from plain import BATCH, PlainMethod, channel_after_channel
from timing import in_turn, markdown, matrix_rate, median, spread

from dva_core import load_model
from dva_core.diffusion import solvers
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.hosts.devices import AUTO, choose_dtype
from dva_core.hosts.plain import PlainHost
from dva_core.model.arrays import shrink, to_images
from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.evaluation import CompiledEvaluation, ThreadedEvaluation, usual_batch
from dva_core.pipeline import decode, encode
from dva_core.pipeline.solving import edited_face, solve
from dva_core.progress import Stopwatch

DRAWN, DRAWN_SIZE = "Eyeglasses", 256  # an attribute that starters draw, and the pixels of a face at which


def open_model(args: argparse.Namespace):
    """The starter, another bundle, or the published configuration with seeded weights."""
    if args.config == "starter":
        return load_model(args.model, device=args.device, dtype=args.precision)
    from dva_core.model.convert import published_config

    torch.manual_seed(0)
    host = PlainHost(args.device)
    host.dtype = choose_dtype(args.precision, host.device)
    model = DiffusionVideoAutoencoder(published_config()).eval().requires_grad_(False)
    for weight in model.noise_predictor.parameters():  # zeros, as untrained blocks end with, would be quicker to multiply
        torch.nn.init.normal_(weight, std=0.02)
    model.host = host
    model.noise_predictor.to(host.device, host.dtype, memory_format=torch.channels_last)
    return model


def defaults() -> SimpleNamespace:
    """Steps, solver and so on that `encode` takes when nothing is said."""
    parameters = inspect.signature(encode).parameters
    return SimpleNamespace(**{k: parameters[k].default for k in ("steps", "solver", "clamp", "power") if k in parameters})


# -- (a) against the plain method ----------------------------------------------------------------------------


class Frames:
    """N frames ready for the network: crops of the video, or noise where there is none; and an edit of their z_face."""

    def __init__(self, model, video: Path | None, count: int) -> None:
        size, generator = model.image_size, torch.Generator().manual_seed(0)
        self.z_drawn: torch.Tensor | None = None
        self.x_0 = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
        self.z_face = torch.randn(count, model.face_dim, generator=generator)
        if video is not None:
            decomposition = encode(video, model, steps=1, max_frames=count)
            self.x_0 = shrink(to_images(decomposition.crops[:]), size)
            self.z_face = model.fuse(torch.from_numpy(decomposition.z_id), torch.from_numpy(decomposition.z_motion[:])).cpu()
            if model.draws:
                self.z_drawn = edited_face(apply_attributes(decomposition, model, {DRAWN: 1.0}), model, range(count)).cpu()
        self.z_edited = self.z_face + 0.1 * torch.randn(model.face_dim, generator=generator)

    def ours(self, model, info: SimpleNamespace, parts: str) -> Callable[[], object]:
        """The noise predictor's part of our encode ("encode"), of one more edit ("edit") or one that only draws ("draw"), or of several."""
        device, batch, done = model.host.device, usual_batch(model), lambda *_: None

        def encode_some(rows: range) -> None:
            x_0, z_face = (a[rows.start : rows.stop].to(device) for a in (self.x_0, self.z_face))
            x_T = solve(solvers.invert, model, x_0, z_face, info, done)
            solve(solvers.sample, model, x_T, z_face, info, done)

        def edit_some(rows: range) -> None:
            x_0, z_face = (a[rows.start : rows.stop].to(device) for a in (self.x_0, self.z_edited))
            solve(solvers.sample, model, x_0, z_face, info, done)

        def draw_some(rows: range) -> None:
            z_face, z_drawn = (z[rows.start : rows.stop].to(device) for z in (self.z_face, self.z_drawn))
            model.drawings(z_drawn, z_face, z_face, DRAWN_SIZE)

        def work() -> None:
            for name, some in (("encode", encode_some), ("edit", edit_some), ("draw", draw_some)):
                if name in parts:
                    list(model.host.run_batched(lambda rows, some=some: some(rows) or rows, range(len(self.x_0)), batch))

        return work


def against_plain(model, frames: Frames, args: argparse.Namespace) -> list[str]:
    """Tables of the first edit and of a further one against the plain method, at the same T and at the defaults."""
    info, device, plain = defaults(), model.host.device, PlainMethod(model)
    info.steps, n = args.steps or info.steps, len(frames.x_0)
    few = min(n, 2 * BATCH)

    def by_plain(T: int, count: int) -> Callable[[], object]:
        return lambda: plain.edit(frames.x_0[:count], frames.z_face[:count], frames.z_edited[:count], T)

    works = {
        "plain": by_plain(info.steps, n),
        "first": frames.ours(model, info, "encode edit"),
        "further": frames.ours(model, info, "edit"),
        "plain100": by_plain(args.plain_steps, few),
    }
    if frames.z_drawn is not None:
        works |= {"first drawn": frames.ours(model, info, "encode draw"), "further drawn": frames.ours(model, info, "draw")}
    frames_of = {name: few if name == "plain100" else n for name in works}
    taken = {name: [s / frames_of[name] for s in times] for name, times in in_turn(works, args.repeats, device, warm=False).items()}
    names = {
        "plain": f"plain method, T = {info.steps}",
        "plain100": f"plain method, T = {args.plain_steps} ({few} frames)",
        "first": f"encode and decode, {info.steps} steps",
        "further": f"a further edit, {info.steps} steps",
        "first drawn": f"encode, {info.steps} steps, and an edit that only draws, {DRAWN}",
        "further drawn": "a further edit that only draws",
    }
    base, base100 = median(taken["plain"]), median(taken["plain100"])
    rows = [
        [names[k], f"{median(taken[k]):.3f}", spread(taken[k]), f"{base / median(taken[k]):.2f}", f"{base100 / median(taken[k]):.1f}"]
        for k in names
        if k in taken
    ]
    head = ["noise predictor's part", "s a frame", "range", f"times plain, T = {info.steps}", f"times plain, T = {args.plain_steps}"]
    text = f"{n} frames, {args.repeats} times in turn; solver {info.solver}; plain: 3 T evaluations a frame, {BATCH} frames at once."
    return ["## Against the plain method", text, markdown(head, rows)]


# -- (b) each optimisation on and off, (d) against the matrix rate -------------------------------------------


def one_by_one(model, args: argparse.Namespace) -> list[str]:
    """Evaluations a second with everything on, and with one thing off at a time."""
    device, size, batch = model.host.device, model.image_size, batch_for_all(model)
    x, z, one = (a.to(device) for a in (torch.randn(batch, 3, size, size), torch.randn(batch, model.face_dim), torch.full((1,), 500)))
    network, fast = model.noise_predictor, model.host.dtype
    plain, wide = copy.deepcopy(network).to(memory_format=torch.contiguous_format), copy.deepcopy(network).float()
    widest = copy.deepcopy(plain).float()

    def run(
        count: int = batch, evaluate=None, anew: bool = False, network: torch.nn.Module = network, layout: Callable = nullcontext
    ) -> Callable[[], object]:
        """One evaluation of the batch, `count` frames at a time; the conditions are ready, or computed `anew`."""
        evaluate, starts, dtype = evaluate or ThreadedEvaluation(), range(0, batch, count), next(network.parameters()).dtype
        host = copy.deepcopy(model.host)  # one of its own, so that no weights are looked for in the time
        host.dtype = dtype
        host.use("noise_predictor", network)
        faces = [z[i : i + count] if anew else network.face_conditions(z[i : i + count].to(device, dtype)) for i in starts]
        times = [one.repeat(len(x[i : i + count])) if anew else one.expand(len(x[i : i + count])) for i in starts]

        @torch.inference_mode()
        def work() -> None:
            model.noise_predictor, model.evaluate, model.host = network, evaluate, host
            with layout():
                for i, t, face in zip(starts, times, faces):
                    model.predict_noise(x[i : i + count], t, face)

        return work

    kept = model.noise_predictor, model.evaluate, model.host
    works = {
        "everything on": run(),
        "conditions computed at every step": run(anew=True),
        "one batch on all cores" if device.type == "cpu" else "": run(evaluate=direct),
        "maps channel after channel (NCHW)": run(network=plain, layout=channel_after_channel),
        f"batches of {BATCH}": run(count=BATCH),
        "in float32" if fast != torch.float32 else "": run(network=wide),
        "all off: as the plain method": run(count=BATCH, evaluate=direct, anew=True, network=widest, layout=channel_after_channel),
    }
    works.pop("", None)
    if args.compile:
        works["compiled"] = run(evaluate=CompiledEvaluation())
    taken = in_turn(works, args.repeats + 2, device)
    model.noise_predictor, model.evaluate, model.host = kept
    flop = flop_of(model)
    best = batch / median(taken["everything on"])
    rates = {name: [batch / s for s in times] for name, times in taken.items()}
    rows = [[name, f"{median(some):.1f}", spread(some), f"{median(some) / best:.2f}"] for name, some in rates.items()]
    table = markdown(["", "evaluations a second", "range", "of all on"], rows)
    page = ["## Each optimisation", f"One evaluation of {batch} frames, {args.repeats + 2} times in turn.", table]
    large = 2048 if device.type == "cpu" else 8192
    kinds = dict.fromkeys([torch.float32, torch.bfloat16 if device.type == "cuda" else fast])
    peaks = {kind: matrix_rate(device, kind, large) for kind in kinds}
    rows = [[str(kind).removeprefix("torch."), f"{peak / 1e9:.0f}", f"{best * flop / peak:.0%}"] for kind, peak in peaks.items()]
    text = f"An evaluation of one frame is {flop / 1e9:.2f} GFLOP; {best:.1f} of them a second are {best * flop / 1e9:.0f} GFLOP/s."
    page += ["## Against the matrix rate", text, markdown(["type", f"GFLOP/s of a product of {large} x {large}", "reached"], rows)]
    if device.type == "cuda":
        page.append(f"Peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB.")
    return page


def flop_of(model) -> int:
    """FLOP of one frame's evaluation."""
    from torch.utils.flop_counter import FlopCounterMode

    device, dtype, size = model.host.device, model.host.dtype, model.image_size
    x, z, t = torch.zeros(1, 3, size, size), torch.zeros(1, model.face_dim), torch.full((1,), 500)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.noise_predictor.to(device)(x.to(device, dtype), t.to(device), z.to(device, dtype))
    return counter.get_total_flops()


def batch_for_all(model) -> int:
    """The usual batch in float32, which takes the most memory."""
    whole, model.host.dtype = model.host.dtype, torch.float32
    try:
        return usual_batch(model)
    finally:
        model.host.dtype = whole


def direct(network, *inputs):
    """An evaluation with nothing about it."""
    return network(*inputs)


# -- (e) where the time of an edit goes ----------------------------------------------------------------------


def shares(model, args: argparse.Namespace) -> list[str]:
    """Seconds a frame of a whole edit, by phase: medians of runs one after another."""
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for _ in range(args.repeats + 1):  # the first one warms up
            clock = Stopwatch()
            decomposition = encode(args.video, model, max_frames=args.split_frames, clock=clock)
            edited = apply_attributes(decomposition, model, {args.attribute: 0.5})
            decode(edited, model, Path(folder) / "out.mp4", detail="model", clock=clock)  # by the network, also if the edit only draws
            runs.append(clock)
    frames, total = decomposition.info.frames, median([run.total for run in runs[1:]])
    names = {"track": "detection and landmarks", "encode": "encode", "decode": "decode", "paste": "composite", "video": "video"}
    seconds = {phase: median([run.seconds.get(phase, 0.0) for run in runs[1:]]) for phase in names}
    rows = [[text, f"{seconds[phase] / frames:.4f}", f"{seconds[phase] / total:.1%}"] for phase, text in names.items()]
    rows.append(["all", f"{total / frames:.4f}", f"{frames / total:.1f} frames/s"])
    size, how = (
        f"{decomposition.info.width}x{decomposition.info.height}",
        f"{decomposition.info.steps} steps, solver {decomposition.info.solver}",
    )
    text = f"A whole edit of {frames} frames of {size}, {how}; medians of {args.repeats}."
    return ["## Where an edit's time goes", text, markdown(["", "s a frame", "share"], rows)]


def machine(model) -> str:
    """The machine, in a line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), cpu)
    device = torch.cuda.get_device_name(model.host.device) if model.host.device.type == "cuda" else "no GPU"
    settings = f"torch {torch.__version__} with {torch.get_num_threads()} threads ({torch.backends.cpu.get_cpu_capability()})"
    return f"{cpu}, {os.cpu_count()} cores, {device}; {settings}; noise predictor in {str(model.host.dtype).removeprefix('torch.')}."


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, help="a video with a face; without one the network alone is measured")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PAGE.md")
    parser.add_argument("--config", choices=("starter", "full"), default="starter")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--device")
    parser.add_argument("--precision", default=AUTO)
    parser.add_argument("--compile", action="store_true", help="measure the compiled network too (minutes of compiling)")
    parser.add_argument("--frames", type=int, default=24, help="of the comparison with the plain method")
    parser.add_argument("--steps", type=int, help="of that comparison (default encode's)")
    parser.add_argument("--plain-steps", type=int, default=100, help="of the plain method beside that (100, as the paper's tables)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--split-frames", type=int, default=32, help="of the edit whose time is split")
    parser.add_argument("--lengths", nargs="*", type=int, default=[25, 250, 2500], help="frames of the videos of growing length")
    parser.add_argument("--length-steps", type=int, default=1, help="diffusion steps for those")
    parser.add_argument("--attribute", default="Young")
    parser.add_argument("--card", action="store_true", help="the tables of a graphics card, on a processor too")
    args = parser.parse_args(argv)
    if args.config == "full" and args.video is not None:
        parser.error("the full configuration has no trained weights to find faces with; leave the video out")
    model = open_model(args)
    parts = [lambda: ["# Performance", machine(model), "Written by `bench/speed.py`; medians of runs in turn."]]
    parts.append(lambda: against_plain(model, Frames(model, args.video, args.frames), args))
    parts.append(lambda: one_by_one(model, args))
    if args.card or model.host.device.type != "cpu":
        parts.append(lambda: by_precision(model, flop_of(model), args))
        parts += [lambda: end_to_end(args)] * (args.video is not None)
    if args.video is not None:
        parts.append(lambda: shares(model, args))
        parts.append(lambda: by_length(args, args.out.with_suffix(".png")))
    page, failed = [], False
    for part in parts:  # what is done is on the page, whatever comes of the rest
        try:
            page += part()
        except (RuntimeError, DVAError) as error:
            logging.exception("a table failed")
            page.append(f"A table is missing: {type(error).__name__}: {str(error)[:300]}")
            failed = True
        args.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
