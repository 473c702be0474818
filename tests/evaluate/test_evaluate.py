"""The experiments on a model that knows nothing: their figures must still be right where they can be told."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundles import write_tiny
from standin import write_video

from dva_core.commands import main as cli
from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.evaluate.ablation import evaluate_ablation, train_pair
from dva_core.evaluate.consistency import FIGURES, edit_table, evaluate_consistency, measure_edit, square_mask
from dva_core.evaluate.judges import own_judge
from dva_core.evaluate.reconstruction import evaluate_reconstruction
from dva_core.evaluate.switching import SWITCHES, evaluate_switch
from dva_core.model.bundle import read_bundle
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, encode
from dva_core.train.state import read_facts
from dva_core.video import VideoWriter, open_video

pytestmark = pytest.mark.usefixtures("bright_finder")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    return [write_video(folder / "a.mkv", 6), write_video(folder / "b.mkv", 4)]


@pytest.fixture
def decomposition(videos, model) -> Decomposition:
    return encode(videos[0], model, steps=3)


def test_the_source_is_as_consistent_as_itself(decomposition, model, videos):
    figures = measure_edit(decomposition, videos[0], own_judge(model))
    assert (figures.tl_id, figures.tg_id, figures.identity_kept) == pytest.approx((1, 1, 1))
    assert figures.flicker_before == figures.flicker_after and figures.face == figures.outside == 0
    assert [row[0] for row in edit_table(figures, own_judge(model)).rows] == list(FIGURES)
    assert figures.frames == decomposition.faces and figures.series.shape == (decomposition.faces - 1, 2)


def test_an_edit_changes_the_face_and_nothing_outside(decomposition, model, tmp_path):
    decode(apply_attributes(decomposition, model, {"Young": -0.8}), model, tmp_path / "out.mkv", codec="ffv1")
    figures = measure_edit(decomposition, tmp_path / "out.mkv", own_judge(model))
    assert figures.face > 0 and figures.outside == 0


def test_a_change_anywhere_else_is_seen(decomposition, model, videos, tmp_path):
    other = tmp_path / "other.mkv"
    with open_video(videos[0]) as reader, VideoWriter(other, reader.info, codec="ffv1") as writer:
        for frame in reader:
            rgb = frame.rgb.copy()
            rgb[:4, :4] += 20  # a corner, where no face is
            writer.write(frame.with_rgb(rgb))
    figures = measure_edit(decomposition, other, own_judge(model))
    assert figures.outside > 0 and figures.face == 0


@pytest.mark.parametrize(("frames", "words"), [(5, "5 frames"), (7, "more frames than the 6")])
def test_another_length_is_refused(decomposition, model, tmp_path, frames, words):
    with pytest.raises(DVAError, match=words):
        measure_edit(decomposition, write_video(tmp_path / "other.mkv", frames), own_judge(model))


def test_the_square_covers_its_corners():
    inside = square_mask(np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]]), (40, 50))
    assert inside[10:30, 10:30].all() and not inside[:8].any() and not inside[:, 33:].any()


def test_reconstruction_has_a_row_a_video_the_means_and_the_papers(videos, model):
    table = evaluate_reconstruction(videos, model, steps=[2, 4], solvers=["ddim"])
    rows = [dict(zip(table.columns, row)) for row in table.rows]
    assert [row["clip"] for row in rows[:6]] == ["a", "b", "mean"] * 2 and rows[0]["frames"] == 6
    for key in ("SSIM", "MSE", "PSNR in mask"):
        assert rows[2][key] == pytest.approx((rows[0][key] + rows[1][key]) / 2, nan_ok=True)
    assert rows[-1]["clip"] == "paper: DVA, T = 100" and rows[-1]["SSIM"] == 0.922
    assert any("1 of 5 scales" in note for note in table.notes)


def test_switching_tells_whose_feature_it_is(videos, decomposition, model):
    table, grid = evaluate_switch(decomposition, encode(videos[1], model, steps=3), model, own_judge(model), columns=3)
    rows = {row[0]: dict(zip(table.columns, row)) for row in table.rows}
    assert list(rows)[2:] == list(SWITCHES)
    assert rows["A, rebuilt"]["identity as A"] == pytest.approx(1) and rows["B, rebuilt"]["background off B"] == 0
    assert rows["random noise"]["background off A"] > 1
    assert grid.dtype == np.uint8 and grid.shape[0] > 6 * 160


def test_where_the_noise_has_no_say_identities_agree(model, tmp_path):
    blind = write_tiny(tmp_path / "blind.safetensors", precision="fp32")
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    models = {"with": model, "without": load_model(blind, device="cpu")}
    table, grid = evaluate_ablation(models, own_judge, pictures, noises=3, steps=2)
    first, second = (row[1:] for row in table.rows)
    assert first == pytest.approx(second)  # the same weights and the same noises
    assert -1 <= first[0] <= 1 and first[2] > 0 and grid.ndim == 3


def test_the_ablation_starts_from_a_bundle_and_differs_in_l_reg_alone(bundle, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"landmarks": np.zeros((8, 68, 2), np.float32), "embedding": np.zeros((8, 4), np.float32)}
    people = np.repeat(np.arange(4), 2)
    pictures = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "variants.npz", pictures=pictures, group=people, original=people, **arrays)
    faces = SimpleNamespace(held_out=np.array([True, False, False, False]))
    settings = {"steps": 2, "people": 2, "warm_up": 1, "scaled_inputs": False}
    bundles = train_pair(faces, tmp_path, tmp_path / "out", start=bundle, **settings)
    (with_it, without), begun = (read_bundle(path) for path in bundles.values()), read_bundle(bundle)
    for bundle in (with_it, without):
        changed = {name.split(".")[0] for name, value in bundle.tensors.items() if not torch.equal(value, begun.tensors[name].to(value))}
        assert changed == {"noise_predictor", "fusion"}
    assert any(not torch.equal(value, without.tensors[name]) for name, value in with_it.tensors.items())
    weights = {name: read_facts(tmp_path / "out" / name.replace(" ", "_") / "diffusion" / "state.safetensors") for name in bundles}
    kept = [state["settings"] for state in weights.values()]
    assert [one.pop("reg_weight") for one in kept] == [1.0, 0.0] and kept[0] == kept[1] and kept[0]["steps"] == 2
    with pytest.raises(DVAError, match="no variants"):
        train_pair(faces, tmp_path / "nowhere", tmp_path / "out", start=bundle, **settings)
    with pytest.raises(DVAError, match="lacks identity"):
        train_pair(faces, tmp_path, tmp_path / "out", config="ablation", **settings)


def test_the_commands_write_tables_and_pictures(videos, bundle, tmp_path, capsys):
    common = ["--model", str(bundle), "--device", "cpu", "-o", str(tmp_path / "out")]
    names = list(map(str, videos))
    edit = ["--attribute", "Young", "--scale", "-0.8", "--steps", "2"]
    assert cli.main(["evaluate", "reconstruction", str(videos[0].parent), *common, "--steps", "2", "--solver", "ddim", "--power", "2"]) == 0
    assert cli.main(["evaluate", "consistency", names[1], *common, *edit]) == 0
    assert cli.main(["evaluate", "switch", *names, *common, "--steps", "2", "--columns", "2"]) == 0
    assert "| mean | Young -0.8 |" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    for name in ("reconstruction", "consistency", "switch"):
        assert {f"{name}.{kind}" for kind in ("md", "csv", "json")} <= written
    assert {"reconstruction.png", "consistency_b.png", "switch.png"} <= written
    reconstruction = json.loads((tmp_path / "out" / "reconstruction.json").read_text())
    assert reconstruction["rows"][0]["clip"] == "a" and "Timesteps by the power 2 for ddim; clamp on." in reconstruction["notes"]
    for name in ("consistency", "switch"):
        assert "Timesteps by the power 1.7 for angle2c; clamp on." in json.loads((tmp_path / "out" / f"{name}.json").read_text())["notes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["switch", "{a}", "--steps", "2"], "two videos"),
        (["consistency", "{a}"], "--attribute NAME --scale S"),
        (["consistency", "{a}", "--attribute", "Yuong", "--scale", "1"], "Young"),
        (["reconstruction", "{a}", "--steps", "0"], "0 is not a number of diffusion steps"),
        (["reconstruction", "{a}", "--solver", "euler"], "no solver 'euler'"),
        (["reconstruction", "nowhere.mp4"], "no file nowhere.mp4"),
    ],
)
def test_mistakes_get_a_sentence(videos, bundle, tmp_path, capsys, words, message):
    words = [word.format(a=videos[0]) for word in words]
    assert cli.main(["evaluate", *words, "--model", str(bundle), "--device", "cpu", "-o", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]


def test_videos_of_one_name_are_told_apart(model, videos, tmp_path):
    other = tmp_path / "a.mkv"
    other.write_bytes(videos[1].read_bytes())
    table, series = evaluate_consistency([videos[0], other], model, own_judge(model), {"Young -0.8": {"Young": -0.8}}, steps=2)
    assert list(series) == [("a", "Young -0.8"), ("a (2)", "Young -0.8")] and [row[0] for row in table.rows[:3]] == ["a", "a (2)", "mean"]
    mean = np.mean([figures.cells for figures in series.values()], 0)
    np.testing.assert_allclose(np.array(table.rows[2][3:], float), mean, rtol=1e-6)


def test_a_face_that_fills_its_frame_for_a_moment_leaves_the_figures_of_the_rest(decomposition, model, videos, monkeypatch):
    reached = iter([True, False, False, False, False, False])
    monkeypatch.setattr("dva_core.evaluate.consistency.square_mask", lambda quad, shape: np.full(shape, next(reached)))
    assert measure_edit(decomposition, videos[0], own_judge(model)).outside == 0
