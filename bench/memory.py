"""Peak memory of an edit against the length of the clip: the clip as it is, and repeated (noise maps on disk).

python bench/memory.py CLIP --times 1 10 --steps 5
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dva_core.video import VideoWriter, open_video

CHILD = """
import resource, sys
from dva_core.cli import main
code = main(sys.argv[1:])
print("peak_kib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def repeated(clip: Path, times: int, out: Path) -> Path:
    """The clip's frames `times` times over, in one file."""
    with open_video(clip) as reader, VideoWriter(out, reader.info, codec="h264", quality=10) as writer:
        from dva_core.video import Frame

        count = 0
        for _ in range(times):
            for frame in reader:
                writer.write(Frame.from_rgb(frame.rgb, count, count, 1 / reader.info.rate))
                count += 1
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--times", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--attribute", default="Young")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for times in args.times:
            source = repeated(args.clip, times, Path(folder) / f"{times}.mp4")
            decomposed = Path(folder) / f"{times}.safetensors"
            out = str(Path(folder) / f"{times}_out.mp4")
            for name, command in {
                "encode": ["encode", str(source), "-o", str(decomposed), "--steps", str(args.steps)],
                "edit": ["edit", str(decomposed), "--attribute", args.attribute, "--scale", "0.5", "-o", out],
            }.items():
                started = time.monotonic()
                run = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=False)
                peak = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("peak_kib")]
                if not peak:
                    raise SystemExit(run.stderr)
                frames = times * sum(1 for _ in open_video(args.clip))
                print(f"{name:6s} {frames:5d} frames: peak {int(peak[0]) / 1024:7.1f} MiB, {time.monotonic() - started:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
