"""Strengths over time on the attribute panel: the editor's keys are what the library reads, and its line is what the library draws."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from dva_core.edit.curves import parse_scale

from .panels import EDIT, PANEL, first_example, row, scales, spread

MODULE = "/extensions/diffusion-video-autoencoder/keys.js"
CURVES = [
    0.4,
    {"0s": 0.5, "1.5s": -0.8, "curve": "smooth"},
    {"0": 0.1, "12": 0.9, "30": -0.4, "31": 0.2},
    {"0.2s": -1, "0.5s": 0.2, "0.9s": 0.25, "2s": 1, "curve": "smooth"},
    [0, 0.2, -0.4],
]


@pytest.fixture
def editor(page, mode):
    page.load(spread(first_example()), EDIT)
    page.tab.locator(row("Male")).wait_for(state="attached")
    page.tab.locator(f"{row('Male')} .dva-over-time").click()
    page.tab.locator(".dva-plot").wait_for()
    page.settle()
    yield page
    assert not page.errors


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_the_line_is_the_librarys(page, curve):
    script = """async ([module, curve, times]) => {
        const { readKeys, strengthAt, writeKeys } = await import(module);
        const state = readKeys(curve);
        return { drawn: times.map(time => strengthAt(state, time)), unit: state.unit, written: writeKeys(state) };
    }"""
    times = np.linspace(0, 40, 161)
    seconds = isinstance(curve, dict) and any(key.endswith("s") for key in curve)
    values = page.do(script, [MODULE, curve, (times / 10 if seconds else times).tolist()])
    read, written = parse_scale(curve), parse_scale(values["written"])
    rate = Fraction(10)
    if isinstance(read, float):
        assert values["drawn"] == [read] * len(times) and written == read
        return
    np.testing.assert_allclose(values["drawn"], read.at(times, rate), atol=1e-9)
    np.testing.assert_allclose(written.at(times, rate), read.at(times, rate), atol=1e-9)


def test_keys_are_added_dragged_and_taken_away(editor):
    assert editor.tab.locator(".dva-key").count() == 1
    editor.drag(".dva-plot", (0.5, 0.5), (0.5, 0.25))
    assert scales(editor)["Male"] == {"0s": -0.5, "1s": 0.5, "curve": "smooth"}
    editor.tab.keyboard.press("ArrowRight")
    editor.tab.keyboard.press("Shift+ArrowDown")
    assert scales(editor)["Male"] == {"0s": -0.5, "1.1s": 0.49, "curve": "smooth"}
    editor.tab.locator(".dva-shape").first.click()
    assert scales(editor)["Male"] == {"0s": -0.5, "1.1s": 0.49}
    editor.picture(f"keys_{'html' if editor.html else 'canvas'}")
    editor.tab.locator('.dva-fields [aria-label^="Strength"]').fill("-0.25")
    editor.tab.keyboard.press("Tab")
    assert scales(editor)["Male"] == {"0s": -0.5, "1.1s": -0.25}
    editor.tab.locator('.dva-key[data-index="1"]').focus()
    editor.tab.keyboard.press("Delete")
    assert scales(editor) == {"Male": -0.5} and editor.id_of(EDIT)


def test_a_curve_is_not_lost_to_its_own_slider_nor_a_broken_text_to_a_slider(editor):
    """By a double click, which sets a slider back to 0."""
    for text in ('{"Male": {"0s": 0, "1s": -0.8}}', '{"Male": {"0s": 0, "1s": -0.8}'):
        editor.set_value(EDIT, "attributes", text)
        editor.settle(200)
        for name in ("Male", "Young"):
            if name == "Male" or not text.endswith("}}"):
                editor.tab.locator(f"{row(name)} .dva-slider").dispatch_event("dblclick")
        assert editor.value(EDIT, "attributes") == text


def test_what_mixes_seconds_and_frames_is_left_to_the_text(editor):
    mixed = {"Male": {"0s": 0, "36": -0.8}}
    editor.set_value(EDIT, "attributes", json.dumps(mixed))
    editor.settle(200)
    assert editor.tab.locator(".dva-plot").is_hidden() and scales(editor) == mixed
    assert editor.tab.locator(f"{PANEL} .dva-keys").text_content()
