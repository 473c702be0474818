"""Concatenated files (`cat a.mpg b.mpg`): timestamps jump where the next file begins."""

from __future__ import annotations

from fractions import Fraction

import av
import av.error
from av.format import Flags

BACK = Fraction(1, 2)  # seconds; less is a timestamp out of order
AHEAD = Fraction(60)  # seconds; less may be a picture that stands still


def may_leap_ahead(container: av.container.InputContainer) -> bool:
    """Whether files of this format are often joined with unrelated clocks (MPEG program and transport streams)."""
    return bool(int(container.format.flags) & Flags.ts_discont.value)


def leaps(before: Fraction, after: Fraction, ahead: bool) -> bool:
    """Whether a timestamp (seconds) belongs to another file than the one before it. `ahead`: jumps forward count too."""
    return after < before - BACK or (ahead and after > before + AHEAD)


def has_seams(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Whether the stream's timestamps leap anywhere, which makes seeking by time fail; reads the file up to there without decoding."""
    before, ahead = None, may_leap_ahead(container)
    try:
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            if before is not None and leaps(before, packet.dts * stream.time_base, ahead):
                return True
            before = packet.dts * stream.time_base
    except av.error.FFmpegError:
        return True
    return False


class SoundSeams:
    """Shift of the sound's clock, seconds: at a leap as large as that of the pictures, so that both stay in step.

    The pictures may reach the seam slightly later than the sound: `leap` records a leap of the sound, `is_settled` tells whether the
    pictures have passed it too, and `settle` shifts the clock; by the sound's own timestamps if the pictures have no such leap.
    """

    def __init__(self) -> None:
        self.shift = self._own = Fraction(0)
        self._pictures = {Fraction(0)}

    def pictures(self, shift: Fraction) -> None:
        """Record a picture's shift."""
        self._pictures.add(shift)

    def leap(self, own: Fraction) -> None:
        """Record a leap of the sound; without a gap it would go on with the shift `own`."""
        self._own = own

    @property
    def is_settled(self) -> bool:
        return self._nearest() is not None

    def settle(self) -> None:
        nearest = self._nearest()
        self.shift = self._own if nearest is None else nearest

    def _nearest(self) -> Fraction | None:
        """The pictures' shift closer to the sound's own than half the leap."""
        nearest = min(self._pictures, key=lambda shift: abs(shift - self._own))
        return nearest if abs(nearest - self._own) < abs(self._own - self.shift) / 2 else None
