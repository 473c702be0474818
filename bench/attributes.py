"""What every attribute of a model does at many scales: the teacher's score, identity kept, and that nothing changes outside the mask.

python bench/attributes.py VIDEO... --model starter --teachers ../shared/data/teachers -o attributes.csv

A few frames of each video are encoded once, or read from DECOMPOSITION.safetensors files. All edits of a frame are decoded in one batch and
pasted into the source's frame. The teachers know age and sex (age_gender) and the smile (expression); the other attributes
are scored by the model's own classifier on the edited face. Scores are the median over the frames of a video. At the end it is told
on how many videos they are monotone in the scale, the largest step the wrong way, and for comparison by how much the score of the unedited
frames changes when the square that is looked at moves by half a pixel of 256.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import dva_core
from dva_core.decomposition import Decomposition
from dva_core.decomposition.info import source_frames
from dva_core.edit import AttributeSet, apply_attributes
from dva_core.edit.scores import logits
from dva_core.evaluate.judges import Judge, teacher_judge
from dva_core.evaluate.metrics import tg_id, tl_id
from dva_core.faces.align import crop_face
from dva_core.faces.composite import paste
from dva_core.faces.select import unit
from dva_core.model.arrays import to_images
from dva_core.pipeline import decode_crops
from dva_core.pipeline.masks import SoftMasks
from dva_core.pipeline.sheet import moments
from dva_core.train.teachers import Teachers

TEACHERS = {"Young": "age", "Male": "male", "Smiling": "smile"}
FALLS = {"Young"}  # the teacher's score (age) falls when the scale rises


def scores(model, attributes: AttributeSet, teachers: Teachers, name: str, squares: np.ndarray) -> np.ndarray:
    """[n] of face squares uint8 [n, 256, 256, 3]: the teacher's score of `name`, or the model's own logit."""
    kind = TEACHERS.get(name)
    if kind == "smile":
        return teachers.expression(squares)[:, 1]
    if kind is not None:
        return teachers.age_male(squares)[kind == "male"]
    if attributes[name].space == "motion":
        shift, motion = attributes.shift(name), model.encode_motion(to_images(squares)).cpu().numpy()
        return motion @ shift / (shift @ shift)
    return np.array([logits(attributes, z)[name] for z in model.encode_identity(to_images(squares)).cpu().numpy()])


def at_scale(
    decomposition: Decomposition, model, judge: Judge, edit: dict[str, float], frames: dict[int, np.ndarray], masks: SoftMasks
) -> tuple[np.ndarray, np.ndarray, int]:
    """Face squares [n, 256, 256, 3] of the edited frames, the judge's vectors [n, D], and how many values changed outside the mask."""
    squares, outside, rows = [], 0, list(frames)
    for row, crop in zip(rows, decode_crops(apply_attributes(decomposition, model, edit), model, rows)):
        rebuilt = decomposition.rebuilt[row].astype(np.float32)
        pasted, inside = paste(frames[row], decomposition.quads[row], crop.astype(np.float32), rebuilt, masks[row])
        outside += int((pasted != frames[row])[~inside].sum())
        squares.append(crop_face(pasted, decomposition.quads[row], 256))
    return np.stack(squares), unit(judge.embed(np.stack(squares))), outside


def tremor(decomposition: Decomposition, frames: dict[int, np.ndarray], score: Callable[[np.ndarray], np.ndarray]) -> float:
    """How far the median score of the unedited frames goes when their squares move by half a pixel, up, down, left or right."""

    def score_at(x: float, y: float) -> float:
        moved = {row: decomposition.quads[row] + np.ptp(decomposition.quads[row], 0).max() / 256 * np.float32([x, y]) for row in frames}
        return float(np.median(score(np.stack([crop_face(frames[row], quad, 256) for row, quad in moved.items()]))))

    still = score_at(0, 0)
    return max(abs(score_at(x, y) - still) for x, y in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))


def frames_of(decomposition: Decomposition, rows: list[int]) -> dict[int, np.ndarray]:
    """The source's frames of these rows."""
    row_of = {int(decomposition.frame_index[row]): row for row in rows}
    with source_frames(decomposition.find_source(), decomposition.info) as frames:
        return {row_of[i]: frame.rgb for i, frame in enumerate(frames) if i in row_of}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--attribute", action="append", default=[], help="repeat for several (default: all)")
    parser.add_argument("--scales", type=float, nargs="+", default=[-0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8])
    parser.add_argument("--frames", type=int, default=5, help="of each video")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=15, help="encode each n-th frame of a video")
    parser.add_argument("-o", "--out", type=Path, help="the table (default: stdout)")
    args = parser.parse_args()

    model, teachers = dva_core.load_model(args.model), Teachers(args.teachers)
    judge = teacher_judge(model, args.teachers)
    attributes = AttributeSet.from_model(model)
    names, scales = args.attribute or attributes.names, sorted({*args.scales, 0.0})
    out = args.out.open("w", newline="") if args.out else sys.stdout
    table = csv.writer(out)
    table.writerow(["clip", "attribute", "score", "scale", "value", "change", "identity_cosine", "tl_id", "tg_id", "changed_outside_mask"])
    wrong: dict[str, list[float]] = {name: [] for name in names}  # the largest step against the direction asked, a video
    trembles: dict[str, list[float]] = {name: [] for name in names}
    for path in args.videos:
        decomposition = (
            Decomposition.load(path) if path.suffix == ".safetensors" else dva_core.encode(path, model, steps=args.steps, every=args.every)
        )
        rows = moments(decomposition.faces, args.frames)
        frames, masks = frames_of(decomposition, rows), SoftMasks(decomposition)
        before = unit(judge.embed(np.stack([crop_face(frames[row], decomposition.quads[row], 256) for row in rows])))
        for name in names:
            measurements = {scale: at_scale(decomposition, model, judge, {name: scale}, frames, masks) for scale in scales}
            score = partial(scores, model, attributes, teachers, name)
            values = {scale: float(np.median(score(one[0]))) for scale, one in measurements.items()}
            trembles[name].append(tremor(decomposition, frames, score))
            for scale, (_, vectors, outside) in measurements.items():
                likeness = [(vectors * before).sum(1).mean(), tl_id(before, vectors), tg_id(before, vectors)]
                figures = [values[scale], values[scale] - values[0.0], *likeness]
                table.writerow([path.stem, name, TEACHERS.get(name, "own"), scale, *(f"{v:.3f}" for v in figures), outside])
            out.flush()
            steps = np.diff([values[scale] for scale in scales]) * (-1 if name in FALLS else 1)
            wrong[name].append(float(-steps.min()))
    for name, steps in wrong.items():
        strictly = sum(step <= 0 for step in steps)
        verdict = f"monotone on {strictly} of {len(steps)} videos, largest step the wrong way {max(steps):.5f}"
        moves = ", ".join(f"{step:.5f}" for step in trembles[name])
        print(f"{name:<22} {verdict}; half a pixel moves the score by {moves}", file=sys.stderr)


if __name__ == "__main__":
    main()
