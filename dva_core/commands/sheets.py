"""A contact sheet, made while a video is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..decomposition import Decomposition
from ..decomposition.people import AnyDecomposition, People, people_of
from ..edit.curves import parse_scale, strengths
from ..faces.align import crop_face
from ..model.arrays import as_picture
from ..pipeline.sheet import PAPER, contact_sheet, moments
from ..video import Frame
from ..video.images import save_picture

TILE = 160


class SheetMaker:
    """Callback of `decode` that keeps a few moments: original crop, rebuilt, edited, and the crop of the finished frame."""

    def __init__(self, decomposition: Decomposition, columns: int = 6, tile: int = TILE):
        self.decomposition, self.tile = decomposition, tile
        self.sampled_rows = set(moments(decomposition.faces, columns))
        self.rows: dict[str, list[np.ndarray]] = {"original": [], "rebuilt": [], "edited": [], "result": []}
        self.captions: list[str] = []

    def __call__(self, index: int, row: int | None, original: Frame, result: Frame, crop: np.ndarray | None) -> None:
        if row not in self.sampled_rows:
            return
        before, after = (crop_face(frame.rgb, self.decomposition.quads[row], self.tile) for frame in (original, result))
        for tiles, picture in zip(self.rows.values(), (before, as_picture(self.decomposition.rebuilt[row]), as_picture(crop), after)):
            tiles.append(picture)
        self.captions.append(f"{float(index / self.decomposition.info.rate):.2f} s")

    def picture(self) -> np.ndarray:
        """The sheet, uint8 [H, W, 3]."""
        return contact_sheet(self.rows, self.captions, self.tile, title=self.title())

    def title(self) -> str:
        """Describe the edits, with the person's name if there are several people."""
        who = f"{self.decomposition.info.who}: " if self.decomposition.info.person else ""
        scales = [f"{name} {in_words(scale)}" for op in self.decomposition.operations for name, scale in edits_of(op).items()]
        return f"{who}{', '.join(scales) or 'no edit'}  ({self.decomposition.info.solving})"


class Sheets:
    """Callback of `decode` that makes a sheet for each person, one below the other."""

    def __init__(self, decomposition: AnyDecomposition):
        self.several = isinstance(decomposition, People)
        self.makers = [SheetMaker(one) for one in people_of(decomposition)]

    def __call__(self, index: int, row: Any, original: Frame, result: Frame, crop: Any) -> None:
        for maker, own_row, own_crop in zip(self.makers, row, crop) if self.several else [(self.makers[0], row, crop)]:
            maker(index, own_row, original, result, own_crop)

    def save(self, path: str | Path) -> None:
        pictures = [maker.picture() for maker in self.makers]
        width = max(picture.shape[1] for picture in pictures)
        wide = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER) for picture in pictures]
        save_picture(path, np.concatenate(wide))


def edits_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Map the names that an operation changes to their scales: attributes, or a direction."""
    if operation.get("name") == "direction":
        return {operation["direction"]["name"]: operation["scale"]}
    return operation.get("scales", {})


def in_words(scale: Any) -> str:
    """Format a scale: "+0.5", or "+0 to -0.8" for a curve."""
    ends = strengths(parse_scale(scale))
    return f"{ends[0]:+g}" if len(set(ends)) == 1 else f"{ends[0]:+g} to {ends[-1]:+g}"
