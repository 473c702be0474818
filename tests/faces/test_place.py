"""The states of the face that is followed: each transition, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.faces.place import Place, State

from .painted import ANNA, BERT, PaintedDetector, landmarker, painted

FRAME = painted((ANNA, 100, 90, 60))
FACE = PaintedDetector().detect(FRAME)[0]


def after(events: list[str], max_gap: int) -> Place:
    place = Place(max_gap)
    for event in events:
        getattr(place, event)(*((FRAME, FACE, landmarker(FRAME, FACE)) if event == "follow" else ()))
    return place


@given(st.lists(st.sampled_from(["follow", "miss", "abandon"]), max_size=12), st.integers(1, 3))
def test_where_it_was_last_decides_the_state(events, max_gap):
    place = after(events, max_gap)
    since = events[::-1].index("follow") if "follow" in events else None  # events since it was seen
    if since is None or "abandon" in events[len(events) - since :] or since > max_gap:
        assert place.state is State.SEARCHING and place.searching and not place.following
    else:
        assert place.state is (State.LOST if since else State.FOLLOWING) and place.gap == since


@pytest.mark.parametrize("events", [[], ["miss"], ["follow", "abandon"]])
def test_without_a_place_the_face_is_upright_and_cannot_jump(events):
    place = after(events, 3)
    assert place.roll() == 0 and not place.jumps(FACE, 1.0)


def test_another_picture_in_the_same_place():
    place = after(["follow"], 3)
    assert not place.looks_different(FRAME)
    assert place.looks_different(np.where(FRAME == [255, 0, ANNA], [0, 255, BERT], FRAME).astype(np.uint8), landmarker(FRAME, FACE))
