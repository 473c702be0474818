"""What an edit by text does, and how long its search takes: by a stand-in for CLIP.

The stand-in is the teachers of age, sex and expression themselves (text_teachers.py), or with --standin a network that was trained on
labels (text_standin.py), which is then judged by teachers it has never seen. For each video the search runs on one frame (on those of
--frame) until the loss has settled, and the edit is decoded. Told are: iterations and seconds, the loss; by the teachers, before and
after (medians over frames), sex and smile as log-odds and the age; the identity teacher's lowest cosine before/after, and the largest
change of a pixel outside the face's square, and inside it outside the mask (8 bit). With --fixed N the first video's search is also run
for N steps, as the paper does with 2000, and its time and final loss are held against those of the one that stopped.

python bench/text_edit.py VIDEO=TARGET... --teachers ../shared/data/teachers --scale 1
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import dva_core
from dva_core.decomposition import Decomposition
from dva_core.edit.directions import apply_direction
from dva_core.edit.text import text_search
from dva_core.faces.align import crop_face
from dva_core.model.arrays import to_images
from dva_core.pipeline import decode, encode
from dva_core.pipeline.masks import SoftMasks
from dva_core.train.teachers import Teachers, five_points
from dva_core.video.images import save_picture

sys.path.insert(0, str(Path(__file__).parent))
from text_standin import load_standin
from text_teachers import TeacherTower

TILE = 256
AWAY = np.ones((9, 9), np.uint8)  # pixels of the crop beside the mask that its resampling may still mix with it


def outside(decomposition, row: int, original: np.ndarray, result: np.ndarray) -> tuple[int, int]:
    """Largest change of a pixel outside the square, and inside it away from the mask; 8-bit steps."""
    change = np.abs(original.astype(int) - result).max(-1)
    square = np.zeros(change.shape, np.uint8)
    cv2.fillConvexPoly(square, np.round(decomposition.quads[row]).astype(np.int32), 1)
    beyond = change[cv2.dilate(square, np.ones((5, 5), np.uint8)) == 0].max()
    crops = [crop_face(picture, decomposition.quads[row], TILE).astype(int) for picture in (original, result)]
    mask = cv2.resize(np.asarray(SoftMasks(decomposition)[row], np.float32), (TILE, TILE))
    away = cv2.dilate((mask > 0).astype(np.uint8), AWAY) == 0
    return int(beyond), int(np.abs(crops[0] - crops[1]).max(-1)[away].max())


def searched(decomposition, model, standin, target: str, args, **settings):
    """A finished search and its seconds."""
    look = {"identity_weight": args.identity_weight, "frames": args.frame or 0}
    search = text_search(decomposition, model, "face", target, clip_model=standin, **look, **settings)
    began = time.perf_counter()
    search.run()
    return search, time.perf_counter() - began


def decoded(decomposition, edited, model) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Face squares before and after, and the largest changes where nothing should change."""
    before, after, strayed = [], [], []

    def watch(index, row, original, result, crop):
        if row is not None:
            before.append(crop_face(original.rgb, decomposition.quads[row], TILE))
            after.append(crop_face(result.rgb, decomposition.quads[row], TILE))
            strayed.append(outside(decomposition, row, original.rgb, result.rgb))

    with tempfile.TemporaryDirectory() as folder:
        decode(edited, model, Path(folder) / "out.mkv", codec="ffv1", watch=watch)
    return np.stack(before), np.stack(after), tuple(np.max(strayed, 0))


def scores(teachers: Teachers, squares: np.ndarray) -> tuple[float, float, float]:
    """Medians over face squares: log-odds of Male, age in years, log-odds of happy."""
    age, male = teachers.age_male(squares)
    odds = [np.log(p / (1 - p)) for p in (np.clip(values, 1e-6, 1 - 1e-6) for values in (male, teachers.expression(squares)[:, 1]))]
    return float(np.median(odds[0])), float(np.median(age)), float(np.median(odds[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="VIDEO=TARGET")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--standin", type=Path, help="what text_standin.py wrote (default: the teachers)")
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--scale", type=float, action="append", help="repeat for several (default 1)")
    parser.add_argument("--identity-weight", type=float, default=1.0, help="the paper's example has 1, its default is 5")
    parser.add_argument("--frame", type=int, action="append", help="what to search on; repeat for several (default 0)")
    parser.add_argument("--fixed", type=int, default=0, metavar="N")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=15)
    parser.add_argument("--sheet", type=Path, help="a picture: the middle frame before and after, a row a video")
    args = parser.parse_args()

    model, teachers, rows = dva_core.load_model(args.model), Teachers(args.teachers), []
    standin = load_standin(args.standin) if args.standin else TeacherTower(args.teachers)
    print(
        "video,target,scale,iterations,seconds,first_loss,loss,male,male_after,age,age_after,smile,smile_after,"
        "identity_cosine,outside_square,outside_mask"
    )
    for number, entry in enumerate(args.videos):
        path, target = entry.split("=")
        decomposition = (
            Decomposition.load(path) if Path(path).suffix == ".safetensors" else encode(path, model, steps=args.steps, every=args.every)
        )
        search, seconds = searched(decomposition, model, standin, target, args)
        direction = search.direction()
        strip = []
        for scale in args.scale or [1.0]:
            before, after, strayed = decoded(decomposition, apply_direction(decomposition, model, direction, scale), model)
            points = five_points(model.track_landmarks(to_images(before)).cpu().numpy() * TILE)
            before_and_after = [f"{value:.3f}" for pair in zip(scores(teachers, before), scores(teachers, after)) for value in pair]
            cosine = (teachers.embed(before, points) * teachers.embed(after, points)).sum(1).min()
            losses = [f"{search.history[0]:.4f}", f"{search.best.loss:.4f}"]
            facts = [
                Path(path).stem,
                target,
                f"{scale:g}",
                str(search.iterations),
                f"{seconds:.0f}",
                *losses,
                *before_and_after,
                f"{cosine:.3f}",
            ]
            print(",".join([*facts, *map(str, strayed)]), flush=True)
            strip += [before[len(before) // 2]] * (not strip) + [after[len(after) // 2]]
        row = np.concatenate(strip, 1)
        cv2.putText(row, f"{Path(path).stem}: {target}", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        rows.append(row)
        if args.sheet:
            save_picture(args.sheet, np.concatenate(rows))
        if args.fixed and not number:
            long, long_seconds = searched(decomposition, model, standin, target, args, settle=False, iterations=args.fixed)
            print(
                f"# {long.iterations} fixed steps: {long_seconds:.0f} s, loss {long.best.loss:.4f}; stopped after {search.iterations}: "
                f"{seconds:.0f} s, loss {search.best.loss:.4f}, {100 * (search.best.loss / long.best.loss - 1):+.2f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
