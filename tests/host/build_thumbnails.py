"""Runs the examples in a ComfyUI of their own and writes their thumbnails: PYTHONPATH=.:tests python -m host.build_thumbnails [NAME...]

The person is the demo's (NASA's portrait of Eileen Collins, public domain), the other one a synthetic face (SFHQ, MIT).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from conftest import shared_dir

from dva_core.demo import make_clip
from dva_core.sheet import save_picture
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

from .comfy_server import Server, comfy_python, find_comfy
from .graphs import EXAMPLES, example, of_class, quick

FRAMES, EVERY, STEPS, MOMENT, TILE, GAP = 12, 6, 12, -1, 256, 6  # two frames are run, the last is shown
NOT_RUN = ("DVAEditIdentityCLIP", "DVAOwnAttribute")  # need the weights of CLIP and minutes, or a folder of pictures
OTHER = "data/faces128/00000.jpg"


def make_other(path: Path) -> None:
    """A clip of a synthetic face that sways a little."""
    face = cv2.resize(cv2.imread(str(shared_dir() / OTHER))[..., ::-1], (320, 320), interpolation=cv2.INTER_CUBIC)
    info = VideoInfo.for_images(480, 480, 25, FRAMES)
    with VideoWriter(path, info) as writer:
        for i in range(FRAMES):
            turn = cv2.getRotationMatrix2D((160, 160), 4 * np.sin(i / 3), 1) + np.float32([[0, 0, 80], [0, 0, 80]])
            moved = cv2.warpAffine(face, turn, (480, 480), borderMode=cv2.BORDER_REPLICATE)
            writer.write(Frame.from_rgb(np.ascontiguousarray(moved), i, time_base=info.time_base))


def picture_of(path: Path) -> np.ndarray:
    """The head in one frame of a video, TILE pixels wide and high."""
    with open_video(path) as reader:
        frame = [frame.rgb for frame in reader][MOMENT]
    return cv2.resize(frame[:300, 70:370], (TILE, TILE), interpolation=cv2.INTER_AREA)


def picture(server: Server, name: str) -> np.ndarray:
    """An example's picture: the source, and every result. RuntimeError where it fails."""
    prompt = quick(example(name), steps=STEPS, every=EVERY, quality=10)
    answer = server.run(prompt, 600)
    if not answer.succeeded:
        raise RuntimeError(answer.error)
    decoded = [answer.outputs[key] for key in of_class(prompt, "DVADecodeDDIM")]
    shown = [decoded[0]["dva_before"][0], *(outputs["images"][0] for outputs in decoded)]
    white = np.full((TILE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for file in shown for part in (picture_of(server.file(file)), white)][:-1], 1)


def main(*names: str) -> int:
    """Of the examples of these names, or all that can be run; how many failed."""
    names = names or tuple(
        path.stem for path in sorted(EXAMPLES.glob("*.json")) if not any(of_class(example(path.stem), kind) for kind in NOT_RUN)
    )
    comfy, failed = find_comfy(), 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), comfy, comfy_python(comfy)).start()
        try:
            make_clip(server.base / "input" / "face.mp4", FRAMES)
            make_other(server.base / "input" / "other.mp4")
            for name in names:
                try:
                    save_picture(EXAMPLES / f"{name}.jpg", picture(server, name))
                except RuntimeError as error:
                    failed += 1
                    sys.stderr.write(f"{name}: {error}\n")
        finally:
            server.stop()
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
