"""Contact sheets: a few moments of a video in columns, the stages of its processing in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..errors import DVAError

MARGIN, LABEL, GAP = 8, 22, 4  # pixels
PAPER, INK = 250, 30


def moments(count: int, columns: int = 6) -> list[int]:
    """Choose `columns` indices of 0..count-1, evenly spaced from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(columns, count))}) if count else []


def contact_sheet(rows: Mapping[str, Sequence[np.ndarray]], captions: Sequence[str], tile: int = 160, title: str = "") -> np.ndarray:
    """Draw one picture uint8 [H, W, 3]: a row of tiles for each of `rows`, its name on the left, `captions` above the columns.

    The tiles are RGB uint8 of any size; they are resampled to squares of `tile` pixels.
    """
    left = MARGIN + max((cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] for name in rows), default=0) + MARGIN
    top = MARGIN + LABEL * (2 if title else 1)
    columns = len(captions)
    height = top + len(rows) * (tile + GAP) + MARGIN
    sheet = np.full((height, left + columns * (tile + GAP) + MARGIN, 3), PAPER, np.uint8)
    if title:
        _write(sheet, title, left, MARGIN + LABEL // 2)
    for column, caption in enumerate(captions):
        _write(sheet, caption, left + column * (tile + GAP), top - LABEL // 2)
    for row, (name, tiles) in enumerate(rows.items()):
        y = top + row * (tile + GAP)
        _write(sheet, name, MARGIN, y + tile // 2)
        for column, picture in enumerate(tiles):
            x = left + column * (tile + GAP)
            kernel = cv2.INTER_AREA if picture.shape[0] > tile else cv2.INTER_CUBIC
            sheet[y : y + tile, x : x + tile] = cv2.resize(picture, (tile, tile), interpolation=kernel)
    return sheet


def attribute_sheet(rows: Mapping[str, Sequence[np.ndarray]], scales: Sequence[float], tile: int = 160, title: str = "") -> np.ndarray:
    """Draw one picture uint8 [H, W, 3] of a frame with many edits: a row for each attribute, a column for each of `scales`."""
    return contact_sheet(rows, [f"{scale:+g}" if scale else "0" for scale in scales], tile, title)


def parse_numbers(text: str) -> list[float]:
    """Parse "-0.8, 0, 0.8" to [-0.8, 0.0, 0.8]; DVAError for anything but finite numbers separated by commas."""
    try:
        numbers = [float(part) for part in parse_names(text)]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        raise DVAError(f"The scales {text[:60]!r} are not numbers with commas between; write for example -0.8, -0.4, 0, 0.4, 0.8.")
    return numbers


def parse_names(text: str) -> list[str]:
    """Parse "Young, Male" to ["Young", "Male"]; an empty text gives no names."""
    return [part for part in (part.strip() for part in text.split(",")) if part]


def _write(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (INK, INK, INK), 1, cv2.LINE_AA)
