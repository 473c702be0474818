"""Settings of a run: those in the repository are whole, the paper's are the paper's, mistakes are told in a sentence."""

from __future__ import annotations

import json

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.model.convert import published_config
from dva_core.networks import build_network
from dva_core.train.settings import DiffusionSettings, read_json


def test_the_papers_settings():
    paper = DiffusionSettings.of(read_json("paper_training"))
    assert (paper.learning_rate, paper.ema, paper.gradient_clip, paper.steps) == (1e-4, 0.9999, 1.0, 1_000_000)
    assert (paper.simple_cap, paper.reg_cap, paper.reg_weight, paper.focus, paper.weight_decay) == (0, 0, 1, 0, 0)
    assert read_json("published") == json.loads(json.dumps(published_config()))


def test_the_starters_settings_are_the_defaults_but_for_their_length_their_speed_and_pairs():
    starter = DiffusionSettings.of(read_json("starter_training"))
    lengths = ("minutes", "people", "precision", "compile", "cool_down", "save_every", "warm_up", "ema", "focus", "learning_rate", "light")
    pairs = ("pairs", "pair_from_after", "paths", "path_weight", "path_edges", "soften")
    own = {name: getattr(starter, name) for name in (*lengths, *pairs, "other_encoders", "half_moments")}
    assert starter == DiffusionSettings(**own)


def test_a_large_gpus_settings_are_the_starters_but_for_the_batch():
    starter, large = read_json("starter_training"), read_json("starter_large_training")
    batch = ("minutes", "people", "pairs", "paths", "learning_rate", "warm_up", "ema", "save_every")
    assert {k: v for k, v in large.items() if k not in batch} == {k: v for k, v in starter.items() if k not in batch}
    assert DiffusionSettings.of(large).people == 64


def test_the_large_network_has_25_million_parameters_and_fits_a_bundle_of_60_megabytes():
    config = read_json("starter_large")
    with torch.device("meta"):
        parts = {
            part: sum(v.numel() for v in build_network(config[part]).parameters())
            for part in ("noise_predictor", "identity_encoder", "motion_encoder", "detector")
        }
    assert parts["noise_predictor"] >= 25e6
    assert 2 * sum(parts.values()) < 60e6 - 2e6  # in half precision; attributes, regions and a face mask take less than 2 MB


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "'learning_rat' that is not known"),
        ({"people": "four"}, "'four' as people"),
        ({"people": 0}, "people cannot be 0"),
        ({"steps": 1.5}, "1.5 as steps"),
        ({"precision": "int8"}, "no precision 'int8'"),
        ({"ema": 1.5}, "ema cannot be 1.5"),
        ({"minutes": 0}, "trains nothing"),
        ({"save_every": True}, "True as save_every"),
    ],
)
def test_mistakes_are_told(values, message):
    with pytest.raises(DVAError, match=message):
        DiffusionSettings.of(values)


def test_a_file_that_is_no_json_is_told(tmp_path):
    with pytest.raises(DVAError, match="no file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text("{")
    with pytest.raises(DVAError, match="cannot be read as JSON"):
        read_json(tmp_path / "odd.json")
