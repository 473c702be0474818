"""Time and peak memory of a whole edit against the video's length, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import markdown

from dva_core.evaluate.plots import as_array, figure
from dva_core.video import Frame, VideoWriter, open_video
from dva_core.video.images import save_picture

CHILD = """
import json, pathlib, resource, sys, time
import dva_core
from dva_core.pipeline import decode, encode
source, folder, model, device, precision, steps, attribute = json.loads(sys.argv[1])
model = dva_core.load_model(model, device=device, dtype=precision)
started = time.perf_counter()
decomposition = encode(source, model, steps=steps, path=folder + "/decomposition.safetensors")
encoded = time.perf_counter()
decode(dva_core.edit.apply_attributes(decomposition, model, {attribute: 0.5}), model, folder + "/out.mp4", detail="model")
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux: the other figure begins with what the starting process had
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps([encoded - started, done - encoded, peak]))
"""


def looped(video: Path, frames: int, out: Path) -> Path:
    """The video's frames over and over, `frames` in all, in one file."""
    with open_video(video) as reader, VideoWriter(out, reader.info, codec="h264", quality=12, preset="ultrafast") as writer:
        count = 0
        while count < frames:
            for frame in reader:
                writer.write(Frame.from_rgb(frame.rgb, count, count, 1 / reader.info.rate))
                count += 1
                if count == frames:
                    break
    return out


def by_length(args: argparse.Namespace, picture: Path) -> list[str]:
    """The table, and a plot of it in `picture`."""
    figures = []
    for frames in args.lengths:
        with tempfile.TemporaryDirectory() as folder:
            source = looped(args.video, frames, Path(folder) / "source.mp4")
            arguments = [str(source), folder, args.model, args.device, args.precision, args.length_steps, args.attribute]
            run = subprocess.run([sys.executable, "-c", CHILD, json.dumps(arguments)], capture_output=True, text=True, check=False)
            if run.returncode:
                raise SystemExit(run.stderr)
            figures.append((frames, *json.loads(run.stdout.splitlines()[-1])))
    if not figures:
        return []
    rows = [
        [str(n), f"{encoding:.1f}", f"{decoding:.1f}", f"{(encoding + decoding) / n:.4f}", f"{peak / 2**20:.0f}"]
        for n, encoding, decoding, peak in figures
    ]
    plot, axes = figure(2)
    lengths = [n for n, *_ in figures]
    axes[0].plot(lengths, [encoding + decoding for _, encoding, decoding, _ in figures], "o-")
    axes[1].plot(lengths, [peak / 2**20 for *_, peak in figures], "o-")
    for axis, name in zip(axes, ("seconds", "peak memory (MiB)")):
        axis.set(xlabel="frames", ylabel=name, xlim=0, ylim=0)
    save_picture(picture, as_array(plot))
    text = (
        f"A whole edit of the video repeated, {args.length_steps} diffusion steps, in its own process; memory is the peak of the process."
    )
    table = markdown(["frames", "encode, s", "decode, s", "s a frame", "peak memory, MiB"], rows)
    return ["## By length of the video", text, table, f"![seconds and memory by length]({picture.name})"]
