"""The track of one face: short gaps interpolated, false alarms dropped, squares smoothed segment by segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dva_core.faces.align import smooth_squares
from dva_core.faces.search import continues
from dva_core.faces.types import Face

MISSING, INTERPOLATED, FOUND = 0, 1, 2
SHORTEST = 3  # number of found frames below which a segment counts as a false alarm


@dataclass(frozen=True)
class FaceTrack:
    """One face through N frames; points in frame pixels from the top-left corner of the frame.

    landmarks [N, 68, 2] float32 and quads [N, 4, 2] float64, smoothed, nan if missing; state [N] uint8: 0 missing, 1 interpolated,
    2 found; scores [N] float32 of the detector, 0 if not found; starts [N] bool: the first frame of a segment.
    """

    landmarks: np.ndarray
    state: np.ndarray
    quads: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    scene_cuts: tuple[int, ...] = ()
    other_faces_seen: int = 0
    others: tuple[int, ...] = ()  # frames with other faces; not every frame is searched for them

    def segments(self) -> list[tuple[int, int]]:
        """Stretches [start, stop) of frames with the face, ended by a cut, a jump or a long gap. Smoothing does not cross them."""
        return segments(self.state, self.starts)

    def report(self) -> dict[str, int]:
        """Counts: frames, found, interpolated, missing, segments, scene_cuts, other_faces_seen (most others in one frame)."""
        count = np.bincount(self.state, minlength=3)
        return {
            "frames": len(self.state),
            "found": int(count[FOUND]),
            "interpolated": int(count[INTERPOLATED]),
            "missing": int(count[MISSING]),
            "segments": len(self.segments()),
            "scene_cuts": len(self.scene_cuts),
            "other_faces_seen": self.other_faces_seen,
        }

    def seen(self, interval: int = 1) -> dict[str, list[list[int]]]:
        """Stretches of frames with faces, as `spans`: "seen" the face that is followed, found or interpolated, "others" other faces.

        interval: frames between two searches of the whole frame; others found in both count as present between them.
        """
        return {"seen": spans(np.flatnonzero(self.state != MISSING)), "others": spans(self.others, interval)}


def spans(frames: Iterable[int], gap: int = 1) -> list[list[int]]:
    """Group ascending frame numbers to [first, last] of each stretch without a step larger than `gap`."""
    stretches: list[list[int]] = []
    for frame in map(int, frames):
        if stretches and frame - stretches[-1][1] <= gap:
            stretches[-1][1] = frame
        else:
            stretches.append([frame, frame])
    return stretches


def segments(state: np.ndarray, starts: np.ndarray) -> list[tuple[int, int]]:
    """Stretches [start, stop) of frames that are not missing; each True in `starts` begins a new one."""
    there = state != MISSING
    first = there & (starts | ~np.concatenate([[False], there[:-1]]))
    last = there & np.concatenate([~there[1:] | first[1:], [True]])
    return [(int(a), int(b) + 1) for a, b in zip(np.flatnonzero(first), np.flatnonzero(last), strict=True)]


def assemble(
    points: Sequence[np.ndarray],
    scores: Sequence[float],
    starts: Sequence[bool],
    max_gap: int,
    cuts: tuple[int, ...] = (),
    others: int = 0,
    is_person: Mapping[int, bool] | None = None,
    occluded: Sequence[bool] | None = None,
) -> FaceTrack:
    """Build the track from the observations of all frames: points [68, 2], nan without a face; score; whether a segment begins.

    cuts: the first frames of new scenes. is_person: for frames in which a segment begins, whether it is the person followed,
    if known. occluded: whether something else is in the face's place, so that the frame is not interpolated.
    """
    landmarks = np.stack(points) if points else np.empty((0, 68, 2), np.float32)
    begins, is_person = np.array(starts, bool), is_person or {}
    state = np.where(np.isfinite(landmarks).all((1, 2)), FOUND, MISSING).astype(np.uint8)
    for a, b in pairwise(np.flatnonzero(state == FOUND)):
        if 1 < b - a <= max_gap + 1 and not begins[b]:
            share = (np.arange(a + 1, b) - a)[:, None, None] / (b - a)
            landmarks[a + 1 : b] = (1 - share) * landmarks[a] + share * landmarks[b]
            state[a + 1 : b] = INTERPOLATED
            rows = a + 1 + np.flatnonzero([] if occluded is None else occluded[a + 1 : b])
            landmarks[rows], state[rows] = np.nan, MISSING
    begins[1:] |= (state[1:] != MISSING) & (state[:-1] == MISSING)  # a face after a gap begins a segment of its own
    _join(landmarks, state, begins, cuts, is_person)
    lengths = {run: int((state[slice(*run)] == FOUND).sum()) for run in segments(state, begins)}
    for (a, b), length in lengths.items():
        if length < min(SHORTEST, max(lengths.values())) and not is_person.get(a, _is_whole_shot(a, b, cuts, len(state))):
            state[a:b], landmarks[a:b] = MISSING, np.nan
    quads = np.full((len(landmarks), 4, 2), np.nan)
    for a, b in segments(state, begins):
        quads[a:b] = smooth_squares(landmarks[a:b])
    scores_kept = np.where(state == FOUND, np.array(scores, np.float32), np.float32(0))
    return FaceTrack(landmarks, state, quads, scores_kept, begins & (state != MISSING), cuts, others)


def _join(landmarks: np.ndarray, state: np.ndarray, begins: np.ndarray, cuts: tuple[int, ...], is_person: Mapping[int, bool]) -> None:
    """Join two segments adjacent in time and place if one is too short to be kept by itself, or both show the person followed."""
    runs = segments(state, begins)
    for (a, b), (start, stop) in pairwise(runs):
        if b != start or start in cuts or not continues(bounds(landmarks[b - 1]), bounds(landmarks[start]), 0):
            continue
        if min(b - a, stop - start) < SHORTEST or (is_person.get(a) and is_person.get(start)):
            begins[start] = False


def _is_whole_shot(start: int, stop: int, cuts: tuple[int, ...], frames: int) -> bool:
    """Tell whether a segment is a whole shot, from cut to cut or to the end of the video; then a short one is no false alarm."""
    return start in (0, *cuts) and stop in (*cuts, frames)


def bounds(landmarks: np.ndarray) -> Face:
    """Compute the bounding box of the landmarks."""
    return Face((*landmarks.min(0).tolist(), *landmarks.max(0).tolist()), 1.0)
