"""The rule by which a face is chosen, as text."""

import pytest

from dva_core.errors import DVAError
from dva_core.faces.finder import parse_face


def test_which_face(tmp_path):
    assert parse_face("largest") == ("largest",)
    assert parse_face("position:0.25,0.5") == ("position", 0.25, 0.5)
    for text in (
        "smallest",
        "position:1",
        "position:a,b",
        "position:2,0.5",
        "position:nan,0",
        "reference:",
        f"reference:{tmp_path}/none.png",
    ):
        with pytest.raises(DVAError) as caught:
            parse_face(text)
        assert str(caught.value).endswith(".")
