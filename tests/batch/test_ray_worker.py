"""What an actor of a Ray run does with a video, without a cluster."""

from __future__ import annotations

import numpy as np
from bundles import write_tiny
from standin import HEIGHT, WIDTH, use_two, write_two
from video_helpers import pictures

from dva_core.batch.manifest import Settings, TextEdit
from dva_core.batch.ray_worker import Worker
from dva_core.video.images import save_picture


def test_a_worker_edits_one_of_several_people_behind_masks(tmp_path, monkeypatch):
    use_two(monkeypatch)
    video = write_two(tmp_path / "two.mkv", 4)
    half = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half[: HEIGHT // 2] = 255
    save_picture(tmp_path / "half.png", half)
    model = str(write_tiny(tmp_path / "tiny.safetensors"))
    settings = Settings(model=model, steps=2, codec="ffv1").model_dump()
    worker, size = Worker(settings, device="cpu"), video.stat().st_size
    for folder in (None, str(tmp_path / "kept")):
        encoded = worker.encode(str(video), size, [], "all", folder)
        results = {}
        for name, whom, keep in (("all", "", None), ("second", "2", None), ("masked", "", str(tmp_path / "half.png")), ("none", "7", None)):
            spec = {"text": None, "attributes": {"Young": 3.0}, "normalize": True, "directions": {}, "whom": whom, "keep": keep}
            spec |= {"guidance": None, "tone": None, "region": "off"}
            results[name] = worker.edit(encoded, str(video), size, [], spec, ".mkv")
        assert "error" in results["none"] and "7" in results["none"]["error"]
        there = {}
        for name in ("all", "second", "masked"):
            results[name]["content"].tofile(tmp_path / f"{name}.mkv")
            there[name] = (pictures(tmp_path / f"{name}.mkv") != pictures(video)).any((0, 3))
        assert there["all"][:, : WIDTH // 2].any() and there["all"][:, WIDTH // 2 :].any()
        assert there["second"][:, : WIDTH // 2].any() != there["second"][:, WIDTH // 2 :].any()
        assert there["all"][: HEIGHT // 2].any() and not there["masked"][: HEIGHT // 2].any() and there["masked"].any()


def test_a_worker_edits_by_text(tmp_path, monkeypatch):
    """The texts of the edit and the source video are told apart: both were called source once."""
    video = write_two(tmp_path / "two.mkv", 2)
    use_two(monkeypatch)
    texts = []

    def apply_text(decomposition, model, source, target, **settings):
        texts.append((source, target, settings["iterations"]))
        return decomposition

    monkeypatch.setattr("dva_core.edit.apply_text", apply_text, raising=False)
    worker = Worker(Settings(model=str(write_tiny(tmp_path / "tiny.safetensors")), steps=2, codec="ffv1").model_dump(), device="cpu")
    size = video.stat().st_size
    text = TextEdit(target="face with beard", iterations=7).model_dump()
    spec = {"text": text, "attributes": {}, "directions": {}, "whom": "", "keep": None, "guidance": None, "tone": None, "region": None}
    result = worker.edit(worker.encode(str(video), size, [], "largest", None), str(video), size, [], spec, ".mkv")
    assert result.get("frames") == 2 and texts == [("face", "face with beard", 7)]
