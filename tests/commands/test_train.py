"""The training commands, end to end on a handful of pictures: every step runs and the bundle that comes out loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from train.runs import CONFIG
from waiting import ticking

from dva_core.commands import train as cli
from dva_core.errors import DVAError
from dva_core.model.bundle import read_bundle
from dva_core.model.checks import weights_digest
from dva_core.networks.compact import CompactIdentity, CompactLandmarks
from dva_core.networks.parser import CompactParser
from dva_core.train.assemble import assemble, network_weights
from dva_core.train.faces import read_faces
from dva_core.train.settings import read_json
from dva_core.train.state import write_network
from dva_core.train.synthesis import Variants


def test_all_steps_make_a_bundle(shared, tmp_path, monkeypatch):
    import dva_core

    folder = shared("data/faces128")
    few = read_faces(folder).take(np.arange(0, 1376, 6))
    monkeypatch.setattr("dva_core.train.faces.read_faces", lambda *_: few)
    run, config = tmp_path / "run", tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    variants = Variants(few.pictures, few.landmarks, few.embedding, np.arange(len(few)) // 2, np.arange(len(few)))
    run.mkdir()
    variants.save(run / "variants.npz")
    common = ["--faces", str(folder), "--run", str(run)]
    for module in ("encoders", "diffusion"):
        monkeypatch.setattr(f"dva_core.train.{module}.time", ticking(0.6))  # two steps or so each
    for step in ("landmarks", "identity", "detector"):
        assert cli.main([step, *common, "--minutes", "0.02"]) == 0
    assert cli.main(["diffusion", *common, "--config", str(config), "--minutes", "0.02"]) == 0
    write_network(run / "mask.safetensors", CompactParser())  # its own test trains it
    assert cli.main(["bundle", *common, "-o", str(tmp_path / "made.safetensors")]) == 0
    model = dva_core.load_model(tmp_path / "made.safetensors")
    assert model.config["attributes"] and model.image_size == 16 and model.tells_front
    figures = json.loads((run / "bundle.json").read_text())
    assert figures["bytes"] == (tmp_path / "made.safetensors").stat().st_size
    identity = model.attributes.identity
    cosines = torch.nn.functional.cosine_similarity(identity.direction, identity.weight)
    assert identity.direction.isfinite().all() and (cosines > 0).all()

    for name in ("landmarks", "identity", "detector", "mask"):
        (run / f"{name}.safetensors").unlink()
    again = ["bundle", *common, "--start", str(tmp_path / "made.safetensors"), "-o", str(tmp_path / "again.safetensors")]
    assert cli.main(again) == 0
    parts = [read_bundle(tmp_path / f"{name}.safetensors").tensors for name in ("made", "again")]
    assert "made.safetensors" not in read_bundle(tmp_path / "again.safetensors").metadata["model_card"]
    assert all(torch.equal(value, parts[1][key]) for key, value in parts[0].items() if not key.startswith("attributes."))


def test_the_starter_does_only_what_is_left(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(cli, "run_step", lambda step, args: done.append((step, args.resume)) or {})
    run = tmp_path / "run"
    common = ["starter", "--faces", str(tmp_path), "--teachers", str(tmp_path), "--run", str(run), "-o", str(tmp_path / "made.safetensors")]

    def steps(*options):
        done.clear()
        assert cli.main([*common, *options]) == 0
        return [step for step, _ in done]

    assert steps() == list(cli.STEPS)
    assert steps("--start", "starter") == ["variants", "pairs", "steps", "diffusion", "bundle"]  # the networks are the bundle's
    for name in ("variants.npz", "landmarks.safetensors", "identity.safetensors"):
        (run / name).touch()
    assert steps("--resume") == list(cli.STEPS)  # an empty file is no finished work
    few = np.zeros((2, 8, 8, 3), np.uint8)
    Variants(few, np.zeros((2, 68, 2), np.float32), np.zeros((2, 128), np.float32), np.arange(2), np.arange(2)).save(run / "variants.npz")
    write_network(run / "landmarks.safetensors", CompactLandmarks())
    write_network(run / "identity.safetensors", CompactIdentity())
    write_network(run / "detector.safetensors", CompactIdentity())  # not what belongs there
    left = ["pairs", "steps", "detector", "mask", "diffusion", "bundle"]
    assert steps("--resume") == left and not done[-2][1]
    (run / "diffusion").mkdir()
    (run / "diffusion" / "state.safetensors").touch()
    assert steps("--resume") == left and done[-2][1]
    for name in ("variants.npz", "landmarks.safetensors"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[: len(whole) // 2])
    assert steps("--resume") == ["variants", "pairs", "landmarks", "steps", "detector", "mask", "diffusion", "bundle"]


def test_the_size_chooses_a_configuration(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(cli, "run_step", lambda step, args: chosen.append(args.config) or {})
    common = ["starter", "--faces", str(tmp_path), "--teachers", str(tmp_path), "--run", str(tmp_path / "run"), "-o", str(tmp_path / "o")]
    for size in (64, 128):
        assert cli.main([*common, "--size", str(size)]) == 0
        assert read_json(chosen[-1])["image_size"] == size
    assert read_json("starter")["image_size"] == 128
    with pytest.raises(DVAError, match="leave one of them out"):
        cli.main([*common, "--size", "64", "--config", "starter"])


def test_minutes_are_shared_by_the_steps_that_train():
    shared = cli.shared_minutes(30, ["variants", "steps", "diffusion", "bundle"])
    assert set(shared) == {"steps", "diffusion"} and sum(shared.values()) == pytest.approx(30) and shared["diffusion"] > shared["steps"]


def test_a_bundle_is_made_of_the_encoders_that_the_run_was_trained_with(tmp_path):
    ours, theirs = ({"weight": torch.full((2,), value)} for value in (1.0, 2.0))
    file = tmp_path / "identity.safetensors"
    with pytest.raises(DVAError, match=r"identity\.safetensors is missing: run `train identity`"):
        network_weights(file, {}, None)
    save_file(ours, str(file))
    for begun, digest, expected in ((theirs, None, ours), (theirs, weights_digest(theirs), theirs), ({}, weights_digest(theirs), ours)):
        assert torch.equal(network_weights(file, begun, digest)["weight"], expected["weight"])
    with pytest.raises(DVAError, match="is not there: check --run"):
        assemble(tmp_path, None, tmp_path / "out.safetensors")


def test_a_step_out_of_order_says_what_is_missing(shared, tmp_path):
    with pytest.raises(DVAError, match="train variants"):
        cli.main(["landmarks", "--faces", str(shared("data/faces128")), "--run", str(tmp_path)])
