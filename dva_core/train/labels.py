"""Attribute labels of a folder of pictures: CelebA-HQ's annotation file or a CSV.

CelebA's: a first line with the number of pictures, a second with the names, then `file 1 -1 ...`, 1 yes and -1 no.
A CSV: a header; a column `file` (else the first one); attributes are the columns that hold only 1, 0, -1 or nothing; nothing means
unknown. A column `person_or_cluster`, `person` or `identity` identifies the person, so that nobody is on both sides of a split.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dva_core.errors import DVAError, MissingDependencyError, MissingFileError

VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": 0.0, "-1.0": 0.0, "": np.nan}
PEOPLE = ("person_or_cluster", "person", "identity")


@dataclass(frozen=True)
class LabelTable:
    """`files` of n pictures, `names` of K attributes, `labels` float32 [n, K] of 1, 0 or nan (unknown), `person` [n] or None."""

    files: list[str]
    names: list[str]
    labels: np.ndarray
    person: np.ndarray | None = None


def read_labels(path: Path | str) -> LabelTable:
    """Read the table at `path`, CelebA's format or CSV. DVAError, with the line, if it is neither."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(f"There is no table of labels {path}; give CelebA-HQ's annotation file or a CSV.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DVAError(f"The table of labels {path} cannot be read ({type(error).__name__}); give a text file.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    table = read_celeba(lines, path) if lines and lines[0].strip().isdigit() else read_csv(lines, path)
    if not table.files or not table.names:
        raise DVAError(f"{path} names no pictures or no attributes; give CelebA-HQ's annotation file or a CSV with a header.")
    return table


def read_celeba(lines: Sequence[str], path: Path) -> LabelTable:
    """Read CelebA's format: count, names, then one line a picture with its file and 1 or -1 for each name."""
    names = lines[1].split() if len(lines) > 1 else []
    files, labels = [], []
    for number, line in enumerate(lines[2:], 3):
        file, *values = line.split()
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise DVAError(f"Line {number} of {path} does not hold a file and {len(names)} values of 1 or -1; get the file again.")
        files.append(file)
        labels.append([VALUES[value] for value in values])
    if int(lines[0]) != len(files):
        raise DVAError(f"{path} announces {lines[0].strip()} pictures and lists {len(files)}; get the file again.")
    return LabelTable(files, names, np.array(labels, np.float32).reshape(len(files), len(names)))


def read_csv(lines: Sequence[str], path: Path) -> LabelTable:
    """Read a header, then one row a picture."""
    reader = csv.DictReader(lines)
    columns = reader.fieldnames or []
    rows = list(reader)
    file = next((name for name in columns if name.lower() == "file"), columns[0] if columns else "")
    person = next((name for name in PEOPLE if name in columns), None)
    names = [name for name in columns if name not in (file, *PEOPLE) and is_attribute([row[name] for row in rows])]
    labels = [[VALUES[row[name].strip()] for name in names] for row in rows]
    people = np.array([row[person] for row in rows]) if person else None
    return LabelTable([row[file] for row in rows], names, np.array(labels, np.float32).reshape(len(rows), len(names)), people)


def is_attribute(values: Sequence[str | None]) -> bool:
    """Tell whether a column holds only yes, no and unknown, and both yes and no."""
    kinds = {VALUES.get(value.strip(), "other") if value is not None else "other" for value in values}
    return "other" not in kinds and {0.0, 1.0} <= {kind for kind in kinds if kind == kind}


def split(count: int, person: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """Choose held-out rows, bool [n], about `share` of all; all pictures of a person are on one side."""
    groups = np.arange(count) if person is None else np.unique(person, return_inverse=True)[1]
    number = int(groups.max()) + 1
    held_out_groups = np.random.default_rng(seed).permutation(number)[: max(1, round(share * number))]
    return np.isin(groups, held_out_groups)


def batches(folder: Path, files: Sequence[str], size: int) -> Iterator[list[np.ndarray]]:
    """Yield the pictures in lists of up to `size`, uint8 [H, W, 3]. DVAError if one is missing."""
    from dva_core.video.images import read_rgb

    for start in range(0, len(files), size):
        yield [read_rgb(folder / file) for file in files[start : start + size]]


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the ROC curve of scores [N] for labels [N] of 0 and 1. MissingDependencyError without scikit-learn."""
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingDependencyError("Measuring classifiers needs scikit-learn, which is not here: pip install scikit-learn.") from error
    return float(roc_auc_score(labels, scores))
