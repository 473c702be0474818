"""Errors are what Python's own users expect to catch, too."""

from __future__ import annotations

import pytest

import dva_core
from dva_core.edit import Direction
from dva_core.errors import DVAError, MissingDependencyError, MissingFileError
from dva_core.video import open_video


def test_they_are_both(tmp_path):
    assert issubclass(MissingDependencyError, (DVAError, ImportError)) and issubclass(MissingDependencyError, ImportError)
    assert str(MissingDependencyError("One sentence.")) == "One sentence." == str(MissingFileError("One sentence."))
    nowhere = tmp_path / "nowhere.safetensors"
    for call in (dva_core.load_model, dva_core.Decomposition.load, Direction.load, open_video):
        with pytest.raises(FileNotFoundError) as error:
            call(nowhere)
        assert isinstance(error.value, DVAError) and str(nowhere) in str(error.value)
