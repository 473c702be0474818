"""Runs the examples in a ComfyUI of their own and writes their thumbnails: PYTHONPATH=.:tests python -m host.build_thumbnails [NAME...]

The person is the examples' own (NASA's portrait of Eileen Collins, public domain). Where CLIP's weights are not in the models folder,
the text edit is searched with the stand-in of bench/text_standin.py, which knows the word "beard", and its picture says so.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from conftest import need_shared

import dva_core
from dva_core.edit.directions import apply_direction
from dva_core.edit.text import text_search
from dva_core.pipeline import decode, encode
from dva_core.video import open_video
from dva_core.video.images import save_picture

from .comfy_server import ROOT, Refused, Server, comfy_python, find_comfy
from .graphs import EXAMPLES, TITLES, example, of_class, page_of, quick

STEPS, EVERY, MOMENT, TILE, GAP = 12, 6, -1, 256, 6  # a frame in six is run (of every=4, all), the last is shown
STAND_IN = "(a stand-in for CLIP)"
CLIP = EXAMPLES / "dva_example.mp4"


def picture_of(path: Path, every: int = 1) -> np.ndarray:
    """The head in one frame of a video, or all of a frame with two people; TILE pixels high."""
    with open_video(path, every=every) as reader:
        frame = [frame.rgb for frame in reader][MOMENT]
    height, width = frame.shape[:2]
    shown = frame[:300, 70:370] if height == width else frame
    return cv2.resize(shown, (round(TILE * shown.shape[1] / shown.shape[0]), TILE), interpolation=cv2.INTER_AREA)


def beside(tiles: list[np.ndarray]) -> np.ndarray:
    white = np.full((TILE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, white)][:-1], 1)


def picture(server: Server, name: str) -> np.ndarray:
    """An example's picture: the source, and every result. RuntimeError where it fails."""
    prompt = example(name)
    prompt = quick(prompt, steps=STEPS, quality=10, every=4 if of_class(prompt, "DVAOwnAttribute") else EVERY)
    answer = server.run(prompt, 900)
    if not answer.succeeded:
        raise RuntimeError(answer.error)
    decoded = [answer.outputs[key] for key in of_class(prompt, "DVADecodeDDIM")]
    pictures = [decoded[0]["dva_before"][0], *(outputs["images"][0] for outputs in decoded)]
    return beside([picture_of(server.file(file)) for file in pictures])


def without_clip(name: str) -> np.ndarray:
    """A frame, the two texts of a text edit, and what the stand-in's search for them makes of the frame."""
    sys.path.insert(0, str(ROOT / "bench"))
    from text_standin import train

    prompt = example(name)
    (key,) = of_class(prompt, "DVAEditIdentityCLIP")
    asked = prompt[key]["inputs"]
    card = np.full((TILE, TILE, 3), 32, np.uint8)
    for line, (text, size) in enumerate(zip((asked["source"], "to", asked["target"], STAND_IN), (0.9, 0.6, 0.75, 0.45))):
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        place = ((TILE - width) // 2, 76 + 48 * line)
        cv2.putText(card, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (235, 235, 235), 1, cv2.LINE_AA)
    model, every = dva_core.load_model("starter"), 5 * EVERY
    decomposition = encode(CLIP, model, steps=STEPS, every=every)
    settings = {name: asked[name] for name in ("clip_weight", "identity_weight", "l1_weight")}
    settings["clip_model"] = train(need_shared("data/faces128"))[0]
    search = text_search(decomposition, model, asked["source"], asked["target"], **settings)
    search.run()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "edited.mkv"
        decode(apply_direction(decomposition, model, search.direction(), asked["scale"]), model, out, codec="ffv1")
        return beside([picture_of(CLIP, every), card, picture_of(out)])


def main(*names: str) -> int:
    """Of the examples of these names, or all; how many failed."""
    comfy, failed = find_comfy(), 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), comfy, comfy_python(comfy)).start()
        try:
            for name in names or TITLES:
                place = page_of(name).with_suffix(".jpg")
                try:
                    save_picture(place, picture(server, name))
                except Refused:
                    if not of_class(example(name), "DVAEditIdentityCLIP"):
                        raise
                    save_picture(place, without_clip(name))
                except RuntimeError as error:
                    failed += 1
                    sys.stderr.write(f"{name}: {error}\n")
        finally:
            server.stop()
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
