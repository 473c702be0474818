"""The aligned faces on which the starter model is trained, and their labels.

Layout: a folder with `labels.csv` (columns file, set, person_or_cluster, ... and one column per attribute: 1, 0 or
empty), `annotations.npz` (files, points5 [n, 5, 2], landmarks68 [n, 68, 2], embedding [n, 128]) and the pictures.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dva_core.errors import DVAError, MissingFileError
from dva_core.video.images import read_rgb

SYNTHETIC_SETS = ("SFHQ", "SFHQ-T2I", "faker")  # MIT, MIT, CC0: sets that the shipped model is trained on
EYE_LABELS = (
    "Eyeglasses", "Sunglasses", "Beard", "5_o_Clock_Shadow", "Mustache", "Wearing_Hat", "Bald", "Gray_Hair", "Blond_Hair", "Black_Hair",
    "Colored_Hair", "Bangs", "Long_Hair", "Wearing_Lipstick", "Smiling", "Mouth_Slightly_Open",
)  # fmt: skip
YOUNG_BELOW = 35.0  # years, by the teacher
HELD_OUT_EVERY = 8  # one cluster of people in eight never trains


@dataclass
class FaceSet:
    """Aligned pictures with labels, people and landmarks; rows of all arrays correspond.

    pictures uint8 [n, S, S, 3]; landmarks float32 [n, 68, 2] and points5 [n, 5, 2] in pixels; embedding [n, 128] unit;
    labels float32 [n, K] of 1, 0 or nan; names of the K labels; person: cluster of each row; source: the set it comes from;
    held_out: bool [n]; age: float32 [n] years by the teacher, nan where unknown, None where not read.
    """

    pictures: np.ndarray
    landmarks: np.ndarray
    points5: np.ndarray
    embedding: np.ndarray
    labels: np.ndarray
    names: list[str]
    person: np.ndarray
    source: np.ndarray
    held_out: np.ndarray
    age: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: np.ndarray) -> FaceSet:
        """Select rows by an index or boolean array."""
        arrays = (getattr(self, key)[rows] for key in ("pictures", "landmarks", "points5", "embedding", "labels"))
        age = None if self.age is None else self.age[rows]
        return FaceSet(*arrays, self.names, self.person[rows], self.source[rows], self.held_out[rows], age)


def cell(row: dict, name: str) -> float:
    return float(row[name]) if row.get(name) not in (None, "") else np.nan


def row_labels(row: dict) -> list[float]:
    """Attribute labels of one row of labels.csv: manual ones, then Male and Young of the teacher if it is confident."""
    male, age = cell(row, "male_probability"), cell(row, "age")
    return [cell(row, name) for name in EYE_LABELS] + [
        np.nan if np.isnan(male) or 0.2 < male < 0.8 else float(male > 0.5),
        np.nan if np.isnan(age) or abs(age - YOUNG_BELOW) < 3 else float(age < YOUNG_BELOW),
    ]


def read_faces(folder: Path | str, sets: tuple[str, ...] = SYNTHETIC_SETS) -> FaceSet:
    """Read the faces of the named sets. A cluster of people is held out as a whole, so that nobody is on both sides."""
    folder = Path(folder)
    if not (folder / "labels.csv").is_file():
        raise MissingFileError(f"{folder} holds no labels.csv: point --faces at a folder laid out like faces128.")
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    annotations = np.load(folder / "annotations.npz", allow_pickle=False)
    keep = np.array([row["set"] in sets for row in rows])
    rows = [row for row in rows if row["set"] in sets]
    if not rows:
        raise DVAError(f"{folder}/labels.csv has no picture of the sets {', '.join(sets)}.")
    people = np.array([row["person_or_cluster"] for row in rows])
    order = {name: i for i, name in enumerate(sorted(set(people)))}
    return FaceSet(
        pictures=np.stack([read_rgb(folder / row["file"]) for row in rows]),
        landmarks=annotations["landmarks68"][keep].astype(np.float32),
        points5=annotations["points5"][keep].astype(np.float32),
        embedding=annotations["embedding"][keep].astype(np.float32),
        labels=np.array([row_labels(row) for row in rows], np.float32),
        names=[*EYE_LABELS, "Male", "Young"],
        person=people,
        source=np.array([row["set"] for row in rows]),
        held_out=np.array([order[name] % HELD_OUT_EVERY == 0 for name in people]),
        age=np.array([cell(row, "age") for row in rows], np.float32),
    )
