"""The tone: what an edit changes in the whole face alike, per channel the median over the face mask of (edited - rebuilt).

Directions carry skin colour and light along, and a decoder answers a step of the vector by colour first. Taken away before pasting, what
is left is what the edit changes in places. Nothing may pump: the tone of a frame is smoothed over its neighbours in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

TONES = ("keep", "change")
REACH, SIGMA = 12, 6.0  # frames: how far on each side the smoothing looks, and its Gaussian's deviation


def tone_of(edited: np.ndarray, rebuilt: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[3] float32, the tone of one frame: crops float [3, S, S], its face mask [C, C] in 0..1; 0 where the mask is empty."""
    size = edited.shape[-1]
    face = cv2.resize(np.asarray(mask, np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    if not face.any():
        return np.zeros(3, np.float32)
    return np.median(edited[:, face].astype(np.float32) - rebuilt[:, face], axis=1)


def smoothed(tones: np.ndarray, strengths: np.ndarray, centre: int) -> np.ndarray:
    """[3], the tone of frame `centre` by all of tones [n, 3], whose edits have the strengths [n].

    Least squares, weighted by a Gaussian over time, of tone = k strength: a plain mean for an edit that is the same in all frames, and
    for one that changes over time no tone where there is no edit.
    """
    weights = np.exp(-0.5 * ((np.arange(len(tones)) - centre) / SIGMA) ** 2) * strengths
    total = float(weights @ strengths)
    return np.zeros(3, np.float32) if total == 0 else (strengths[centre] / total * (weights @ tones)).astype(np.float32)


def without_tone(
    crops: Iterable[np.ndarray], rebuilt: Sequence[np.ndarray], masks: Sequence[np.ndarray], segment: np.ndarray, strengths: np.ndarray
) -> Iterator[np.ndarray]:
    """Each of `crops` [3, S, S], edited frames in order, as float32 without its tone; REACH of them are taken ahead.

    rebuilt, masks   of the same frames: [F, 3, S, S] and [F, C, C], indexed one at a time
    segment          [F], the unbroken stretch each lies in; nothing is smoothed across stretches
    strengths        [F], how far each frame's face is moved by the edit
    """
    coming, waiting = enumerate(crops), deque()
    tones: dict[int, np.ndarray] = {}
    for row in range(len(segment)):
        first, last = (int(np.searchsorted(segment, segment[row], side)) for side in ("left", "right"))
        near = range(max(first, row - REACH), min(last, row + REACH + 1))
        while near[-1] not in tones:
            index, crop = next(coming)
            waiting.append(crop)
            tones[index] = tone_of(crop, rebuilt[index], masks[index])
        for past in [row_number for row_number in tones if row_number < near.start]:
            del tones[past]
        tone = smoothed(np.stack([tones[i] for i in near]), strengths[near], row - near.start)
        yield waiting.popleft().astype(np.float32) - tone[:, None, None]
