"""Values that half precision cannot hold are computed again."""

import numpy as np
import pytest
import torch
from bundles import write_tiny

from dva_core.errors import DVAError
from dva_core.model.loader import load_model
from dva_core.pipeline import encode

from .conftest import STEPS

pytestmark = pytest.mark.usefixtures("bright_finder")


def test_values_that_are_no_numbers_in_half_precision_are_computed_again(tmp_path, video, model, caplog):
    half = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu", dtype="bf16")
    predict, weights = half.predict_noise, {key: tensor.clone() for key, tensor in half.state_dict().items()}
    half.predict_noise = lambda x, t, z: predict(x, t, z) * (float("nan") if half.host.dtype != torch.float32 else 1)
    decomposition = encode(video, half, steps=STEPS, max_frames=2)
    np.testing.assert_allclose(decomposition.x_T[:], encode(video, model, steps=STEPS, max_frames=2).x_T[:], atol=0.1)  # weights rounded
    assert "float32" in caplog.text
    assert half.host.dtype == torch.bfloat16  # and the model is as it was, to the bit
    assert all(tensor.dtype == weights[key].dtype and torch.equal(tensor, weights[key]) for key, tensor in half.state_dict().items())
    half.predict_noise = lambda x, t, z: x * float("nan")
    with pytest.raises(DVAError, match="not finite"):
        encode(video, half, steps=STEPS, max_frames=2)


def test_only_the_batch_that_overflows_is_computed_in_float32(tmp_path, video, one_thread):
    half = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu", dtype="bf16")
    expected = encode(video, half, steps=STEPS, max_frames=3, batch_size=1)
    predict, calls, large = half.predict_noise, [], []

    def overflow(x, t, z):
        calls.append(half.host.dtype)
        if len(calls) == 2 * (2 * STEPS - 1):  # the last step of the second frame, which is taken again
            large.append(x.clone())
        overflows = half.host.dtype == torch.bfloat16 and any(torch.equal(x, state) for state in large)
        return predict(x, t, z) * (float("nan") if overflows else 1)

    half.predict_noise = overflow
    decomposition = encode(video, half, steps=STEPS, max_frames=3, batch_size=1)
    assert calls.count(torch.float32) == STEPS  # the second frame's way down, and nothing else
    same = [np.array_equal(decomposition.rebuilt[i], expected.rebuilt[i]) for i in range(3)]
    assert same == [True, False, True] and np.array_equal(decomposition.x_T[:], expected.x_T[:])
