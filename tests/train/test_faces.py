"""Reading labelled faces: sets, labels, people held out whole; and what is said where the folder is not one."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.train.faces import EYE_LABELS, read_faces, row_labels
from dva_core.video.images import read_rgb

COLUMNS = ["file", "set", "person_or_cluster", "male_probability", "age", *EYE_LABELS]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        rows.append(
            {
                "file": f"{i}.jpg",
                "set": "faker" if i % 3 else "london_smile",
                "person_or_cluster": f"p{i // 2}",
                "male_probability": 0.9,
                "age": 20 + i,
            }
        )
    rows[1]["Eyeglasses"] = "1"
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    np.savez(
        tmp_path / "annotations.npz",
        landmarks68=rng.uniform(0, 32, (24, 68, 2)),
        points5=rng.uniform(0, 32, (24, 5, 2)),
        embedding=np.arange(24)[:, None] * np.ones((24, 128)),
    )
    return tmp_path


def test_only_the_named_sets_are_read_and_rows_belong_together(folder):
    faces = read_faces(folder)
    assert len(faces) == 16 and set(faces.source) == {"faker"}
    assert faces.embedding[0, 0] == 1  # the first synthetic row is row 1 of the annotations
    assert faces.labels[0, faces.names.index("Eyeglasses")] == 1
    assert np.isnan(faces.labels[1, faces.names.index("Eyeglasses")])
    assert faces.age[:3].tolist() == [21, 22, 24] and faces.take(np.array([2, 0])).age.tolist() == [24, 21]


def test_people_are_held_out_whole(folder):
    faces = read_faces(folder, ("faker", "london_smile"))
    assert 0 < faces.held_out.sum() < len(faces)
    for person in set(faces.person):
        assert len(set(faces.held_out[faces.person == person])) == 1


def test_unsure_labels_are_empty():
    assert np.isnan(row_labels({"male_probability": "0.5", "age": "36"})[-2:]).all()
    assert row_labels({"male_probability": "0.95", "age": "20"})[-2:] == [1.0, 1.0]
    assert row_labels({"male_probability": "0.01", "age": "60"})[-2:] == [0.0, 0.0]


def test_what_is_no_folder_of_faces_is_said(tmp_path, folder):
    with pytest.raises(DVAError, match=r"labels\.csv"):
        read_faces(tmp_path / "nowhere")
    with pytest.raises(DVAError, match="no picture of the sets"):
        read_faces(folder, ("CelebA",))
    (folder / "1.jpg").write_bytes(b"not a picture")
    with pytest.raises(DVAError, match=r"1\.jpg cannot be read"):
        read_faces(folder)
    with pytest.raises(DVAError, match="cannot be read"):
        read_rgb(folder / "missing.jpg")
