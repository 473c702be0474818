"""What `train look` adds to a bundle, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundles import write_tiny

from dva_core.commands import train as cli
from dva_core.diffusion.guidance import Guidance
from dva_core.edit.scope import find_region
from dva_core.errors import DVAError
from dva_core.faces.regions import MEAN_FACE
from dva_core.model.bundle import read_bundle
from dva_core.model.loader import load_model
from dva_core.train.look import parse_regions


def test_a_bundle_gets_its_look(tmp_path):
    start, out, maps = write_tiny(tmp_path / "start.safetensors"), tmp_path / "out.safetensors", tmp_path / "maps.npz"
    np.savez(maps, landmarks=MEAN_FACE + 0.01, band=np.full((32, 32), 0.5))
    call = ["look", "--start", str(start), "-o", str(out), "--guidance", "2.5", "--interval", "100", "900", "--maps", str(maps)]
    assert cli.main([*call, "--tone-attribute", "Male", "--region", "Young=band", "--region", "Smiling=mouth"]) == 0
    begun, changed, model = read_bundle(start), read_bundle(out), load_model(out, device="cpu")
    assert Guidance.from_config(changed.config) == Guidance(2.5, 100, 900) and changed.config["tone_attributes"] == ["Male"]
    assert [entry.get("region") for entry in changed.config["attributes"]] == ["band", None, "mouth"]
    assert changed.config["regions"] == ["band"] and changed.tensors.keys() - begun.tensors.keys() == {"regions.maps", "regions.landmarks"}
    assert all(torch.equal(changed.tensors[name], tensor) for name, tensor in begun.tensors.items())
    band = find_region(model, "band")
    assert (band.map == 0.5).all() and np.allclose(band.landmarks, MEAN_FACE + 0.01, atol=1e-3)
    assert cli.main(["look", "--start", str(out), "-o", str(start), "--region", "Young="]) == 0  # the rest stays
    again = read_bundle(start).config
    assert again["guidance"] == changed.config["guidance"] and "region" not in again["attributes"][0] and again["regions"] == ["band"]


def test_what_does_not_fit_is_refused(tmp_path):
    start = write_tiny(tmp_path / "start.safetensors")
    call = ["look", "--start", str(start), "-o", str(tmp_path / "out.safetensors")]
    for more, message in (
        (["--region", "Young"], "names no region"),
        (["--region", "Young=knee"], "no region 'knee'"),
        (["--guidance", "30"], "guidance"),
        (["--maps", str(start)], "cannot be read as an .npz"),
    ):
        with pytest.raises(DVAError, match=message.replace(".", r"\.")):
            cli.main([*call, *more])
    assert not (tmp_path / "out.safetensors").exists()
    assert parse_regions(["Beard=", "X=eyes"]).items() >= {"Beard": None, "X": "eyes", "Mustache": "moustache"}.items()
