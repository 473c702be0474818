"""An attribute of one's own: the direction points from without to with, in the trained steps' length, and its score is honest."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from bundles import write_tiny
from standin import BrightDetector, draw, landmarks_of

from dva_core.commands import main as cli
from dva_core.edit.attributes import AttributeSet
from dva_core.edit.directions import Direction, encoder_fingerprint
from dva_core.edit.expression import without_head_motion
from dva_core.edit.gradients import visible_direction
from dva_core.edit.own import (
    crop_faces,
    encode_crops,
    from_vectors,
    leave_out_score,
    own_attribute,
    paired_score,
    read_folder,
    read_pairs,
    statistics,
)
from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.train.classifiers import encode_folder
from dva_core.train.labels import read_labels, roc_auc


@pytest.fixture
def finder(monkeypatch):
    finder = FaceFinder(BrightDetector(), landmarks_of, None)
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: finder))


def test_the_step_is_the_difference_of_means_in_standardised_space(model):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6, 16))
    attribute = from_vectors(model, a, b, "Freckles")
    mean, std = statistics(model, "identity")
    w = ((a - mean) / std).mean(0) - ((b - mean) / std).mean(0)
    np.testing.assert_allclose(attribute.direction.vector, std * math.sqrt(16) * w / np.linalg.norm(w), rtol=1e-5)
    assert attribute.direction.space == "identity" and attribute.direction.encoder == encoder_fingerprint(model, "identity")
    # as long as a trained attribute's step
    attributes = AttributeSet.from_model(model)
    assert np.linalg.norm(attribute.direction.vector / std) == pytest.approx(np.linalg.norm(attributes.step("Young")), rel=1e-6)
    assert attribute.direction.made["how"] == "pictures" and attribute.direction.made["score"] == pytest.approx(attribute.score, abs=1e-3)


def test_pairs_take_out_who_it_is(model):
    rng = np.random.default_rng(1)
    people, step = 5 * rng.standard_normal((8, 16)), np.eye(16)[3]
    a, b = people + step + 0.1 * rng.standard_normal((8, 16)), people + 0.1 * rng.standard_normal((8, 16))
    shuffled = rng.permutation(8)
    paired = from_vectors(model, a, b, "x", pairs=True)
    assert paired.score == 1.0 and paired.direction.vector[3] > 0
    assert from_vectors(model, a, b[shuffled], "x").score < 1.0  # the same pictures, not knowing who is who
    np.testing.assert_allclose(paired.direction.vector, from_vectors(model, a, b[shuffled], "x").direction.vector, atol=1e-5)


def test_the_score_is_of_left_out_pictures():
    """On noise of many dimensions the direction fits what it saw perfectly, and tells nothing of the rest."""
    rng = np.random.default_rng(2)
    scores = []
    for _ in range(30):
        a, b = rng.standard_normal((2, 6, 100))
        w = a.mean(0) - b.mean(0)
        assert (a @ w).min() > (b @ w).max()  # what a score on the same pictures would call perfect
        scores.append(leave_out_score(a, b))
        assert 0 <= paired_score(a, b) <= 1
    assert abs(np.mean(scores) - 0.5) < 0.1
    a, b = rng.standard_normal((2, 6, 100))
    a[:, 0] += 12
    assert leave_out_score(a, b) == 1 and paired_score(a, b) == 1 and leave_out_score(b, a) == 1


def test_motion_is_freed_of_how_the_head_moved(model):
    rng = np.random.default_rng(3)
    b = rng.random((6, 102)) * 0.01 + np.linspace(0.2, 0.8, 102)
    smile = np.zeros((51, 2))
    smile[31:51, 1] = -0.05
    a = b + smile.ravel() + np.tile((0.3, -0.2), 51)  # and the camera moved
    attribute = from_vectors(model, a, b, "Smile", space="motion")
    np.testing.assert_allclose(attribute.direction.vector.reshape(51, 2), smile, atol=1e-6)
    assert attribute.direction.space == "motion"
    np.testing.assert_allclose(without_head_motion(np.tile((0.3, -0.2), 51), b[0]), 0, atol=1e-9)


def test_too_few_unpaired_and_faceless_pictures_are_refused(model, finder):
    faces, blank = [draw(i) for i in range(6)], np.full((60, 60, 3), 90, np.uint8)
    with pytest.raises(DVAError, match="4 pictures with Hat; give 5"):
        own_attribute(model, faces[:4], faces, "Hat")
    with pytest.raises(DVAError, match="as many of each"):
        own_attribute(model, faces, faces[:5], "Hat", pairs=True)
    with pytest.raises(DVAError, match="Picture 3 without it shows no face"):
        own_attribute(model, faces, [faces[0], faces[1], blank, faces[2], faces[3]], "Hat")
    with pytest.raises(DVAError, match="needs a name"):
        own_attribute(model, faces, faces, " ")
    with pytest.raises(DVAError, match="choose one of identity, motion"):
        own_attribute(model, faces, faces, "Hat", space="noise")
    with pytest.raises(DVAError, match="are the same"):
        own_attribute(model, faces, faces, "Hat")


def test_as_shown_is_a_step_as_long_and_says_so(model, finder):
    bright, dark = [draw(i) for i in range(6)], [draw(i) * np.array([1, 1, 0], np.uint8) for i in range(6)]
    plain, visible = (own_attribute(model, bright, dark, "Lit", shown=visible) for visible in (False, True))
    std = statistics(model, "identity")[1]
    assert np.linalg.norm(visible.direction.vector / std) == pytest.approx(np.linalg.norm(plain.direction.vector / std), rel=1e-5)
    assert visible.score == plain.score and visible.direction.made["shown"] and "shown" not in plain.direction.made
    crops = np.concatenate([crop_faces(model, bright), crop_faces(model, dark)])
    expected = visible_direction(model, plain.direction.vector / std, std, crops)
    np.testing.assert_allclose(visible.direction.vector / std / 4, expected / np.linalg.norm(expected), atol=1e-5)
    assert not np.allclose(visible.direction.vector, plain.direction.vector, rtol=0.01)
    moved = [own_attribute(model, bright, dark, "Lit", space="motion", shown=visible).direction for visible in (False, True)]
    assert moved[0] == moved[1] or np.array_equal(moved[0].vector, moved[1].vector)


def test_a_face_that_fills_its_picture_is_found_with_a_margin(model, monkeypatch):
    class Narrow(BrightDetector):
        def detect(self, rgb):
            return super().detect(rgb) if rgb.shape[0] > 100 else []

    finder = FaceFinder(Narrow(), landmarks_of, None)
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: finder))
    crops = crop_faces(model, [draw(0)])
    assert crops.shape == (1, 32, 32, 3) and encode_crops(model, crops, "identity").shape == (1, 16)


def test_the_command(tmp_path, model, finder, capsys):
    for kind in ("with", "without"):
        (tmp_path / kind).mkdir()
        for i in range(5):
            picture = draw(i)
            picture[..., 2] //= 2 if kind == "with" else 1
            cv2.imwrite(str(tmp_path / kind / f"{i}.png"), picture[..., ::-1])
    assert len(read_folder(tmp_path / "with")) == 5
    np.testing.assert_array_equal(read_folder(tmp_path / "without")[2], draw(2))
    bundle = write_tiny(tmp_path / "tiny.safetensors")
    out = tmp_path / "blue.safetensors"
    call = ["own-attribute", str(tmp_path / "with"), str(tmp_path / "without"), "--name", "Yellow", "-o", str(out), "--model", str(bundle)]
    assert cli.main([*call, "--device", "cpu"]) == 0
    assert "left-out pictures" in capsys.readouterr().err
    direction = Direction.load(out)
    assert direction.name == "Yellow" and direction.made["with"] == 5
    (tmp_path / "without" / "0.png").write_bytes(b"no picture")
    for words, says in ((call, "cannot be read as a picture"), ([*call[:-3], "x.txt", *call[-2:]], "ends in .safetensors")):
        assert cli.main(words) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(DVAError, match="holds no pictures"):
        read_folder(tmp_path / "with" / "..")


@pytest.mark.parametrize("name", ["Eyeglasses", "Beard"])
def test_ten_real_pictures_of_each_tell_the_rest(shared, name):
    """The starter's encoder, ten pictures with and ten without, drawn ten times: AUC on the others, and near the classifier's weight."""
    folder = shared("data/faces128")
    model = load_model("starter", device="cpu")
    table = read_labels(folder / "labels.csv")
    labels = table.labels[:, table.names.index(name)]
    rng = np.random.default_rng(0)
    yes, no = (rng.permutation(np.flatnonzero(labels == value))[:60] for value in (1, 0))
    z = encode_folder(model, folder, [table.files[i] for i in (*yes, *no)])
    mean, std = statistics(model, "identity")
    trained, aucs, scores = AttributeSet.from_model(model).weight(name), [], []
    for _ in range(10):
        yes, no = rng.permutation(60), 60 + rng.permutation(60)
        attribute = from_vectors(model, z[yes[:10]], z[no[:10]], name)
        own, rest = attribute.direction.vector / std, z[np.concatenate([yes[10:], no[10:]])]
        aucs.append(roc_auc(np.repeat([1, 0], 50), (rest - mean) / std @ own))
        assert own @ trained / np.linalg.norm(own) / np.linalg.norm(trained) > 0.5
        scores.append(attribute.score)
    assert np.mean(aucs) > 0.85 and min(aucs) > 0.8 and np.mean(scores) > 0.7


def test_pairs_are_found_by_their_names(tmp_path, caplog):
    for folder, names in (("with", ("b.png", "a.png", "only.png")), ("without", ("c.png", "a.jpg", "b.png"))):
        (tmp_path / folder).mkdir()
        for name in names:
            value = 200 if folder == "with" else 50
            cv2.imwrite(str(tmp_path / folder / name), np.full((4, 4, 3), value + ord(name[0]) - ord("a"), np.uint8))
    a, b = read_pairs(tmp_path / "with", tmp_path / "without")
    assert [int(picture[0, 0, 0]) for picture in a] == [200, 201] and [int(picture[0, 0, 0]) for picture in b] == [50, 51]
    assert "2 pictures" in caplog.text
    for name in ("a.jpg", "b.png"):
        (tmp_path / "without" / name).rename(tmp_path / "without" / f"x{name}")
    a, b = read_pairs(tmp_path / "with", tmp_path / "without")  # no name is in both: in their order
    assert len(a) == len(b) == 3


def test_a_region_is_kept_with_the_direction(model):
    from dva_core.edit import own

    pictures = [np.zeros((8, 8, 3), np.uint8)] * 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "crop_faces", lambda *_: np.zeros((5, 32, 32, 3), np.uint8))
        patch.setattr(own, "encode_crops", lambda *_: np.random.default_rng().normal(size=(5, model.identity_dim)))
        assert own_attribute(model, pictures, pictures, "Beard", shown=False, region="lower").direction.region == "lower"
        with pytest.raises(DVAError, match="no region 'knee'"):
            own_attribute(model, pictures, pictures, "Beard", shown=False, region="knee")
