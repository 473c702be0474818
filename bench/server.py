"""What the pack costs a ComfyUI: import time, idle memory with and without it, peak memory of one edit. Rows of CSV, MB and seconds.

PYTHONPATH=.:tests python bench/server.py VIDEO [--comfy ~/comfy/ComfyUI] [--steps 20]
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from host.comfy_server import Server, comfy_python, find_comfy
from host.graphs import example, quick

SETTLE_SECONDS = 5


def high_water(server: Server) -> float:
    """The most resident memory the server has had, MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--comfy", type=Path, default=find_comfy())
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    table = csv.writer(sys.stdout)
    table.writerow(["what", "value"])
    for pack in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder), args.comfy, comfy_python(args.comfy), pack=pack).start()
            try:
                time.sleep(SETTLE_SECONDS)
                table.writerow([f"idle MB {'with' if pack else 'without'} the pack", round(server.memory)])
                if pack:
                    table.writerow(["import s", re.search(r"([\d.]+) seconds.*diffusion-video-autoencoder", server.log)[1]])
                    shutil.copyfile(args.video, server.base / "input" / args.video.name)
                    prompt = quick(example("edit_by_attribute"), steps=args.steps, quality=18, file=args.video.name)
                    began = time.monotonic()
                    answer = server.run(prompt, 3600)
                    table.writerow(["edit succeeded", answer.succeeded])
                    table.writerow(["edit s", round(time.monotonic() - began)])
                    table.writerow(["peak MB", round(high_water(server))])
                    server.request("/free", {"unload_models": True, "free_memory": True})
                    time.sleep(SETTLE_SECONDS)
                    table.writerow(["MB after /free", round(server.memory)])
            finally:
                server.stop()
            sys.stdout.flush()


if __name__ == "__main__":
    main()
