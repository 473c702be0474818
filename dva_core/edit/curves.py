"""Strengths that change over time: a few keys with linear or smooth interpolation between them.

The method has one identity for the whole video (Kim et al. 2023, sec. 3.1), which is why its edits do not flicker. A curve
changes that identity gradually, without jumps. Its JSON form is

    {"0s": 0, "1.5s": -0.8, "curve": "smooth"}      seconds (`s`) or frames (a bare number); "linear" if no curve is named
    [0, 0.1, 0.2, 0.3]                              one strength per frame
    0s:0, 1.5s:-0.8, smooth                         the same as the first, on a command line

Second 0 and frame 0 are the first frame read; frames without a face count; seconds are converted by the exact frame rate. The
strength is constant before the first key and after the last one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from ..errors import DVAError

SHAPES = ("linear", "smooth")
EXAMPLE = '{"0s": 0, "1.5s": -0.8, "curve": "smooth"}'
TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|f)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Curve:
    """A strength over time. `keys` are (when, strength), when "1.5s" in seconds or "36" in frames. `shape`: "linear" or "smooth"."""

    keys: tuple[tuple[str, float], ...]
    shape: str = "linear"

    def positions(self, rate: Fraction) -> list[Fraction]:
        """Positions of the keys in frames, as exact fractions; `rate` is frames a second. DVAError for two keys at one position."""
        places = [place(when, rate) for when, _ in self.keys]
        if len(set(places)) < len(places):
            raise DVAError(f"Two keys of the curve fall on one moment ({', '.join(when for when, _ in self.keys)}); give each its own.")
        return places

    def at(self, frames: np.ndarray, rate: Fraction) -> np.ndarray:
        """The strength [n] float64 at the frames numbered `frames` [n] of a video with `rate` frames a second."""
        order = sorted(zip(self.positions(rate), (strength for _, strength in self.keys)))
        x, y = (np.array([float(v) for v in column]) for column in zip(*order))
        frames = np.asarray(frames, np.float64)
        return np.interp(frames, x, y) if self.shape == "linear" else monotone_cubic(frames, x, y)

    @property
    def constant(self) -> float | None:
        """The strength, if it is the same at all keys, else None."""
        values = {strength for _, strength in self.keys}
        return values.pop() if len(values) == 1 else None

    def to_json(self) -> dict[str, Any]:
        """The form that `parse_scale` reads."""
        return {**dict(self.keys), **({} if self.shape == "linear" else {"curve": self.shape})}


Scale = float | Curve


def place(when: str, rate: Fraction) -> Fraction:
    """Convert "1.5s" or "36" to a frame, as an exact fraction."""
    number, unit = TIME.fullmatch(when).groups()
    return Fraction(number) * (rate if (unit or "").lower() == "s" else 1)


def monotone_cubic(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cubic Hermite curve through (x, y) that never overshoots (Fritsch and Butland 1984), level at both ends and held beyond them.

    Slopes at inner keys are the harmonic mean of the slopes on both sides, 0 where these differ in sign. Of two keys it is the
    smoothstep 3t^2 - 2t^3.
    """
    if len(x) == 1:
        return np.full(at.shape, y[0])
    secants = np.diff(y) / np.diff(x)
    slopes = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        before, after = secants[i - 1], secants[i]
        if before * after > 0:
            slopes[i] = 2 * before * after / (before + after)
    return CubicHermiteSpline(x, y, slopes)(np.clip(at, x[0], x[-1]))


def parse_scale(value: Any, name: str = "the attribute") -> Scale:
    """Parse a strength in JSON form: a number, an object of keys, or a list of one number per frame; a Curve is returned as it is.

    DVAError, one sentence that names `name`, for anything else.
    """
    if isinstance(value, Curve):
        return value
    if is_number(value):
        return float(value)
    if isinstance(value, Mapping):
        return from_keys(value, name)
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(map(is_number, value)):
        return Curve(tuple((str(i), float(strength)) for i, strength in enumerate(value)))
    excerpt = json.dumps(value, default=str)[:40]
    raise DVAError(f"The scale of {name} is {excerpt} and must be a number, or a curve such as {EXAMPLE}.")


def from_keys(keys: Mapping[str, Any], name: str) -> Curve:
    """Make a curve of an object such as {"0s": 0, "36": -0.8, "curve": "smooth"}."""
    shape = keys.get("curve", "linear")
    if shape not in SHAPES:
        raise DVAError(f"The curve of {name} cannot be {json.dumps(shape, default=str)[:40]}; use {' or '.join(SHAPES)}.")
    points = {str(when).strip(): strength for when, strength in keys.items() if when != "curve"}
    for when, strength in points.items():
        if not TIME.fullmatch(when):
            raise DVAError(f'The curve of {name} has no moment "{when[:40]}"; write seconds as "1.5s" and frames as "36".')
        if not is_number(strength):
            raise DVAError(f"The curve of {name} is {json.dumps(strength, default=str)[:40]} at {when}; give a number there.")
    if not points:
        raise DVAError(f"The curve of {name} has no keys; write for example {EXAMPLE}.")
    return Curve(tuple((when, float(strength)) for when, strength in points.items()), shape)


def parse_text(text: str, name: str = "--scale") -> Scale:
    """Parse a strength on a command line: "0.5", "0s:0, 1.5s:-0.8, smooth", JSON, or the name of a JSON file.

    DVAError for anything else.
    """
    text = text.strip()
    number = as_number(text)
    if number is not None:
        return number
    if text.endswith(".json"):
        try:
            text = Path(text).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DVAError(f"The curve {text} cannot be read ({type(error).__name__}); check the path.") from error
    if text[:1] in ("{", "["):
        try:
            return parse_scale(json.loads(text), name)
        except DVAError:
            raise
        except (ValueError, RecursionError) as error:
            raise DVAError(f"The curve of {name} is not valid JSON; write for example {EXAMPLE}.") from error
    keys: dict[str, Any] = {}
    for part in re.split(r"\s*,\s*|\s+", re.sub(r"\s*:\s*", ":", text)):
        when, colon, strength = part.partition(":")
        if part in SHAPES:
            keys["curve"] = part
        elif colon and as_number(strength) is not None and when not in keys:
            keys[when] = as_number(strength)
        else:
            raise DVAError(f"The scale {text[:60]!r} is no number and no curve; write for example -0.8, or 0s:0,1.5s:-0.8,smooth.")
    return from_keys(keys, name)


def sample_scale(scale: Scale, frames: np.ndarray, rate: Fraction) -> float | np.ndarray:
    """The strength [n] at `frames`, or one number if it is exactly the same at all of them."""
    if not isinstance(scale, Curve):
        return float(scale)
    values = scale.at(frames, rate)
    return values if scale.constant is None else scale.constant


def strengths(scale: Scale) -> list[float]:
    """The number itself, or the strengths at the curve's keys, which bound it."""
    return [strength for _, strength in scale.keys] if isinstance(scale, Curve) else [float(scale)]


def scale_to_json(scale: Scale) -> Any:
    return scale.to_json() if isinstance(scale, Curve) else scale


def with_envelope(scale: Scale, envelope: float | Sequence[float]) -> Scale:
    """Multiply `scale` by a number, or by one number per frame (the last one holds for later frames).

    DVAError for a curve times one number per frame.
    """
    if is_number(envelope):
        factor = float(envelope)
        return Curve(tuple((when, factor * s) for when, s in scale.keys), scale.shape) if isinstance(scale, Curve) else factor * scale
    if not len(envelope) or not all(map(is_number, envelope)):
        raise DVAError("The strengths over time must be a list of numbers, one a frame; connect a list of floats.")
    if isinstance(scale, Curve):
        raise DVAError("A scale is either a curve of its own or a number times the list of strengths; leave one of them out.")
    return Curve(tuple((str(i), float(scale) * float(v)) for i, v in enumerate(envelope)))


def is_number(value: Any) -> bool:
    """Whether the value is a number that fits a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
