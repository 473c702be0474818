"""Masks of what stays in front, from memory and from files: each frame gets its own, and what fits no frame is refused in a sentence."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from standin import HEIGHT, WIDTH, write_video

from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.faces.regions import MEAN_FACE
from dva_core.model.autoencoder import JAW
from dva_core.pipeline import decode, encode
from dva_core.pipeline.front import FrontMasks, check_keep, numbers, open_masks
from dva_core.pipeline.masks import SoftMasks
from dva_core.pipeline.preview import attribute_stills, stills
from dva_core.pipeline.report import describe_decode, describe_track, in_words
from dva_core.video import Frame, VideoInfo, VideoReader, VideoWriter, open_video

FRAMES = 9


pytestmark = pytest.mark.usefixtures("bright_finder")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frame 2 has no face."""
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", FRAMES, faceless=(2,))


@pytest.fixture
def decomposition(video, model, bright_finder):
    """Edited, of frames 1, 3, 5 and 7."""
    return apply_attributes(encode(video, model, steps=2, start=0.04, every=2, max_frames=4), model, {"Young": 3.0})


def bars(frames: int) -> np.ndarray:
    """[frames, HEIGHT, WIDTH]: a bar that wanders over the face, another place in each frame."""
    masks = np.zeros((frames, HEIGHT, WIDTH), np.float32)
    for i, mask in enumerate(masks):
        mask[:, 42 + i : 47 + i] = 1
    return masks


def as_folder(masks: np.ndarray, folder) -> str:
    folder.mkdir()
    for i, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{i}.png"), np.uint8(255 * mask))
    return str(folder)


def as_video(masks: np.ndarray, path, codec: str = "ffv1", rate: int = 30):
    info = VideoInfo.for_images(masks.shape[2], masks.shape[1], rate, len(masks))
    with VideoWriter(path, info, codec=codec, quality=10) as writer:
        for i, mask in enumerate(masks):
            writer.write(Frame.from_rgb(np.repeat(np.uint8(255 * mask)[..., None], 3, 2), i, time_base=info.time_base))
    return path


def pictures(path) -> np.ndarray:
    with open_video(path) as reader:
        return np.stack([frame.rgb for frame in reader])


def decoded(decomposition, model, path, keep=None) -> tuple[np.ndarray, np.ndarray]:
    """The frames of the source that the decomposition has, and what became of them."""
    decode(decomposition, model, path, codec="ffv1", keep=keep)
    info = decomposition.info
    return pictures(info.source)[1::2][: info.frames], pictures(path)


@pytest.mark.parametrize("kind", ["array", "tensor", "four axes", "list", "folder", "video", "all frames", "video of all frames"])
def test_each_frame_keeps_what_its_mask_covers(tmp_path, decomposition, model, kind):
    every = bars(FRAMES)
    masks = every[1::2][:4]
    given = {
        "array": lambda: masks > 0,
        "tensor": lambda: torch.from_numpy(masks).half(),
        "four axes": lambda: torch.from_numpy(masks)[:, None],
        "list": lambda: list(masks),
        "folder": lambda: as_folder(masks, tmp_path / "masks"),
        "video": lambda: as_video(masks, tmp_path / "masks.mkv"),
        "all frames": lambda: every,
        "video of all frames": lambda: as_video(every, tmp_path / "masks.mkv"),
    }[kind]()
    before, after = decoded(decomposition, model, tmp_path / "out.mkv", given)
    _, plain = decoded(decomposition, model, tmp_path / "plain.mkv")
    inside = masks > 0
    assert (before[inside] == after[inside]).all()
    for number in range(4):
        assert (before[number] != plain[number])[inside[number]].any()  # there was something to keep
        assert (before[number] != after[number]).any()
    away = np.stack([cv2.distanceTransform(np.uint8(mask == 0), cv2.DIST_L2, 5) > 3 for mask in masks])
    assert (after[away] == plain[away]).all()


def test_one_mask_for_all_frames(tmp_path, decomposition, model):
    mask = bars(1)[0]
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([np.uint8(255 * mask)] * 3 + [np.full_like(mask, 255, np.uint8)]))
    results = [decoded(decomposition, model, tmp_path / "out.mkv", keep) for keep in (mask, mask[None], tmp_path / "mask.png")]
    before, after = results[0]
    assert (before == after)[:, mask > 0].all() and not np.array_equal(before, after)
    assert all(np.array_equal(after, other) for _, other in results[1:])


def test_a_mask_of_the_crops_is_seen_in_the_frames(tmp_path, decomposition, model):
    assert decomposition.faces < FRAMES and decomposition.crops.shape[1] != WIDTH
    size = decomposition.crops.shape[1]
    masks = np.zeros((decomposition.faces, size, size), np.float32)
    masks[:, : size // 2] = 1
    before, after = decoded(decomposition, model, tmp_path / "out.mkv", masks)
    _, large = decoded(decomposition, model, tmp_path / "large.mkv", masks.repeat(2, 1).repeat(2, 2))
    _, plain = decoded(decomposition, model, tmp_path / "plain.mkv")
    for row, index in enumerate(decomposition.frame_index):
        middle = int(decomposition.quads[row][:, 1].mean())
        assert (before[index] == after[index])[: middle - 1].all() and (before[index] != plain[index])[: middle - 1].any()
        assert (after[index] == plain[index])[middle + 4 :].all()
    assert np.abs(large.astype(int) - after).mean() < 0.05


def test_nothing_kept_is_as_without(tmp_path, decomposition, model):
    paths = [tmp_path / name for name in ("a.mkv", "b.mkv")]
    decode(decomposition, model, paths[0], codec="ffv1")
    decode(
        decomposition, model, paths[1], codec="ffv1", keep=np.zeros((1, 64, 64), np.float32)
    )  # what LoadImage gives for a picture without one
    assert np.array_equal(*map(pictures, paths))


def test_a_still_keeps_what_decoding_keeps(tmp_path, decomposition, model):
    row, size, middle = 2, decomposition.crops.shape[1], 54
    index = int(decomposition.frame_index[row])
    masks = np.zeros((decomposition.info.frames, HEIGHT, WIDTH), np.float32)
    masks[index, :, :middle] = 1
    still, plain = (stills([decomposition], model, row, keep=keep) for keep in (masks, None))
    edge = int((middle - decomposition.quads[row][0, 0]) / (decomposition.quads[row][3, 0] - decomposition.quads[row][0, 0]) * size)
    assert 4 < edge < size - 4
    assert np.array_equal(still.edited[0][:, : edge - 1], still.original[:, : edge - 1])
    assert not np.array_equal(plain.edited[0][:, : edge - 1], still.original[:, : edge - 1])
    assert np.array_equal(still.edited[0][:, edge + 4 :], plain.edited[0][:, edge + 4 :])
    of_crop = stills([decomposition], model, row, keep=np.ones((size, size), np.float32))
    assert np.array_equal(of_crop.edited[0], still.original)
    sheet = attribute_stills(decomposition, model, ["Young"], [1.0], row, keep=np.ones((HEIGHT, WIDTH), np.float32))
    assert np.array_equal(sheet["Young"][0], still.original)


def test_files_are_read_forwards_and_a_few_frames_at_a_time(tmp_path, decomposition, monkeypatch):
    masks = as_video(np.zeros((60, HEIGHT, WIDTH), np.float32), tmp_path / "masks.mkv")
    given, iterate = [], VideoReader.__iter__
    monkeypatch.setattr(VideoReader, "__iter__", lambda self: (given.append(frame) or frame for frame in iterate(self)))
    film = open_masks(masks)
    film[3], film[3], film[9]
    assert 10 <= len(given) <= 10 + 6
    film[2]  # and from the beginning again, where somebody goes back
    film.close()
    assert len(given) <= 16 + 3 + 6


def test_a_compressed_black_keeps_nothing(tmp_path, decomposition):
    masks = bars(4)
    path = as_video(masks, tmp_path / "masks.mp4", codec="h264")
    with FrontMasks(path, decomposition, lambda: None) as front:
        for row, index in enumerate(decomposition.frame_index):
            mask = front.at(int(index), row)
            weights = mask.weights(decomposition.quads[row], (0, 0, WIDTH, HEIGHT), (HEIGHT, WIDTH))
            hard = cv2.erode(masks[index], np.ones((3, 3)))
            assert (weights[hard > 0] == 1).all()
            assert (weights[cv2.distanceTransform(np.uint8(masks[index] == 0), cv2.DIST_L2, 5) > 4] == 0).all()


def test_which_mask_is_meant():
    part = lambda: (10, 40)  # noqa: E731
    assert [numbers(1, 5, None, part, 3)(i, i) for i in range(5)] == [0] * 5
    assert [numbers(5, 5, 3, part, 3)(i, 0) for i in range(5)] == [0, 1, 2, 3, 4]
    assert [numbers(3, 5, 3, part, 3)(i, i // 2) for i in (0, 2, 4)] == [0, 1, 2]
    assert [numbers(40, 5, None, part, 3)(i, 0) for i in range(5)] == [10, 13, 16, 19, 22]
    for count, faces, source, says in (
        (4, 3, part, "4 masks .* 5 frames; give one mask, or one for each of the 5 frames or its 3 with the face or the 40 of its source"),
        (3, None, None, "or one for each of the 5 frames."),
    ):
        with pytest.raises(DVAError, match=says):
            numbers(count, 5, faces, source, 3)


def test_the_report_says_which_frames_were_edited_and_in_which_the_face_is_hidden(tmp_path, video, model, monkeypatch):
    monkeypatch.setattr(SoftMasks, "_points", lambda *_: MEAN_FACE[JAW:])  # the tiny model does not know where a face is
    decomposition = encode(video, model, steps=2)
    assert decomposition.info.track["seen"] == [[0, FRAMES - 1]] and decomposition.info.track["others"] == []  # frame 2 is filled
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
    masks[4:6, :, :54] = 1
    masks[7] = 1
    plain = decode(decomposition, model, tmp_path / "plain.mkv", codec="ffv1")
    assert plain.edited == [] and "no pixel changed" in describe_decode(plain)
    edited = apply_attributes(decomposition, model, {"Young": 3.0})
    without, report = (decode(edited, model, tmp_path / "out.mkv", codec="ffv1", keep=keep) for keep in (None, masks))
    assert without.edited == [[0, FRAMES - 1]]
    changed = (pictures(video) != pictures(tmp_path / "out.mkv")).any((1, 2, 3))
    assert report.edited == [[0, 6], [8, 8]] and np.array_equal(np.flatnonzero(changed), [0, 1, 2, 3, 4, 5, 6, 8])
    more = {n: share - without.hidden.get(n, 0) for n, share in report.hidden.items() if share != without.hidden.get(n)}
    assert set(more) == {4, 5, 7} and min(more.values()) > 0.02 and report.hidden[7] == 1
    assert "Changed: frames 0-6, 8 of 9; partly hidden (up to 100%) in" in describe_decode(report)


def test_what_a_track_says_in_words():
    track = {"frames": 60, "found": 39, "interpolated": 1, "missing": 20, "seen": [[0, 19], [40, 59]], "others": [[12, 12]]}
    assert describe_track(track) == (
        "40 of 60 frames have the face, 1 of them interpolated; 20 without it pass through untouched, it is there in frames 0-19, 40-59; "
        "other faces in frames 12"
    )
    assert describe_track({"frames": 2, "found": 2, "seen": "?", "others": [[1]]}) == "2 of 2 frames have the face"  # a damaged file
    assert in_words([[n, n] for n in range(0, 40, 2)]) == "0, 2, 4, 6, 8, 10 and 14 more stretches"


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (np.zeros((4, 60, 200)), r"is 200x60, .* frame \(96x80\).* square face crop \(32x32\)"),
        (np.zeros((7, HEIGHT, WIDTH)), "There are 7 masks .* 4 frames"),
        (np.zeros((0, HEIGHT, WIDTH)), r"are \[0, 80, 96\]; give \[height, width\]"),
        (np.zeros((HEIGHT, WIDTH, 3, 3)), "give .height, width"),
        (np.zeros(HEIGHT), "give .height, width"),
        (np.full((HEIGHT, WIDTH), 255, np.uint8), "from 255 to 255; give 0 for nothing to 1 for all"),
        (np.full((HEIGHT, WIDTH), np.nan), "Mask 0 of what stays in front has values from nan"),
        (np.full((HEIGHT, WIDTH), -1), "values from -1 to -1"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "differ in size"),
        ("nothing.mp4", "no file nothing.mp4"),
    ],
)
def test_masks_that_fit_nothing_are_refused(tmp_path, decomposition, model, keep, says):
    with pytest.raises(DVAError, match=says) as refused:
        decode(decomposition, model, tmp_path / "out.mkv", codec="ffv1", keep=keep)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
    with pytest.raises(DVAError, match=says):
        stills([decomposition], model, 0, keep=keep)


def test_the_masks_are_not_written_over(tmp_path, decomposition, model):
    masks = as_video(bars(4), tmp_path / "masks.mkv")
    content = masks.read_bytes()
    with pytest.raises(DVAError, match="would overwrite"):
        decode(decomposition, model, masks, codec="ffv1", keep=masks)
    assert masks.read_bytes() == content


def test_masks_are_held_against_a_video_before_it_is_taken_apart(tmp_path, video):
    part = {"start": 0.04, "length": None, "every": 2, "max_frames": 3, "rate": None}
    for count in (1, 3, FRAMES):
        check_keep(as_video(bars(count), tmp_path / f"{count}.mkv"), video, 32, **part)
    for name, masks, says in (("many", bars(4), "4 masks .* 3 frames"), ("shape", np.zeros((3, 20, 60)), "is 60x20")):
        with pytest.raises(DVAError, match=says):
            check_keep(as_folder(masks, tmp_path / name), video, 32, **part)
