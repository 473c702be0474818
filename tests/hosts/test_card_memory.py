"""Memory of a card: what is foreseen, and what happens when it runs out."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from brightness import Brightness
from card import card

from dva_core.edit import apply_attributes
from dva_core.edit.text import text_search
from dva_core.hosts.devices import PRECISIONS
from dva_core.model.loader import load_model
from dva_core.pipeline import decode_crops

pytestmark = pytest.mark.usefixtures("finder")


def test_memory_that_runs_out_halves_the_batch(bundle, decomposition, model, caplog):
    caplog.set_level("INFO", "dva_core")
    needed = model.noise_predictor.peak_values() * 4  # for a frame
    with card() as here:
        on_card = load_model(bundle, dtype="fp32")
        edited = apply_attributes(decomposition, on_card, {"Young": 1})
        crops = np.stack(list(decode_crops(edited, on_card, batch_size=4)))
        here.limit = here.used + 2 * needed
        np.testing.assert_allclose(np.stack(list(decode_crops(edited, on_card, batch_size=4))), crops, atol=2e-3)
    assert "Out of memory on cuda: going on with batches of 2." in caplog.text


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", ["tiny", "starter"])
def test_the_peak_is_foreseen(bundle, size, precision):
    frames, name = (6, bundle) if size == "tiny" else (2, "starter")
    foreseen = frames * load_model(name, device="cpu").noise_predictor.peak_values() * PRECISIONS[precision].itemsize
    with card() as here, torch.no_grad():
        model = load_model(name, dtype=precision)
        model.noise_predictor.peak_values = lambda: 1  # counting would itself be counted
        x, z = torch.zeros(frames, 3, model.image_size, model.image_size).cuda(), torch.zeros(frames, model.face_dim).cuda()
        t = torch.full((1,), 500).cuda().expand(frames)
        model.host.use("noise_predictor", model.noise_predictor)
        here.peak = before = here.used
        conditions = model.face_conditions(z)
        model.evaluate(model.noise_predictor, x.to(model.host.dtype), t, conditions)
    assert abs(foreseen - (here.peak - before)) < 0.2 * (here.peak - before), (foreseen, here.peak - before)


def test_a_gradient_that_does_not_fit_leaves_nothing_behind(model, decomposition):
    search = text_search(decomposition, model, "left", "right", clip_model=Brightness(), iterations=1, settle=False, images=2)
    compute, graphs = search._loss, []

    def loss(*arguments):
        assert not any(graph() is not None for graph in graphs), "the failed try's graph is still there"
        value, parts = compute(*arguments)
        if not graphs:
            value.register_hook(full)
        graphs.append(weakref.ref(value))
        return value, parts

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    search._loss = loss
    search.run()
    assert len(graphs) == 2 and len(search.history) == 1
