"""Results as tables in Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DVAError
from ..files import write_text


@dataclass
class Table:
    """Rows of text and numbers under named columns; `notes` describe how the numbers were obtained."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """Add a row. ValueError if it does not fit the columns."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(map(_format, row)) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if _nothing(cell) else cell for cell in row] for row in self.rows])
        return text.getvalue()

    def json(self) -> str:
        rows = [{key: None if _nothing(cell) else cell for key, cell in zip(self.columns, row)} for row in self.rows]
        return json.dumps({"title": self.title, "rows": rows, "notes": self.notes}, indent=1, default=float)

    def save(self, folder: str | Path, name: str) -> list[Path]:
        """Write NAME.md, NAME.csv and NAME.json; DVAError if that fails."""
        paths = [Path(folder) / f"{name}.{kind}" for kind in ("md", "csv", "json")]
        try:
            for path, text in zip(paths, (self.markdown(), self.csv(), self.json())):
                write_text(path, text)
        except OSError as error:
            raise DVAError(f"The table cannot be written to {folder} ({error.strerror}); choose a writable folder.") from error
        return paths


def _nothing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _format(cell: Any) -> str:
    if _nothing(cell):
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.5f}" if abs(cell) < 0.01 else f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"
