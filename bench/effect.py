"""What an edit does, by the teachers' scores: age, sex and smile of pasted frames before and after, identity kept, flicker.

python bench/effect.py CLIP... --model starter --teachers ../shared/data/teachers --attribute Young --scale -0.8
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import dva_core
from dva_core.edit import apply_attributes
from dva_core.faces.align import crop_face
from dva_core.finder import to_images
from dva_core.pipeline import decode, encode
from dva_core.train.teachers import Teachers, five_points


def scores(teachers: Teachers, pictures: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    age, male = teachers.age_male(pictures)
    return {"age": age, "male": male, "smile": teachers.expression(pictures)[:, 1], "embedding": teachers.embed(pictures, points)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--attribute", action="append", required=True)
    parser.add_argument("--scale", action="append", type=float, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--sheet", type=Path, help="picture of first, middle and last frame, before and after, a row a clip and edit")
    args = parser.parse_args()

    model, teachers, rows = dva_core.load_model(args.model), Teachers(args.teachers), []
    table = csv.writer(sys.stdout)
    table.writerow(
        ["clip", "attribute", "scale", "age", "d_age", "male", "d_male", "smile", "d_smile", "identity_cosine", "change_in_crop"]
    )
    for clip in args.clips:
        decomposition = encode(clip, model, steps=args.steps, every=args.every)
        for name, scale in zip(args.attribute, args.scale):
            before, after = [], []

            def watch(index, row, original, result, crop, clip_quads=decomposition.quads, before=before, after=after):
                if row is not None:
                    before.append(crop_face(original.rgb, clip_quads[row], 256))
                    after.append(crop_face(result.rgb, clip_quads[row], 256))

            with tempfile.TemporaryDirectory() as folder:
                edited = apply_attributes(decomposition, model, {name: scale})
                decode(edited, model, Path(folder) / "out.mkv", codec="ffv1", watch=watch)
            before, after = np.stack(before), np.stack(after)
            points = five_points(model.track_landmarks(to_images(before)).numpy() * 256)
            a, b = scores(teachers, before, points), scores(teachers, after, points)
            like = (a["embedding"] * b["embedding"]).sum(1).mean()
            change = np.abs(before.astype(float) - after).mean()
            figures = [v for key in ("age", "male", "smile") for v in (np.median(a[key]), np.median(b[key] - a[key]))]
            table.writerow([clip.stem, name, scale, *(f"{v:.2f}" for v in figures), f"{like:.3f}", f"{change:.2f}"])
            sys.stdout.flush()
            chosen = [0, len(before) // 2, len(before) - 1]
            strip = np.concatenate([np.concatenate([before[i], after[i]], 1) for i in chosen], 1)
            cv2.putText(strip, f"{clip.stem} {name} {scale:+g}", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
            rows.append(strip)
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.concatenate(rows)[..., ::-1])


if __name__ == "__main__":
    main()
