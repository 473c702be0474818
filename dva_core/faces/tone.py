"""The tone of an edit: the change common to the whole face, per channel the median of (edited - rebuilt) over the face mask.

Directions also change skin colour and lighting, and a decoder responds to a step of the vector with colour first. Subtracting the tone
before pasting leaves the local changes of the edit. The tone is smoothed over time so that it does not flicker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

TONES = ("keep", "change")
USUAL_SKIN = np.array([1.25, 0.95, 0.8])  # of skin under white light, by its mean
CASTS = (0.6, 1.5)  # of a channel: more is the skin's own colour
REACH, SIGMA = 12, 6.0  # frames: radius of the smoothing window and standard deviation of its Gaussian


def tone_of(edited: np.ndarray, rebuilt: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute the tone [3] float32 of one frame from crops float [3, S, S] and the face mask [C, C] in 0..1; zeros for an empty mask."""
    size = edited.shape[-1]
    face = cv2.resize(np.asarray(mask, np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    if not face.any():
        return np.zeros(3, np.float32)
    return np.median(edited[:, face].astype(np.float32) - rebuilt[:, face], axis=1)


def cast_of(skin: np.ndarray) -> np.ndarray:
    """The colour [3] of the light on a face, of mean about 1, from that of its skin [3]. Skins differ: the root of what USUAL_SKIN says."""
    cast = np.asarray(skin) / max(float(np.mean(skin)), 1e-3) / USUAL_SKIN
    return np.sqrt(np.clip(cast / max(float(cast.mean()), 1e-3), *CASTS))


def smooth_tone(tones: np.ndarray, strengths: np.ndarray, centre: int) -> np.ndarray:
    """Smooth tones [n, 3] over time and return the tone [3] of frame `centre`; strengths [n] are those of the edit in each frame.

    A least-squares fit of tone = k strength, weighted by a Gaussian over time: the plain weighted mean for an edit of constant strength,
    and zero in frames without an edit.
    """
    weights = np.exp(-0.5 * ((np.arange(len(tones)) - centre) / SIGMA) ** 2) * strengths
    total = float(weights @ strengths)
    return np.zeros(3, np.float32) if total == 0 else (strengths[centre] / total * (weights @ tones)).astype(np.float32)


def remove_tone(
    crops: Iterable[np.ndarray], rebuilt: Sequence[np.ndarray], masks: Sequence[np.ndarray], segment: np.ndarray, strengths: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield each of `crops` [3, S, S], the edited frames in order, as float32 with its tone subtracted; REACH of them are read ahead.

    rebuilt, masks   [F, 3, S, S] and [F, C, C] of the same frames, indexed one at a time
    segment          [F] segment number of each frame; smoothing does not cross segments
    strengths        [F] distance by which the edit moves each frame's face code
    """
    numbered, pending = enumerate(crops), deque()
    tones: dict[int, np.ndarray] = {}
    for row in range(len(segment)):
        first, last = (int(np.searchsorted(segment, segment[row], side)) for side in ("left", "right"))
        window = range(max(first, row - REACH), min(last, row + REACH + 1))
        while window[-1] not in tones:
            index, crop = next(numbered)
            pending.append(crop)
            tones[index] = tone_of(crop, rebuilt[index], masks[index])
        for index in [i for i in tones if i < window.start]:
            del tones[index]
        tone = smooth_tone(np.stack([tones[i] for i in window]), strengths[window], row - window.start)
        yield pending.popleft().astype(np.float32) - tone[:, None, None]
