"""The text of an edit by attributes."""

from __future__ import annotations

import pytest

from dva_core.edit import parse_scales
from dva_core.errors import DVAError


def test_names_and_numbers():
    assert parse_scales('{"Young": -0.6, "Smiling": 1}') == {"Young": -0.6, "Smiling": 1.0}
    assert parse_scales("{}") == parse_scales(" \n") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"Young": -0.6', "line 1, column 15"),
        ("Young", "not valid JSON"),
        ("[1]", "object of names"),
        ('{"Young": "a lot"}', 'Young is "a lot"'),
        ('{"Young": true}', "Young is true"),
        ('{"Young": null}', "Young is null"),
        ('{"Young": 1, "young": 2}', "young is named twice"),
        ("[" * 100_000, "The attributes"),
    ],
)
def test_one_sentence_for_what_is_neither(text, says):
    with pytest.raises(DVAError) as caught:
        parse_scales(text)
    message = str(caught.value)
    assert says in message and message.endswith(".") and "\n" not in message and len(message) < 200
