"""Sights of faces put together by identity vectors that are made up."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dva_core.faces.identities import Group, Sight, join_turned, link, merge
from dva_core.faces.types import Face

SAME = 0.85
AXES = np.eye(8)


def group(sample: int, vector: np.ndarray, x: float = 100.0, shot: int = 0, frontal: float = 0.95) -> Group:
    face = Face((x, 50.0, x + 40, 100.0), 0.9)
    return Group(Sight(sample, shot, face, frontal), vector / np.linalg.norm(vector), np.zeros((2, 2, 3), np.uint8), frontal)


def like(vector: np.ndarray, cosine: float) -> np.ndarray:
    """A vector of that cosine with one of the first axes."""
    return cosine * vector + np.sqrt(1 - cosine**2) * AXES[7]


def samples(groups: list[Group]) -> list[list[int]]:
    return sorted([sight.sample for sight in one.sights] for one in groups)


def test_identity_decides_who_goes_on_and_place_between_twins():
    before = [group(0, AXES[0], x=100), group(0, AXES[1], x=200)]
    after = [group(1, AXES[0], x=200), group(1, AXES[1], x=100)]
    link(before, after, SAME)
    assert [one.sights[-1].face.box[0] for one in before] == [200, 100]
    twins, later = [group(0, AXES[0], x=100), group(0, AXES[0], x=200)], [group(1, AXES[0], x=198), group(1, AXES[0], x=102)]
    link(twins, later, SAME)
    assert [one.sights[-1].face.box[0] for one in twins] == [102, 198]
    assert not any(one.sights for one in later)
    sisters = [group(0, AXES[0], x=100), group(0, like(AXES[0], 0.9), x=200)]  # either could be the other
    link(sisters, [group(1, like(AXES[0], 0.9), x=100), group(1, AXES[0], x=200)], SAME)
    assert [one.sights[-1].face.box[0] for one in sisters] == [200, 100]


def test_who_is_seen_together_is_never_one():
    """However alike, and also by way of a third group that both could be."""
    people = merge([group(0, AXES[0]), group(0, AXES[0], x=300), group(5, AXES[0])], SAME)
    assert samples(people) in ([[0], [0, 5]], [[0, 5], [0]])


def test_turned_away_for_a_moment():
    def parts(frontal: float, x: float = 100.0, shot: int = 0) -> list[Group]:
        return [group(0, AXES[0]), group(1, like(AXES[0], 0.7), x, shot, frontal), group(2, AXES[0], shot=shot)]

    assert samples(join_turned(parts(0.5), SAME)) == [[0, 1, 2]]
    assert len(join_turned(parts(0.95), SAME)) == 3, "somebody seen from the front is somebody else"
    assert len(join_turned(parts(0.5, x=300), SAME)) == 3, "elsewhere"
    assert len(join_turned(parts(0.5, shot=1), SAME)) == 3, "another shot"


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=14))
def test_merge_keeps_every_sight_and_puts_together_what_can_be(seen):
    """Whatever the order: groups end up pure, and nothing that is one person and never seen at once is left apart."""
    people = merge([group(sample, AXES[who]) for sample, who in seen], SAME)
    assert sorted(sight.sample for one in people for sight in one.sights) == sorted(sample for sample, _ in seen)
    for one in people:
        assert max(np.abs(one.vector)) > 0.999, "two people in one group"
        assert len({sight.sample for sight in one.sights}) == len(one.sights)
    for who in {who for _, who in seen}:
        groups = [one for one in people if one.vector @ AXES[who] > 0.9]
        most = max(sum(1 for other in seen if other == (sample, who)) for sample, w in seen if w == who)
        assert len(groups) >= most
        if most == 1:
            assert len(groups) == 1
