"""The learned face mask: labels cut by colour, things drawn in front, the training, and the bundle that gets it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from waiting import ticking

from dva_core.commands import train as cli
from dva_core.errors import DVAError
from dva_core.faces.regions import MEAN_FACE
from dva_core.model.bundle import read_bundle
from dva_core.model.loader import load_model
from dva_core.networks.hull import extend_hull
from dva_core.networks.parser import CompactParser
from dva_core.train.faces import EYE_LABELS, FaceSet
from dva_core.train.mask import training
from dva_core.train.mask.labels import cut_label, fill_holes, largest_piece, polygon
from dva_core.train.mask.occluders import OUTLINES, TEXTURES, draw_occluder, lay_on
from dva_core.train.mask.samples import LabelledFaces, label_faces, load_labels, make_batch, make_sample, sources_of
from dva_core.train.mask.scene import Scene
from dva_core.train.mask.training import Run, overlap, parser_loss, train_mask
from dva_core.train.state import write_network

SIZE = 128
POINTS = np.float32(MEAN_FACE * SIZE)
SKIN, HAIR, WALL = (205, 150, 120), (60, 40, 30), (90, 140, 90)


def draw_face(hair: float, skin=SKIN, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A face of one skin colour with eyes and a mouth, hair down to `hair` of the picture: uint8 [S, S, 3], and its skin bool [S, S]."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIZE, SIZE, 3), WALL, np.float32)
    face = polygon(cv2.convexHull(np.float32(extend_hull(POINTS)))[:, 0], SIZE)
    picture[face] = skin
    covered = (np.arange(SIZE)[:, None] < hair * SIZE) & cv2.dilate(face.astype(np.uint8), np.ones((15, 15))).astype(bool)
    picture[covered] = HAIR
    for low, high in ((36, 42), (42, 48), (48, 60)):
        picture[polygon(POINTS[low:high], SIZE)] = (40, 30, 40)
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), face & ~covered


def face_set(count: int = 6) -> FaceSet:
    pictures = np.stack([draw_face(0.2 + 0.02 * i, seed=i)[0] for i in range(count)])
    names = [*EYE_LABELS, "Male", "Young"]
    return FaceSet(
        pictures,
        np.repeat(POINTS[None], count, 0),
        np.zeros((count, 5, 2)),
        np.zeros((count, 128)),
        np.zeros((count, len(names)), np.float32),
        names,
        np.arange(count).astype(str),
        np.array(["faker"] * count),
        np.arange(count) % 3 == 0,
    )


@pytest.fixture(scope="module")
def faces():
    return face_set()


@pytest.fixture(scope="module")
def labels(faces):
    return label_faces(faces)


@pytest.mark.parametrize("skin", [SKIN, (92, 62, 48)])
@pytest.mark.parametrize("hair", [0.22, 0.3])
def test_labels_keep_the_skin_and_what_lies_in_it_and_leave_hair_out(hair, skin):
    picture, truth = draw_face(hair, skin)
    label = cut_label(picture, POINTS)
    assert overlap(label.face[None], truth[None]) > 0.94 and label.score > 0
    assert label.face[polygon(POINTS[36:42], SIZE)].all() and label.face[polygon(POINTS[48:60], SIZE)].all()  # no holes
    assert overlap(label.hull[None], truth[None]) < overlap(label.face[None], truth[None])


def test_a_label_that_lost_the_forehead_is_not_used(faces):
    picture = draw_face(0.445)[0]  # hair down to the brows of a face that is not known to have any there
    assert cut_label(picture, POINTS).score <= 0 < cut_label(picture, POINTS, covered_brows=True).score


def test_pieces_and_holes():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12], mask[15:18, 15:18], mask[5:7, 5:7] = True, True, False
    found = fill_holes(largest_piece(mask))
    assert found.sum() == 100 and not found[15:18, 15:18].any()


@pytest.mark.parametrize("kind", OUTLINES)
@pytest.mark.parametrize("texture", [None, *TEXTURES])
def test_things_are_drawn_with_known_outlines(faces, kind, texture):
    scene = Scene(faces.pictures[0], POINTS / SIZE, faces.pictures[1])
    shares = []
    for seed in range(6):
        thing = draw_occluder(np.random.default_rng(seed), scene, kind, texture)
        again = draw_occluder(np.random.default_rng(seed), scene, kind, texture)
        assert np.array_equal(thing.alpha, again.alpha) and np.array_equal(thing.rgb, again.rgb)
        assert thing.alpha.min() >= 0 and thing.alpha.max() <= 1 + 1e-6 and thing.rgb.dtype == np.uint8
        laid = lay_on(np.random.default_rng(seed), scene.picture, thing)
        whole = thing.alpha > 0.999
        assert np.abs(laid[whole].astype(int) - thing.rgb[whole]).max(initial=0) <= 1
        shares.append(thing.alpha.mean())
    assert 0.001 < np.mean(shares) < 0.5


def test_a_sample_says_what_is_face_and_what_is_in_front(faces, labels):
    sources = sources_of(faces, labels, np.arange(len(faces)), seed=0)
    assert len(sources.pictures) == 2 * len(faces)  # each also with something drawn on it
    rng = np.random.default_rng(1)
    for row in range(len(sources.pictures)):
        bare, (face, front, known) = make_sample(rng, sources, row, things=0)
        hull = labels.hull[sources.label[row]] > 0
        assert np.array_equal(bare, sources.pictures[row]) and not (face * front).any() and (known[hull] == 1).all()
        _, (covered, more, known) = make_sample(rng, sources, row, things=2)
        assert (covered <= face).all() and (more >= front).all() and (covered + more <= 1 + 1e-6).all()
        assert (known[more > front] >= more[more > front] - 1e-6).all()


def test_batches_repeat_and_stay_in_range(faces, labels):
    sources = sources_of(faces, labels, np.arange(len(faces)), seed=0)
    images, targets = make_batch((0, 7), sources, 4)
    again = make_batch((0, 7), sources, 4)
    assert torch.equal(images, again[0]) and torch.equal(targets, again[1])
    assert not torch.equal(images, make_batch((0, 8), sources, 4)[0])
    assert images.shape == (4, 3, SIZE, SIZE) and images.abs().max() <= 1 and targets.min() >= -1e-5 and targets.max() <= 1 + 1e-5


def test_what_is_unknown_has_no_say():
    logits, targets = torch.randn(2, 2, 8, 8), torch.rand(2, 3, 8, 8)
    targets[:, 2, :4] = 0
    other = targets.clone()
    other[:, 1, :4] = 1 - other[:, 1, :4]
    assert torch.allclose(parser_loss(logits, targets), parser_loss(logits, other))
    other[:, 1, 4:] = 1 - other[:, 1, 4:]
    assert not torch.allclose(parser_loss(logits, targets), parser_loss(logits, other))
    right = (20 * (targets[:, :2] > 0.5).float() - 10).requires_grad_()
    assert parser_loss(right, (targets > 0.5).float()) < 0.1


def test_labels_are_kept_and_belong_to_their_faces(faces, labels, tmp_path, monkeypatch):
    path = tmp_path / "mask_labels.npz"
    monkeypatch.setattr("dva_core.train.mask.samples.label_faces", lambda faces: labels)
    load_labels(path, faces)
    monkeypatch.setattr("dva_core.train.mask.samples.label_faces", None)  # from the file, from now on
    assert np.array_equal(load_labels(path, faces).face, labels.face)
    with pytest.raises(DVAError, match="labels of other faces"):
        load_labels(path, faces.take(np.arange(3)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DVAError, match="is damaged"):
        load_labels(path, faces)


def test_training_writes_a_network_and_goes_on_from_its_state(faces, labels, tmp_path, monkeypatch):
    np.savez(tmp_path / "mask_labels.npz", **vars(labels))
    monkeypatch.setattr(training, "time", ticking(1.0))  # a step a second
    figures = train_mask(faces, tmp_path / "mask.safetensors", minutes=2 / 60, batch=2)
    assert figures["samples"] == 4 and (tmp_path / "mask_labels.png").is_file()
    assert {0 <= value <= 1 for kind in figures["overlap"].values() for value in kind.values()} == {True}
    first = Run(tmp_path / training.STATE, 0)
    first.resume()
    assert first.step == 2 and first.seconds == 2
    more = train_mask(faces, tmp_path / "mask.safetensors", minutes=3 / 60, batch=2, resume=True)
    assert more["samples"] == 6
    again = Run(tmp_path / training.STATE, 0)
    again.resume()
    assert again.step == 3 and not torch.equal(again.network.head.weight, first.network.head.weight)
    write_network(tmp_path / training.STATE, CompactParser())
    with pytest.raises(DVAError, match="no state of this training"):
        Run(tmp_path / training.STATE, 0).resume()


def test_a_bundle_gets_the_mask_and_nothing_else(tmp_path):
    start, out, mask = write_tiny(tmp_path / "start.safetensors"), tmp_path / "out.safetensors", tmp_path / "mask.safetensors"
    torch.manual_seed(3)
    network = CompactParser().eval()
    write_network(mask, network)
    mask.with_suffix(".json").write_text('{"samples": 7}')
    assert cli.main(["set-mask", "--start", str(start), "--mask", str(mask), "-o", str(out)]) == 0
    begun, made, model = read_bundle(start), read_bundle(out), load_model(out, device="cpu")
    assert model.tells_front and made.config == begun.config | {"face_parser": {"type": "compact_parser"}}
    assert all(torch.equal(made.tensors[name], tensor) for name, tensor in begun.tensors.items())
    assert '{"samples": 7}' in made.metadata["model_card"] and made.metadata["model_card"].startswith("tiny")
    images = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(model.face_mask(images), network(images)[:, :1].sigmoid(), atol=1e-5)
    assert cli.main(["set-mask", "--start", str(out), "--mask", str(mask), "-o", str(tmp_path / "again.safetensors")]) == 0
    assert read_bundle(tmp_path / "again.safetensors").fingerprint == made.fingerprint  # replaced, not added
    assert cli.main(["set-mask", "--start", str(out), "--hull", "-o", str(start)]) == 0
    back = read_bundle(start)
    assert back.fingerprint == begun.fingerprint and back.metadata["model_card"].rstrip() == begun.metadata["model_card"]


def test_a_mask_that_is_none_is_refused(tmp_path):
    start, out = write_tiny(tmp_path / "start.safetensors", config=tiny_config()), tmp_path / "out.safetensors"
    wrong = tmp_path / "wrong.safetensors"
    write_network(wrong, torch.nn.Linear(2, 2))
    for mask, message in ((tmp_path / "none.safetensors", "is missing"), (wrong, "holds another network")):
        with pytest.raises(DVAError, match=message):
            cli.main(["set-mask", "--start", str(start), "--mask", str(mask), "-o", str(out)])
    with pytest.raises(DVAError, match="would overwrite"):
        cli.main(["set-mask", "--start", str(start), "--hull", "-o", str(start)])
    assert not out.exists()


def test_labels_that_are_not_used_are_counted_out(labels):
    assert LabelledFaces(labels.face, labels.hull, np.array([1, 0, -1, 0.5, 0, 0], np.float32)).usable.tolist() == [1, 0, 0, 1, 0, 0]
