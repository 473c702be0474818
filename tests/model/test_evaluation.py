"""Batches over cores and compiled: the same numbers, and nothing computed for too many or too few images."""

from __future__ import annotations

import threading

import pytest
import torch
from conftest import torch_threads

from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.evaluation import CompiledEvaluation, ThreadedEvaluation, pad_batch

from .small import SMALL


@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


SPATIAL = {"spatial_channels": 4, "spatial_size": 4}
TEXTURE = {"detail_channels": 8, "texture_rank": 3, "texture_size": 8, "identity_channels": 4}


@pytest.fixture(scope="module", params=[{}, SPATIAL, SPATIAL | TEXTURE], ids=["published form", "spatial condition", "texture"])
def model(request):
    torch.manual_seed(0)
    predictor = SMALL["noise_predictor"] | request.param
    model = DiffusionVideoAutoencoder(SMALL | {"noise_predictor": predictor}).eval().requires_grad_(False)
    for parameter in model.noise_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


class Probe:
    """A network that remembers in which thread, with how many images and in which mode it ran."""

    def __init__(self):
        self.calls, self.fails = [], None

    def __call__(self, x_t, t, z_face):
        if self.fails is not None:
            raise self.fails
        where = threading.current_thread() is threading.main_thread()
        self.calls.append((len(x_t), len(t), len(z_face[0]), where, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return x_t * 2 + z_face[0]


def batch(size: int):
    return torch.randn(size, 3), torch.full((1,), 5).expand(size), (torch.randn(size, 3), torch.randn(size, 4))


def test_a_batch_is_shared_out_and_put_together_in_order(two_threads):
    probe, cores, (x_t, t, z_face) = Probe(), ThreadedEvaluation(), batch(9)
    with torch.inference_mode():
        torch.testing.assert_close(cores(probe, x_t, t, z_face), x_t * 2 + z_face[0], rtol=0, atol=0)
    assert sorted(probe.calls) == [(4, 4, 4, False, 1, True), (5, 5, 5, False, 1, True)]
    assert torch.get_num_threads() == 2
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]  # threads of others, started later, keep their cores


def test_few_images_and_gradients_are_not_shared_out(two_threads):
    probe, cores = Probe(), ThreadedEvaluation()
    with torch.no_grad():
        cores(probe, *batch(7))
    with torch.enable_grad():
        cores(probe, *batch(20))
    torch.set_num_threads(1)
    with torch.no_grad():
        cores(probe, *batch(20))
    assert [call[0] for call in probe.calls] == [7, 20, 20] and all(call[3] for call in probe.calls)


def test_an_error_in_a_part_is_the_callers(two_threads):
    probe, cores = Probe(), ThreadedEvaluation()
    probe.fails = KeyError("stopped")
    with torch.no_grad(), pytest.raises(KeyError, match="stopped"):
        cores(probe, *batch(8))
    probe.fails = None
    with torch.no_grad():
        assert len(cores(probe, *batch(8))) == 8


def test_noise_is_the_same_on_cores_and_with_conditions(two_threads, model):
    x_t, t, z_face = torch.randn(8, 3, 16, 16), torch.full((1,), 300).expand(8), torch.randn(8, 24)
    with torch.no_grad():
        expected = model.noise_predictor(x_t, t.clone(), z_face)
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(model.predict_noise(x_t, t, model.face_conditions(z_face)), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.predict_noise(x_t, t, z_face), expected, atol=1e-5, rtol=1e-4)
    z_face.requires_grad_(True)
    with torch.enable_grad():
        model.predict_noise(x_t, t, model.face_conditions(z_face)).square().mean().backward()
    assert z_face.grad.abs().max() > 0


def test_a_compiled_network_sees_one_size_only():
    probe, compiled = Probe(), CompiledEvaluation(compiler=lambda network: lambda *inputs: network(*inputs))
    for size in (6, 6, 2, 5):
        x_t, t, z_face = batch(size)
        torch.testing.assert_close(compiled(probe, x_t, t, z_face), x_t * 2 + z_face[0], rtol=0, atol=0)
    # a batch of a third is not computed three times over
    assert [call[:3] for call in probe.calls] == [(6, 6, 6)] * 2 + [(2, 2, 2), (6, 6, 6)]
    probe.fails = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        compiled(probe, *batch(6))
    probe.fails = None
    compiled(probe, *batch(3))
    assert probe.calls[-1][0] == 3  # not filled up to what did not fit
    assert pad_batch(torch.full((1,), 5).expand(2), 4).stride(0) == 0


def test_without_a_compiler_the_network_runs_as_it_is(caplog):
    from torch._dynamo.exc import TorchDynamoException

    tried = []

    def compiler(network):
        def broken(*inputs):
            tried.append(1)
            raise TorchDynamoException("no compiler\nand a long story")

        return broken

    probe, compiled = Probe(), CompiledEvaluation(compiler)
    for _ in range(2):
        x_t, t, z_face = batch(2)
        torch.testing.assert_close(compiled(probe, x_t, t, z_face), x_t * 2 + z_face[0], rtol=0, atol=0)
    assert tried == [1] and [record.getMessage() for record in caplog.records] == [
        "The noise predictor cannot be compiled here and runs as it is (no compiler)."
    ]
