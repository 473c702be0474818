"""Frame rates and timestamps, in exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

# A timestamp this far from an even rhythm still belongs to it: containers that count milliseconds round by half of one.
EVEN_WITHIN = Fraction(1, 1000)
_FINEST = 1_000_000  # ticks a second: encoders and muxers store the time base in 32 bits


def frame_rate(
    candidates: Sequence[Fraction | None], average: Fraction | None, pts: Sequence[int], tick: Fraction
) -> tuple[Fraction, bool]:
    """(rate, variable): the first candidate that the sorted timestamps follow; if there is none, the average and True."""
    rates = [r for r in candidates if r]
    fallback = average or (rates[0] if rates else Fraction(25))
    if len(pts) < 2:
        return fallback, False
    tolerance = max(tick, EVEN_WITHIN)
    for rate in rates:
        if all(abs((p - pts[0]) * tick - n / rate) <= tolerance for n, p in enumerate(pts)):
            return rate, False
    return fallback, True


def snap_rate(rate: Fraction) -> Fraction:
    """The rate that a decimal number stands for (23.976023976: 24000/1001), with numerator and denominator in the range of encoders."""
    near = rate.limit_denominator(1001)
    return near if abs(near - rate) * 10_000_000 <= rate else rate.limit_denominator(100_000)


def fraction_gcd(a: Fraction, b: Fraction) -> Fraction:
    """The largest fraction of which both are integer multiples."""
    return Fraction(gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


@dataclass(frozen=True)
class Clock:
    """Converts a container's timestamps (ticks of `tick` seconds) to those of the output (ticks of `time_base` seconds).

    Unchanged, unless a constant rate cannot be expressed in the container's ticks (30000/1001 in Matroska's milliseconds): then
    the rounding is undone, in a finer time base, for each timestamp within one tick of the exact one.
    """

    tick: Fraction
    time_base: Fraction
    rate: Fraction | None = None  # None: timestamps pass as they are
    anchor: int = 0

    @staticmethod
    def of(tick: Fraction, rate: Fraction, variable: bool, anchor: int) -> Clock:
        finer = fraction_gcd(tick, 1 / rate)
        if variable or finer == tick or finer.denominator > _FINEST:
            return Clock(tick, tick)
        return Clock(tick, finer, rate, anchor)

    def pts(self, ticks: int) -> int:
        """Timestamp in `time_base`."""
        if self.rate is None:
            return ticks
        exact = (ticks - self.anchor) * self.tick
        even = round(exact * self.rate) / self.rate
        return int((self.anchor * self.tick + (even if abs(even - exact) <= self.tick else exact)) / self.time_base)
