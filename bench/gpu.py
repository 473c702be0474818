"""What a graphics card reaches, by precision and option; and whole edits of the video at two sizes. Part of bench/speed.py."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch
from plain import BATCH, PlainMethod
from timing import in_turn, markdown, matrix_rate, median, spread

from dva_core import load_model
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.hosts.devices import PRECISIONS
from dva_core.model.evaluation import CompiledEvaluation, usual_batch
from dva_core.model.graphs import GraphEvaluation
from dva_core.pipeline import decode, encode
from dva_core.progress import Stopwatch
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

LARGE = {"cpu": 1024}  # of the matrix whose product is the device's rate; 8192 elsewhere
SIZES = {"360p": 360, "1080p": 1080}


def by_precision(model, flop: int, args) -> list[str]:
    """Evaluations a second of the noise predictor in each precision, as it is and compiled, against the plain loop; the peak of memory."""
    device, size, whole = model.host.device, model.image_size, model.host.dtype
    rate = matrix_rate(device, torch.bfloat16, LARGE.get(device.type, 8192))
    networks = {name: copy.deepcopy(model.noise_predictor).to(dtype) for name, dtype in PRECISIONS.items()}
    works, peaks, kept = {"plain loop (fp32, NCHW, 4 at once)": plain_loop(model)}, {}, model.noise_predictor
    for name, dtype in PRECISIONS.items():
        model.noise_predictor, model.host.dtype = networks[name], dtype
        works[name] = one_evaluation(model, networks[name], dtype, usual_batch(model))
        if device.type == "cuda":
            works[f"{name}, CUDA graph"] = one_evaluation(model, networks[name], dtype, usual_batch(model), GraphEvaluation())
        if args.compile:
            works[f"{name}, compiled"] = one_evaluation(model, networks[name], dtype, usual_batch(model), CompiledEvaluation())
    for name, (work, frames) in works.items():
        peaks[name] = peak_of(work, device) / frames
    taken = in_turn({name: work for name, (work, _) in works.items()}, args.repeats + 2, device)
    model.noise_predictor, model.host.dtype = kept, whole
    rates = {name: [works[name][1] / s for s in seconds] for name, seconds in taken.items()}
    base = median(next(iter(rates.values())))
    rows = [
        [name, str(works[name][1]), f"{median(some):.1f}", spread(some), f"{median(some) * flop / rate:.0%}", f"{median(some) / base:.1f}"]
        + [f"{peaks[name] / 2**20:.3g}" if peaks[name] else ""]
        for name, some in rates.items()
    ]
    frames = usual_batch(model)
    foreseen = kept.peak_bytes(frames, torch.float16, device.type) / frames / 2**20
    head = ["", "frames at once", "evaluations a second", "range", "of the bf16 rate", "times plain", "MiB a frame"]
    text = (
        f"A product of matrices in bfloat16 reaches {rate / 1e12:.1f} TFLOP/s; foreseen in half precision are {foreseen:.3g} MiB a frame,"
        " with its conditions, which in the table are ready."
    )
    return [f"## By precision, at {size} pixels", text, markdown(head, rows)]


def plain_loop(model) -> tuple[Callable[[], object], int]:
    """One evaluation of the plain method."""
    plain = PlainMethod(model)
    x, z = torch.randn(BATCH, 3, model.image_size, model.image_size).to(plain.device), torch.randn(BATCH, model.face_dim).to(plain.device)

    @torch.no_grad()
    def work() -> None:
        plain.noise(x, 500, z)

    return work, BATCH


def one_evaluation(model, network, dtype: torch.dtype, frames: int, evaluate=None) -> tuple[Callable[[], object], int]:
    """One evaluation of so many frames in one precision, with conditions that are ready."""
    host, evaluate = copy.deepcopy(model.host), evaluate or model.evaluate  # one of its own, so that no weights are looked for in the time
    host.dtype = dtype
    device = host.use("noise_predictor", network)
    x = torch.randn(frames, 3, model.image_size, model.image_size).to(device)
    t = torch.full((1,), 500, device=device).expand(frames)

    @torch.no_grad()
    def work() -> None:
        before = model.noise_predictor, model.host, model.evaluate
        model.noise_predictor, model.host, model.evaluate = network, host, evaluate
        try:
            model.predict_noise(x, t, conditions)
        finally:
            model.noise_predictor, model.host, model.evaluate = before

    with torch.no_grad():
        conditions = network.face_conditions(torch.randn(frames, model.face_dim).to(device, dtype))
    return work, frames


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Bytes that the work takes at the most beside what was there; 0 where nobody counts them."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def end_to_end(args, sizes: Sequence[str] = tuple(SIZES)) -> list[str]:
    """Frames a second of a first edit and of a further one, from file to file, in each precision: the video as 360p and as 1080p."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            video = scaled(args.video, Path(folder) / f"{size}.mp4", SIZES[size], args.split_frames)
            for precision in PRECISIONS:
                try:
                    rows.append([size, precision, *edit_rates(load_model(args.model, device=args.device, dtype=precision), video, args)])
                except DVAError as error:  # the page goes on without it
                    rows.append([size, precision, "", "", str(error)])
    head = ["", "precision", "first edit, frames/s", "further edit, frames/s", "where the first one's time goes"]
    return ["## From file to file", f"{args.split_frames} frames; medians of {args.repeats}.", markdown(head, rows)]


def edit_rates(model, video: Path, args) -> list[str]:
    first, further, clocks = [], [], []
    for _ in range(args.repeats + 1):  # the first one warms up
        one, other = Stopwatch(), Stopwatch()
        decomposition = encode(video, model, max_frames=args.split_frames, clock=one)
        decode(apply_attributes(decomposition, model, {args.attribute: 0.5}), model, video.with_name("out.mp4"), detail="model", clock=one)
        decode(
            apply_attributes(decomposition, model, {args.attribute: -0.5}), model, video.with_name("out.mp4"), detail="model", clock=other
        )
        first.append(decomposition.info.frames / one.total)
        further.append(decomposition.info.frames / other.total)
        clocks.append(one)
    seconds = clocks[-1].seconds
    shares = ", ".join(f"{phase} {s / clocks[-1].total:.0%}" for phase, s in sorted(seconds.items(), key=lambda pair: -pair[1]))
    return [f"{median(first[1:]):.2f}", f"{median(further[1:]):.2f}", shares]


def scaled(video: Path, out: Path, height: int, frames: int) -> Path:
    """The video's first frames at another height."""
    with open_video(video) as source:
        width = round(source.info.width * height / source.info.height / 2) * 2
        info = VideoInfo.for_images(width, height, source.info.rate, frames)
        with VideoWriter(out, info) as writer:
            for i, frame in zip(range(frames), source):
                rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_CUBIC)
                writer.write(Frame.from_rgb(rgb, i, time_base=info.time_base))
    return out
