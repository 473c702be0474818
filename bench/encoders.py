"""The model's own small networks against the teachers they were distilled from, on real people that neither was trained on here.

PYTHONPATH=. python bench/encoders.py ../shared/data -o docs/encoders.md

Identity: cosines of vectors of one person and of different people, less the mean person (what tracking compares). Landmarks: mean
distance to the teacher's in pixels of a 256 px crop. Detection: share of frames in which a face is found whose five points lie
within a quarter of the distance between the eyes of the teacher's, and false alarms a frame; the frames of the videos as they are, scaled,
mirrored and pasted at random into larger ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import dva_core
from dva_core.evaluate.table import Table
from dva_core.faces.finder import FaceFinder, embed
from dva_core.model.arrays import to_images
from dva_core.model.autoencoder import JAW
from dva_core.train.faces import read_faces
from dva_core.video import open_video

CROP, NEAR = 256, 0.25
SCALES = (0.25, 0.5, 1.0, 2.0)
CANVAS = (720, 1280)
MIRROR5 = [1, 0, 2, 4, 3]
REAL = ("london_neutral", "london_smile")


def frames_of(path: Path) -> list[np.ndarray]:
    with open_video(path) as video:
        return [frame.rgb for frame in video]


def to_crop(affine: np.ndarray) -> np.ndarray:
    """The affine map [2, 3] to a 128 px crop, to one of CROP px (coordinates of pixel centres)."""
    k = CROP / 128
    scaled = affine * k
    scaled[:, 2] += (k - 1) / 2
    return scaled


def crops_and_points(frames: list[np.ndarray], notes, video: str) -> tuple[np.ndarray, np.ndarray]:
    """Squares uint8 [n, 256, 256, 3] and the teacher's landmarks in them [n, 68, 2], in 0..1."""
    crops, points = [], []
    for frame, affine, landmarks in zip(frames, notes[f"{video}/ffhq_affine"], notes[f"{video}/landmarks68"]):
        matrix = to_crop(affine.astype(np.float64))
        crops.append(cv2.warpAffine(frame, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        points.append(landmarks @ matrix[:, :2].T + matrix[:, 2])
    return np.stack(crops), (np.stack(points) + 0.5) / CROP


def spread(vectors: np.ndarray, people: np.ndarray) -> tuple[float, float, float]:
    """Mean cosine between pictures of one person, between people, and the balanced share of pairs that the best threshold tells right."""
    cosines = vectors @ vectors.T
    pairs = np.triu(np.ones_like(cosines, bool), 1)
    same = (people[:, None] == people[None]) & pairs
    other = pairs & ~same
    right = [((cosines[same] >= cut).mean() + (cosines[other] < cut).mean()) / 2 for cut in np.linspace(-1, 1, 401)]
    return float(cosines[same].mean()), float(cosines[other].mean()), float(max(right))


def centred(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    moved = vectors - mean
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def embedded(model, crops: np.ndarray) -> np.ndarray:
    """Identity vectors less the mean person [n, D]."""
    return np.concatenate([embed(model, part) for part in np.array_split(crops, len(crops) // 32 + 1)])


@torch.inference_mode()
def landmark_error(model, crops: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Mean over the 68, and over the 51 inner landmarks, in pixels of a 256 px crop; `points` in 0..1."""
    parts = np.array_split(crops, len(crops) // 32 + 1)
    landmarks = np.concatenate([model.track_landmarks(to_images(part)).float().cpu().numpy() for part in parts])
    distance = CROP * np.linalg.norm(landmarks - points, axis=2)
    return float(distance.mean()), float(distance[:, JAW:].mean())


def variants_of(frame: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, picture, the teacher's five points in it)."""
    for scale in SCALES:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        yield f"scaled {scale:g}", cv2.resize(frame, None, fx=scale, fy=scale, interpolation=method), (points + 0.5) * scale - 0.5
    mirrored = points[MIRROR5].copy()
    mirrored[:, 0] = frame.shape[1] - 1 - mirrored[:, 0]
    yield "mirrored", np.ascontiguousarray(frame[:, ::-1]), mirrored
    scale = rng.uniform(0.4, 1.8)
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    background = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), CANVAS[::-1], interpolation=cv2.INTER_CUBIC)
    y, x = rng.integers(0, CANVAS[0] - small.shape[0] + 1), rng.integers(0, CANVAS[1] - small.shape[1] + 1)
    background[y : y + small.shape[0], x : x + small.shape[1]] = small
    yield "pasted into 1280 x 720", background, (points + 0.5) * scale - 0.5 + (x, y)


def found_and_false(detector, picture: np.ndarray, points: np.ndarray) -> tuple[bool, int]:
    """Whether the face was found, and how many others were seen."""
    reach = NEAR * np.linalg.norm(points[1] - points[0])
    hits = [np.linalg.norm(face.points5 - points, axis=1).mean() < reach for face in detector.detect(picture)]
    return any(hits), len(hits) - sum(hits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with clips/ and faces128/")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--every", type=int, default=1, help="take each n-th frame of a video")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()

    model, rng = dva_core.load_model(args.model), np.random.default_rng(0)
    detector, notes, hits = FaceFinder.of(model).detector, np.load(args.data / "clips/annotations.npz"), {}
    identity = Table("Identity", ["pictures", "network", "same person", "different people", "pairs told apart"])
    landmarks = Table("Landmarks against the teacher's, pixels of 256", ["pictures", "number", "all 68", "51 inner"])
    detection = Table("Detection", ["frames", "number", "found", "false alarms a frame"])

    people, ours, theirs = [], [], []
    for number, video in enumerate(map(str, notes["clips"])):
        frames = frames_of(args.data / "clips" / f"{video}.mpg")
        crops, points = crops_and_points(frames, notes, video)
        landmarks.add(f"video {video}", len(crops), *landmark_error(model, crops, points))
        ours.append(embedded(model, crops[:: args.every]))
        theirs.append(notes[f"{video}/embedding"][:: args.every])
        people += [number] * len(ours[-1])
        for frame, five in zip(frames[:: args.every], notes[f"{video}/points5"][:: args.every]):
            for kind, picture, where in variants_of(frame, five.astype(np.float64), rng):
                hits.setdefault(kind, []).append(found_and_false(detector, picture, where))
    mean = read_faces(args.data / "faces128").embedding.mean(0)  # of the synthetic people, as ours
    london = read_faces(args.data / "faces128", REAL)
    for pictures, who, mine, teachers in (
        ("the five videos", np.array(people), np.concatenate(ours), np.concatenate(theirs)),
        ("London, neutral and smiling", london.person, embedded(model, london.pictures), london.embedding),
    ):
        identity.add(pictures, "ours", *spread(mine, who))
        identity.add(pictures, "MobileFaceNet (teacher)", *spread(centred(teachers, mean), who))
    landmarks.add("London", len(london), *landmark_error(model, london.pictures, london.landmarks / london.pictures.shape[1]))
    for kind, shares in hits.items():
        detection.add(kind, len(shares), *np.mean(shares, 0).tolist())
    identity.notes.append("Cosines less the mean person; pairs told apart: balanced share at the best threshold.")
    detection.notes.append(f"Found: five points within {NEAR:g} of the distance between the eyes of the teacher's, on average.")
    command = f"Made by `PYTHONPATH=. python bench/encoders.py shared/data --model {args.model} --every {args.every}`.\n"
    text = "\n".join([command, *(table.markdown() for table in (identity, landmarks, detection))])
    args.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
