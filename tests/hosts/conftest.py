"""Fixtures of the tests on a card: the tiny model, a video, its decomposition."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import pytest
from bundles import tiny_config, write_tiny
from standin import BrightDetector, landmarks_of, write_video

from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.pipeline import encode

STEPS, FRAMES = 3, 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A model that predicts v, as the starter does."""
    diffusion = {**tiny_config()["diffusion"], "prediction": "v"}
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors", config=tiny_config(diffusion=diffusion))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", FRAMES)


@pytest.fixture(scope="module")
def decomposition(model, video):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FaceFinder, "of", classmethod(partial(finder_of, FaceFinder.of.__func__)))
        return encode(video, model, steps=STEPS)


@pytest.fixture
def finder(monkeypatch):
    monkeypatch.setattr(FaceFinder, "of", classmethod(partial(finder_of, FaceFinder.of.__func__)))
    monkeypatch.setattr("dva_core.edit.gradients.TIMESTEPS", (300, 900))
    monkeypatch.setattr("dva_core.edit.gradients.SEEDS", (0,))


def finder_of(real_of, cls, model, *_):
    """The networks run; where the face is, the drawing says."""
    real = real_of(cls, model)
    real.detector.threshold = 2.0

    def landmarks(rgb, face):
        real.landmarker(rgb, face)
        return landmarks_of(rgb, face)

    class Detector:
        def detect(self, rgb):
            assert real.detector.detect(rgb) == []
            return BrightDetector().detect(rgb)

    return FaceFinder(Detector(), landmarks, real.embed)


@pytest.fixture(scope="module")
def loaded(bundle):
    """A model on each kind of card, brought there once."""
    return cache(lambda kind: load_model(bundle, dtype="fp32"))
