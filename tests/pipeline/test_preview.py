"""One frame with many edits: the same as decoding shows, in one batch, and nothing encoded again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from standin import use_stand_in, write_video

from dva_core.commands import main as cli
from dva_core.edit import apply_attributes, apply_switch
from dva_core.errors import DVAError
from dva_core.pipeline import decode, encode, preview
from dva_core.pipeline.preview import attribute_stills, nearest_row, stills
from dva_core.pipeline.sheet import attribute_sheet, parse_names, parse_numbers

STEPS = 6


@pytest.fixture(scope="module")
def decomposition(tmp_path_factory, model):
    with pytest.MonkeyPatch.context() as patch:
        use_stand_in(patch, model)
        return encode(write_video(tmp_path_factory.mktemp("video") / "a.mkv", 5), model, steps=STEPS)


@pytest.fixture
def evaluations(model, monkeypatch):
    """How many frames went into each evaluation of the noise predictor."""
    seen, run = [], model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda x, *rest: seen.append(len(x)) or run(x, *rest))
    return seen


def test_all_edits_of_a_frame_are_decoded_in_one_batch(decomposition, model, evaluations):
    shown = attribute_stills(decomposition, model, ["young", "Smiling"], [-0.8, 0.0, 0.8], row=2)
    assert list(shown) == ["Young", "Smiling"] and [len(pictures) for pictures in shown.values()] == [3, 3]
    assert evaluations == [4] * STEPS  # scale 0 needs none
    for pictures in shown.values():
        np.testing.assert_array_equal(pictures[1], decomposition.crops[2])
        assert not np.array_equal(pictures[0], pictures[2])


def test_a_still_is_what_decoding_makes_of_that_frame(tmp_path, decomposition, model):
    edited = apply_attributes(decomposition, model, {"Young": 2.0, "Smiling": 1.0})
    frames = {}
    decode(
        edited, model, tmp_path / "out.mkv", codec="ffv1", watch=lambda i, row, before, after, crop: frames.update({row: (before, after)})
    )
    shown = stills([edited], model, 3)
    before, after = (preview_square(frame.rgb, decomposition, 3) for frame in frames[3])
    changed, expected = shown.edited[0].astype(int) - shown.original, after.astype(int) - before
    assert np.abs(expected).max() > 8 and np.abs(changed - expected).mean() < 0.15 * np.abs(expected).mean() + 1
    np.testing.assert_array_equal(shown.original, decomposition.crops[3])


def preview_square(frame, decomposition, row):
    from dva_core.faces.align import crop_face

    return crop_face(frame, decomposition.quads[row], decomposition.crops.shape[1])


def test_each_edit_has_its_own_frame_over_time(decomposition, model):
    edited = apply_attributes(decomposition, model, {"Young": {"0": 0, "4": 4}})
    np.testing.assert_array_equal(stills([edited], model, 0).edited[0], decomposition.crops[0])
    plain = apply_attributes(decomposition, model, {"Young": 4.0})
    np.testing.assert_array_equal(stills([edited], model, 4).edited[0], stills([plain], model, 4).edited[0])


def test_fewer_steps_invert_only_that_frame(decomposition, model, evaluations):
    edited = apply_attributes(decomposition, model, {"Young": 2.0})
    shown = stills([edited], model, 1, steps=2)
    assert evaluations == [1, 2, 2]  # once up, twice down with the edit and without
    fine = stills([edited], model, 1)
    assert evaluations == [1, 2, 2] + [1] * STEPS
    assert not np.array_equal(shown.edited[0], shown.original) and not np.array_equal(shown.edited[0], fine.edited[0])
    evaluations.clear()
    np.testing.assert_array_equal(stills([edited], model, 1, steps=STEPS).edited[0], fine.edited[0])  # the video's own noise map
    evaluations.clear()
    np.testing.assert_array_equal(stills([edited], model, 1, steps=3).edited[0], fine.edited[0])  # 2 up, 3 and 3 down: no gain
    assert evaluations == [1] * STEPS
    stills([edited] * 9, model, 1, steps=3)
    assert evaluations[STEPS:] == [1, 1, 10, 10, 10]  # for many edits it is one
    np.testing.assert_array_equal(stills([decomposition], model, 1, steps=2).edited[0], decomposition.crops[1])  # no edit: not a pixel


def test_a_switched_background_is_shown(decomposition, model):
    switched = apply_switch(decomposition, model, noise_seed=1)
    shown = stills([switched], model, 1, steps=2)  # its noise map cannot be inverted anew
    assert not np.array_equal(shown.edited[0], shown.original)


def test_the_nearest_frame_with_a_face(decomposition, caplog):
    assert [nearest_row(decomposition, frame) for frame in (0, 3, 4)] == [0, 3, 4] and not caplog.messages
    assert nearest_row(decomposition, 5) == nearest_row(decomposition, 99) == 4 and nearest_row(decomposition, -1) == 0
    assert [message.split(" in ")[0] for message in caplog.messages] == [f"There is no frame {n}" for n in (5, 99, -1)]
    assert caplog.messages[1].endswith("of 5 frames, the first is 0; frame 4 is shown.")


def test_what_does_not_fit_is_refused(decomposition, model):
    with pytest.raises(DVAError, match="no frame 9"):
        stills([decomposition], model, 9)
    with pytest.raises(DVAError, match="no detail"):
        stills([decomposition], model, 0, detail="none")
    with pytest.raises(DVAError, match="did you mean Young"):
        attribute_stills(decomposition, model, ["Yung"], [1.0], 0)
    with pytest.raises(DVAError, match="no scales"):
        attribute_stills(decomposition, model, [], [], 0)
    for text in ("a, b", "", "1, nan"):
        with pytest.raises(DVAError, match="commas between"):
            parse_numbers(text)
    assert parse_numbers("-0.8, 0,1") == [-0.8, 0, 1] and parse_names(" Young,, Male ") == ["Young", "Male"]


def test_a_sheet_shows_the_pictures_where_its_labels_say():
    colours = {"Young": [(200, 0, 0), (0, 200, 0)], "Male": [(0, 0, 200), (200, 200, 0)]}
    rows = {name: [np.full((20, 20, 3), c, np.uint8) for c in both] for name, both in colours.items()}
    sheet = attribute_sheet(rows, [-0.5, 0.5], tile=40)
    found = [tuple(int(v) for v in sheet[y, x]) for y in (52, 96) for x in (sheet.shape[1] - 75, sheet.shape[1] - 30)]
    assert found == [c for both in colours.values() for c in both]
    assert (sheet[:30] < 128).any() and (sheet[40:, :40] < 128).any()  # words above and beside


def test_the_commands(tmp_path, decomposition, model, bundle, capsys):
    decomposition.save(tmp_path / "decomposed.safetensors")
    apply_attributes(decomposition, model, {"Young": 3.0}).save(tmp_path / "edited.safetensors")
    common = ["--model", str(bundle), "--device", "cpu", "-o", str(tmp_path / "sheet.png")]
    assert (
        cli.main(["sheet", str(tmp_path / "decomposed.safetensors"), "--scales", "-1,1", "--attribute", "Young", "--tile", "50", *common])
        == 0
    )
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] < 120
    assert cli.main(["preview", str(tmp_path / "edited.safetensors"), "--frame", "2", *common]) == 0
    before, after = np.split(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], 2, axis=1)
    np.testing.assert_array_equal(before, decomposition.crops[2])
    assert not np.array_equal(before, after)
    for words, says in (
        (["sheet", str(tmp_path / "decomposed.safetensors"), "--scales", "x", *common], "commas between"),
        (["sheet", str(tmp_path / "decomposed.safetensors"), "--attribute", "Yung", *common], "did you mean Young"),
        (["sheet", str(tmp_path / "decomposed.safetensors"), *common[:-1], str(tmp_path / "x.txt")], "ends in .png or .jpg"),
        (["sheet", str(tmp_path / "decomposed.safetensors"), "--steps", "9", *common], "encoded already"),
        (["preview", decomposition.info.source, *common], "no decomposition"),
    ):
        assert cli.main(words) == 2
        assert says in capsys.readouterr().err
    assert preview.PREVIEW_STEPS <= 8
