"""Evaluations as CUDA graphs, on a card that is not there: the same numbers, recorded once a size, and given up with one line."""

from __future__ import annotations

import copy

import pytest
import torch
from bundles import write_tiny
from card import Graph, card
from card_tensors import AMD

from dva_core.errors import DVAError
from dva_core.hosts.plain import PlainHost
from dva_core.model.graphs import KEPT, GraphEvaluation
from dva_core.model.loader import load_model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def recorded(monkeypatch):
    """Graphs that were recorded, as (operations, replays so far)."""
    graphs, replay = [], Graph.replay
    monkeypatch.setattr(Graph, "__enter__", lambda self, enter=Graph.__enter__: graphs.append(self) or enter(self))
    monkeypatch.setattr(Graph, "replay", lambda self: setattr(self, "replays", getattr(self, "replays", 0) + 1) or replay(self))
    return graphs


def inputs(model, count: int, seed: int):
    generator, size = torch.Generator().manual_seed(seed), model.image_size
    return torch.randn(count, 3, size, size, generator=generator), torch.randn(count, model.face_dim, generator=generator)


def steps(model, count: int, seed: int, times=(900, 500, 100)) -> list[torch.Tensor]:
    """Evaluations of a batch at these timesteps, each of another x_t, with conditions that are ready."""
    x_t, z_face = inputs(model, count, seed)
    device = model.host.device
    conditions = model.face_conditions(z_face)
    noises = []
    for i, t in enumerate(times, 1):
        now = torch.full((1,), t, device=device).expand(count)
        noises.append(model.predict_noise((x_t * i).to(device), now, conditions))
    return [noise.cpu() for noise in noises]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_replays_give_the_processors_numbers_recorded_once_a_size(bundle, recorded, mode):
    plain = load_model(bundle, device="cpu")
    with mode(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        for count, seed in ((3, 0), (3, 1), (2, 2), (3, 0)):  # 2 are padded to 3
            for actual, expected in zip(steps(model, count, seed), steps(plain, count, seed), strict=True):
                torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
        assert [graph.replays for graph in recorded] == [13]  # one to compare
        steps(model, 4, 3)
        assert [graph.replays for graph in recorded] == [13, 4]


def test_what_a_replay_gave_is_not_written_over(bundle):
    with torch.no_grad(), card():
        first, second, _ = steps(load_model(bundle, dtype="fp32", cuda_graphs=True), 2, 0)
    assert not torch.equal(first, second)


def replace_weights(network, change) -> None:
    """As by `.to`, which torch does not do for what something else holds, as the pretended graph does."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            module._parameters[name] = torch.nn.Parameter(change(weight.detach()), requires_grad=False)


def test_weights_that_change_their_place_or_precision_are_recorded_anew(bundle, recorded):
    plain = load_model(bundle, device="cpu")
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        steps(model, 2, 0)
        for network in (model.noise_predictor, plain.noise_predictor):
            replace_weights(network, lambda weight: weight * 1.5)
        for actual, expected in zip(steps(model, 2, 0), steps(plain, 2, 0), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
        replace_weights(model.noise_predictor, torch.Tensor.half)
        model.host.dtype = torch.float16
        steps(model, 2, 0)
    assert len(recorded) == 3 and len(model.evaluate._graphs) == 1  # those of other weights read what may be another's by now


def test_no_more_graphs_are_kept_than_the_limit(bundle):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        for count in range(1, 2 * KEPT + 1):
            steps(model, count, 0, times=(5,))
        assert len(model.evaluate._graphs) <= KEPT


def one_line(caplog, reason: str) -> bool:
    return [r.getMessage() for r in caplog.records if "CUDA graphs" in r.getMessage()] == [
        f"CUDA graphs do not apply here and the noise predictor runs as it is ({reason})."
    ]


def test_elsewhere_the_network_runs_as_it_is(bundle, recorded, caplog):
    plain, model = load_model(bundle, device="cpu"), load_model(bundle, device="cpu", cuda_graphs=True)
    with torch.no_grad():
        assert all(map(torch.equal, steps(model, 2, 0), steps(plain, 2, 0)))
    assert one_line(caplog, "the device is cpu")
    caplog.clear()
    with torch.no_grad(), card(kind=AMD):
        steps(load_model(bundle, dtype="fp32", cuda_graphs=True), 2, 0)
    assert one_line(caplog, "this is an AMD card") and not recorded


def test_weights_that_are_streamed_are_not_recorded(bundle, recorded, caplog):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        model.noise_predictor.out[2].comfy_cast_weights = True
        steps(model, 2, 0)
        steps(model, 2, 1)
    assert one_line(caplog, "ComfyUI loads the weights layer by layer") and not recorded


def test_an_operation_that_waits_cannot_be_recorded(bundle, recorded, caplog, monkeypatch):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        forward = model.noise_predictor.forward
        monkeypatch.setattr(model.noise_predictor, "forward", lambda x, t, z: forward(x, t, z) * t[:1].float().mean().item() ** 0)
        noises = steps(model, 2, 0)
    assert one_line(caplog, "CUDA error: operation not permitted when stream is capturing") and len(noises) == 3 and len(recorded) == 1


def test_out_of_memory_is_the_hosts_matter(bundle, monkeypatch):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        steps(model, 2, 0)
        monkeypatch.setattr(Graph, "__enter__", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")))
        with pytest.raises(torch.OutOfMemoryError):
            steps(model, 3, 0)
        assert not model.evaluate._graphs  # their memory is free for the next try


def test_gradients_and_copies_are_plain(bundle, recorded):
    with card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        with torch.enable_grad():
            steps(model, 2, 0)
    assert not recorded and isinstance(copy.deepcopy(model.evaluate), GraphEvaluation)


def test_a_replay_that_gives_other_numbers_is_not_used(bundle, caplog, monkeypatch):
    plain, replay = load_model(bundle, device="cpu"), Graph.replay
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        monkeypatch.setattr(Graph, "replay", lambda self: (replay(self), self.calls[-1][-1].mul_(1.2)))
        for actual, expected in zip(steps(model, 2, 0), steps(plain, 2, 0), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
    assert one_line(caplog, "a replay gives other numbers")


def test_a_much_smaller_batch_is_not_padded(bundle, recorded):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        steps(model, 6, 0)
        steps(model, 2, 0)
    assert len(recorded) == 2


def test_graphs_go_with_the_weights_or_when_memory_is_short(bundle):
    with torch.no_grad(), card():
        model = load_model(bundle, dtype="fp32", cuda_graphs=True)
        steps(model, 2, 0)
        assert model.evaluate._graphs
        model.host.free_memory()
        assert not model.evaluate._graphs


# -- automatic -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def automatic(bundle):
    """A model on a card whose launches take time; its tests say how much a replay takes."""
    with torch.no_grad(), card() as here:
        here.launch_ms = 4.0
        yield load_model(bundle, dtype="fp32"), here


def test_a_recording_waits_until_it_would_have_paid(automatic, bundle, recorded, caplog):
    caplog.set_level("INFO", "dva_core")
    (model, here), plain = automatic, load_model(bundle, device="cpu")
    assert model.evaluate.break_even is not None
    here.launch_ms, here.replay_ms, rounds = 1.0, 3.0, 0
    while not recorded:
        for actual, expected in zip(steps(model, 2, rounds), steps(plain, 2, rounds), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
        rounds += 1
    assert here.clock >= 1000 and rounds > 1  # a second of evaluations

    def waits() -> int:
        return sum(count for wait, count in here.waits.items() if wait.place.startswith(("model/graphs", "model/break_even")))

    before, waited = recorded[0].replays, waits()
    steps(model, 2, 0)
    assert recorded[0].replays == before + 3 and len(recorded) == 1
    assert waits() == waited > 0  # for the measurements alone
    assert "A CUDA graph of 2 frames takes 3.00 ms, not" in caplog.text and "evaluations make up for" in caplog.text


def test_a_replay_that_is_no_faster_is_not_kept_and_not_tried_again(automatic, recorded, caplog):
    caplog.set_level("INFO", "dva_core")
    model, here = automatic
    here.replay_ms = 1e6
    for _ in range(2):
        steps(model, 2, 0)
        steps(model, 3, 0)  # a larger batch has a smaller share of launches
    assert len(recorded) == 1 and not model.evaluate._graphs and "and not used" in caplog.text


def test_a_short_video_pays_for_nothing(automatic, recorded):
    model, here = automatic
    here.launch_ms = 0.01
    steps(model, 2, 0)
    steps(model, 2, 0)
    assert not recorded


def test_a_recording_nobody_asked_for_may_run_out_of_memory(automatic, monkeypatch):
    model, here = automatic
    monkeypatch.setattr(Graph, "__enter__", lambda self: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")))
    noises = [steps(model, 2, 0) for _ in range(2)]
    assert here.clock > 2000 and all(map(torch.equal, noises[0], noises[-1])) and model.evaluate.break_even.gains == {2: 0.0}


def test_it_is_automatic_on_cards_that_are_not_shared(bundle):
    assert not isinstance(load_model(bundle, device="cpu").evaluate, GraphEvaluation)
    with card():
        assert load_model(bundle).evaluate.break_even is not None
        assert load_model(bundle, cuda_graphs=True).evaluate.break_even is None
        assert copy.deepcopy(load_model(bundle)).evaluate.break_even is not None
        for options in ({"cuda_graphs": False}, {"compile": True}, {"host": PlainHost()}):
            assert not isinstance(load_model(bundle, **options).evaluate, GraphEvaluation)


def test_compiled_or_as_graphs_not_both(bundle):
    with pytest.raises(DVAError, match="choose one of compile and cuda_graphs"):
        load_model(bundle, device="cpu", compile=True, cuda_graphs=True)
