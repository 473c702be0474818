"""The starter's own networks, which find the faces of real people."""

import pytest

from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    """What finds faces with the starter's networks, one for all tests of a file."""
    return FaceFinder.of(load_model("starter", device="cpu"))
