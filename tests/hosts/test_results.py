"""Results that come back while a card goes on: nothing is read before it has arrived, and two batches are in flight."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from card import card
from card_tensors import APPLE

from dva_core.edit import apply_attributes
from dva_core.hosts.results import as_here, fetch, two_in_flight
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, decoding, encode
from dva_core.video.threads import read_ahead

from .conftest import FRAMES, STEPS

pytestmark = pytest.mark.usefixtures("finder")


def note_order(model, here) -> list[str]:
    """A list to which evaluations of the noise predictor, with the thread they are in, and waits for results are added."""
    order, evaluate, note = [], model.evaluate, here.note
    model.evaluate = lambda *inputs: order.append(threading.current_thread().name) or evaluate(*inputs)
    here.note = lambda what: (order.append(what) if what == "event" else None, note(what))
    return order


@pytest.mark.parametrize("apart", [True, False])
def test_what_is_fetched_arrives_when_it_is_waited_for(apart):
    with card() as here:
        tensors = torch.arange(4.0).cuda(), torch.tensor(True).cuda(), torch.ones(2)
        here.waits.clear()
        take = fetch(*tensors, apart=apart)
        assert len(here.copies) == 2 and not here.waits.total()  # those of the card
        values, flag, ones = take()
        assert values.tolist() == [0, 1, 2, 3] and flag and ones.tolist() == [1, 1]
        assert not here.copies and [wait.what for wait in here.waits] == ["event"]


@pytest.mark.parametrize(("apart", "waits"), [(True, 2), (False, 1)])
def test_what_was_fetched_in_turn_has_arrived_with_what_came_later(apart, waits):
    with card() as here:
        first, second = torch.arange(4.0).cuda(), torch.ones(2).cuda()
        here.waits.clear()
        takes = [fetch(first, apart=apart), fetch(second, apart=apart)]
        assert takes[1]()[0].tolist() == [1, 1] and takes[0]()[0].tolist() == [0, 1, 2, 3]
        assert here.waits.total() == waits


def test_without_pinned_memory_it_is_waited_for(monkeypatch):
    with card() as here:
        values = torch.arange(4.0).cuda()
        monkeypatch.setattr(here, "pinned", lambda x: (_ for _ in ()).throw(RuntimeError("CUDA error: out of memory")))
        assert fetch(values)()[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["cpu", "mps", "cuda"])
def test_only_cuda_gets_the_next_batch_first(kind):
    order = []

    def begin(number: int):
        order.append(f"begin {number}")
        return lambda: order.append(f"end {number}") or number

    assert list(two_in_flight(map(begin, range(3)), torch.device(kind))) == [0, 1, 2]
    apart = ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]
    assert order == (["begin 0", "begin 1", "end 0", "begin 2", "end 1", "end 2"] if kind == "cuda" else apart)


def test_two_batches_are_in_flight(bundle, video, monkeypatch):
    with card() as here:
        model = load_model(bundle, dtype="fp32")
        order = note_order(model, here)
        encoded = encode(video, model, steps=STEPS, batch_size=FRAMES // 2)
        assert "event" not in order[-2 - 2 * STEPS : -2] and order[-2:] == ["event", "event"]  # the second batch's evaluations, then both
        order.clear()
        crops = list(decode_crops(apply_attributes(encoded, model, {"Young": 1}), model, batch_size=FRAMES // 2))
        assert order[-2:] == ["event", "event"] and len(order) == 2 * STEPS + 2
        monkeypatch.setattr(decoding, "two_in_flight", lambda begun, device: (answer() for answer in begun))
        order.clear()
        in_turn = list(decode_crops(apply_attributes(encoded, model, {"Young": 1}), model, batch_size=FRAMES // 2))
        assert order[STEPS] == order[-1] == "event" and len(order) == 2 * STEPS + 2
    np.testing.assert_array_equal(crops, in_turn)


def test_encoders_of_the_next_batch_run_before_masks_are_drawn(bundle, video):
    with card() as here:
        model, order = load_model(bundle, dtype="fp32"), []
        for name in ("begin_crops", "end_crops"):
            run = getattr(model, name)
            setattr(model, name, lambda *inputs, name=name, run=run: order.append(name) or run(*inputs))
        waits = here.waits.total
        begun = []
        begin = model.begin_crops
        model.begin_crops = lambda images: (before := waits(), begin(images), begun.append(waits() - before))[1]
        encode(video, model, steps=STEPS, batch_size=FRAMES // 2)
    assert order == ["begin_crops", "begin_crops", "end_crops", "end_crops"]
    assert begun[1:] == [0]  # the first brings the networks


def test_the_next_faces_are_decoded_beside(bundle, decomposition, video, tmp_path):
    with card() as here, torch.inference_mode():
        model = load_model(bundle, dtype="fp32")
        order = note_order(model, here)
        edited = apply_attributes(decomposition, model, {"Young": 1})
        decode(edited, model, tmp_path / "out.mkv", codec="ffv1", batch_size=1)
        assert {name for name in order if name != "event"} == {"dva_video_ahead"}

        def cancel(phase, done, total, preview=None):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            decode(edited, model, tmp_path / "cancelled.mkv", codec="ffv1", progress=cancel)
    assert not list(tmp_path.glob("cancelled*")) and "dva_video_ahead" not in {thread.name for thread in threading.enumerate()}


def test_on_a_processor_all_is_in_one_thread(model, decomposition, tmp_path, monkeypatch):
    names = set()
    monkeypatch.setattr(model, "evaluate", lambda network, *inputs: names.add(threading.current_thread().name) or network(*inputs))
    decode(apply_attributes(decomposition, model, {"Young": 1}), model, tmp_path / "out.mkv", codec="ffv1")
    assert names == {threading.current_thread().name}


def test_numbers_that_are_not_finite_are_computed_again_with_a_batch_in_flight(bundle, decomposition, caplog):
    with card():
        whole, half = load_model(bundle, dtype="fp32"), load_model(bundle, dtype="fp16")
        edited = apply_attributes(decomposition, half, {"Young": 1})
        expected = np.stack(list(decode_crops(edited, whole, batch_size=2)))
        evaluate = half.evaluate

        def overflow(network, x, *inputs):
            result = evaluate(network, x, *inputs)
            return result + torch.nan if result.dtype == torch.float16 else result

        half.evaluate = overflow
        crops = np.stack(list(decode_crops(edited, half, batch_size=2)))
    assert caplog.text.count("computing these 2 frames again in float32") == FRAMES // 2
    np.testing.assert_allclose(np.float32(crops), np.float32(expected), atol=5e-3)


@pytest.mark.parametrize("inference", [False, True])
def test_a_thread_has_the_modes_of_the_one_that_asked(inference):
    def modes():
        yield torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode(inference), torch.no_grad():
        assert list(read_ahead(as_here(modes()))) == [(inference, False)]
    assert torch.is_grad_enabled()


def test_apple_copies_at_once():
    with card(kind=APPLE) as here:
        take = fetch(torch.arange(3.0).to("mps"))
        assert not here.copies and take()[0].tolist() == [0, 1, 2]
