"""Memory of a card: what is foreseen, and what happens when it runs out."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from brightness import Brightness
from card import card
from card_tensors import AMD, NVIDIA

from dva_core.edit import apply_attributes
from dva_core.edit.text import text_search
from dva_core.model.loader import load_model
from dva_core.networks import normalisation
from dva_core.pipeline import decode_crops

pytestmark = pytest.mark.usefixtures("finder")


def test_memory_that_runs_out_halves_the_batch(bundle, decomposition, model, caplog):
    caplog.set_level("INFO", "dva_core")
    needed = model.noise_predictor.peak_bytes(1, torch.float32, "cuda")
    with card() as here:
        on_card = load_model(bundle, dtype="fp32")
        edited = apply_attributes(decomposition, on_card, {"Young": 1})
        crops = np.stack(list(decode_crops(edited, on_card, batch_size=4)))
        here.limit = here.used + 2 * needed
        np.testing.assert_allclose(np.stack(list(decode_crops(edited, on_card, batch_size=4))), crops, atol=2e-3)
    assert "Out of memory on cuda: going on with batches of 2." in caplog.text


TINY = [("tiny", frames, precision, kind) for frames in (1, 6) for precision in ("fp32", "fp16") for kind in (NVIDIA, AMD)]


@pytest.mark.parametrize(("size", "frames", "precision", "kind"), [*TINY, ("starter", 2, "fp16", NVIDIA)])
@pytest.mark.parametrize("large", [normalisation.LARGE_BATCH, 2**12])
def test_the_peak_is_foreseen(bundle, size, frames, precision, kind, large, monkeypatch):
    monkeypatch.setattr(normalisation, "LARGE_BATCH", large)  # from there norms take another way
    with card(kind=kind) as here, torch.no_grad():
        model = load_model(bundle if size == "tiny" else "starter", dtype=precision)
        x, z = torch.zeros(frames, 3, model.image_size, model.image_size), torch.zeros(frames, model.face_dim).cuda()
        t = torch.full((1,), 500).cuda().expand(frames)
        model.host.use("noise_predictor", model.noise_predictor)
        here.peak = before = here.used
        model.predict_noise(x.cuda(), t, model.face_conditions(z))
        taken, foreseen = here.peak - before, model.noise_predictor.peak_bytes(frames, model.host.dtype, "cuda")
    assert abs(foreseen - taken) < 0.2 * taken, (foreseen, taken)


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
