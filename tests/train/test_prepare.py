"""Footage to shards and back: what is kept and dropped, what an interrupted run leaves, and how the training reads it."""

from __future__ import annotations

import json
import tarfile

import cv2
import numpy as np
import pytest
from bundles import write_tiny
from standin import stand_in, write_video

from dva_core.errors import DVAError
from dva_core.model.loader import load_model
from dva_core.train import prepare as preparing
from dva_core.train.footage import find_videos
from dva_core.train.frames import FrameFolder, Shards, facts, held_out_frames, open_frames
from dva_core.train.prepare import Preparation, pack, prepare, sharpness

WANTED = Preparation(size=32, least_size=10, least_sharpness=0, least_frames=3, kind="png")


@pytest.fixture
def model(tmp_path, monkeypatch):
    tiny = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu")
    finder = stand_in(tiny)
    monkeypatch.setattr("dva_core.faces.finder.FaceFinder.of", lambda model, detector="own": finder)
    return tiny


@pytest.fixture
def footage(tmp_path):
    (tmp_path / "footage" / "more").mkdir(parents=True)
    write_video(tmp_path / "footage" / "one.mkv", 6)
    write_video(tmp_path / "footage" / "more" / "two.mkv", 5)
    (tmp_path / "footage" / "broken.mp4").write_bytes(b"no video")
    write_video(tmp_path / "footage" / "nobody.mkv", 4, faceless=(0, 1, 2, 3))
    return tmp_path / "footage"


def test_videos_with_faces_are_packed_and_the_others_told(footage, model, tmp_path):
    out = tmp_path / "out"
    figures = prepare([footage], out, model, WANTED)
    assert (figures["videos"], figures["clips"], figures["frames"], figures["shards"]) == (4, 2, 11, 1)
    assert set(figures["videos_left_out"]) == {"broken", "nobody"} and "No face" in figures["videos_left_out"]["nobody"]
    assert not list((out / "cache").iterdir())
    frames = open_frames(out, 32)
    assert frames.groups == ["more_two", "one"] and np.bincount(frames.group).tolist() == [5, 6]
    record = facts(out / "shard-000000.tar")["one/000002"]
    eyes = np.array(record["landmarks"])[36:48].mean(0)
    assert record["frame"] == 2 and abs(eyes[0] - 0.5) < 0.1 and 0.3 < eyes[1] < 0.6


def test_filters_count_what_they_drop(footage, model, tmp_path):
    strict = Preparation(size=32, least_size=10, least_sharpness=1e6, kind="png")
    figures = prepare([footage / "one.mkv"], tmp_path / "blurred", model, strict)
    assert figures["frames_dropped"] == {"blurred": 6} and "only 0 of 6" in figures["videos_left_out"]["one"]
    large = Preparation(size=32, least_size=500, kind="png")
    assert prepare([footage / "one.mkv"], tmp_path / "small", model, large)["frames_dropped"] == {"too small": 6}
    write_video(footage / "gap.mkv", 30, faceless=tuple(range(5, 25)))
    assert prepare([footage / "gap.mkv"], tmp_path / "gap", model, WANTED)["frames_dropped"] == {"no face": 20}


def test_sharpness_falls_with_blur():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert sharpness(picture) > 2 * sharpness(cv2.GaussianBlur(picture, (0, 0), 2)) > 0 == sharpness(np.full((64, 64, 3), 9, np.uint8))


def test_an_interrupted_run_goes_on_without_doing_anything_twice(footage, model, tmp_path, monkeypatch):
    out, done = tmp_path / "out", []
    real = preparing.prepare_video

    def counted(name, *rest):
        done.append(name)
        return real(name, *rest)

    def interrupted(source, *rest):
        if source.stem == "one":
            yield next(video_frames(source, *rest))
            raise KeyboardInterrupt
        yield from video_frames(source, *rest)

    video_frames = preparing.video_frames
    monkeypatch.setattr(preparing, "prepare_video", counted)
    monkeypatch.setattr(preparing, "video_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([footage], out, model, WANTED)
    assert sorted(path.name for path in (out / "cache").iterdir()) == ["more_two.tar"]
    monkeypatch.setattr(preparing, "video_frames", video_frames)
    figures = prepare([footage], out, model, WANTED)
    assert figures["frames"] == 11 and done.count("more_two") == 1 and done.count("one") == 2
    assert len(Shards(out, 8).group) == 11
    write_video(footage / "three.mkv", 4)
    assert prepare([footage], out, model, WANTED)["shards"] == 2 and done[-1] == "three"
    assert len(Shards(out, 8).group) == 15


def test_a_crash_between_packing_and_tidying_does_not_double(footage, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare([footage / "one.mkv"], out, model, WANTED)
    (out / "cache" / "one.tar").write_bytes((out / "shard-000000.tar").read_bytes())
    assert pack(out, 100) == [] and not list((out / "cache").iterdir())


def test_shards_hold_whole_videos_up_to_their_size(footage, model, tmp_path):
    out = tmp_path / "out"
    write_video(footage / "three.mkv", 4)
    prepare([footage], out, model, Preparation(size=32, least_size=10, least_sharpness=0, least_frames=3, shard_frames=9))
    sizes = [len(Shards(out, 8, [shard]).group) for shard in sorted(out.glob("*.tar"))]
    assert sizes == [5, 6, 4] or sizes == [6, 9]


def test_other_options_and_changed_videos_are_refused(footage, model, tmp_path):
    out = tmp_path / "out"
    prepare([footage / "one.mkv"], out, model, WANTED)
    with pytest.raises(DVAError, match="other options"):
        prepare([footage / "one.mkv"], out, model, Preparation(size=64))
    write_video(footage / "one.mkv", 9)
    with pytest.raises(DVAError, match="has changed"):
        prepare([footage / "one.mkv"], out, model, WANTED)


def test_aligned_frames_are_read_as_they_are_or_packed_the_same(model, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 3, 16, 16, 3), dtype=np.uint8)
    for name, frames in zip(("a.b", "c"), pictures):
        (tmp_path / "aligned" / "train" / name).mkdir(parents=True)
        for number, picture in enumerate(frames):
            cv2.imwrite(str(tmp_path / "aligned" / "train" / name / f"{number}.png"), picture[..., ::-1])
    plain = FrameFolder(tmp_path / "aligned", 16)
    assert plain.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(plain.read(np.array([4, 1])), pictures[[1, 0], [1, 1]])
    ready = Preparation(size=16, least_size=10, least_sharpness=0, least_frames=2, kind="png", aligned=True)
    assert prepare([tmp_path / "aligned"], tmp_path / "out", model, ready)["clips"] == 2
    packed = open_frames(tmp_path / "out", 16)
    assert isinstance(packed, Shards) and np.array_equal(packed.read(np.arange(6)), plain.read(np.arange(6)))
    assert open_frames(tmp_path / "out", 8).read(np.array([0])).shape == (1, 8, 8, 3)


def test_whole_videos_are_held_out_and_stay_so():
    class Named:
        def __init__(self, count):
            self.groups, self.group = [f"video {i}" for i in range(count)], np.repeat(np.arange(count), 2)

    held = held_out_frames(Named(40))
    assert held.sum() == 4 and (held[::2] == held[1::2]).all()
    assert held_out_frames(Named(2)).sum() == 2 and not held_out_frames(Named(1)).any()


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DVAError, match="no folder"):
        open_frames(tmp_path / "none", 8)
    with pytest.raises(DVAError, match="neither shards"):
        open_frames(tmp_path, 8)
    with pytest.raises(DVAError, match="holds no videos"):
        find_videos([tmp_path])
    (tmp_path / "shard-000000.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DVAError, match="no whole tar"):
        open_frames(tmp_path, 8)
    with tarfile.open(tmp_path / "shard-000000.tar", "w") as tar:
        preparing.add_entry(tar, "a/0.png", b"no picture")
        preparing.add_entry(tar, "a/0.json", json.dumps({}).encode())
    with pytest.raises(DVAError, match=r"frame of a in .* is damaged"):
        open_frames(tmp_path, 8).read(np.array([0]))


def test_names_stay_distinct(footage, model, tmp_path):
    """Also where the case of letters does not count, for any number of one name, in several folders, and from one run to the next."""
    for name in ("a b", "a.b", "a_b", "A_B"):
        write_video(footage / f"{name}.mkv", 4)
        write_video(footage / "more" / f"{name}.mkv", 4)
    (footage / "nobody.mkv").unlink(), (footage / "broken.mp4").unlink()
    out = tmp_path / "out"
    one = [footage / "more"]
    assert prepare(one, out, model, WANTED)["clips"] == 5
    kept = {file.stem: file.read_bytes() for file in (out / "clips").iterdir()}
    figures = prepare([*one, footage, footage / "a b.mkv"], out, model, WANTED)
    assert (figures["videos"], figures["clips"]) == (10, 10)  # each once
    names = [file.stem for file in (out / "clips").iterdir()]
    assert len({name.lower() for name in names}) == 10
    assert all((out / "clips" / f"{name}.json").read_bytes() == content for name, content in kept.items())
    assert sorted(Shards(out, 8).groups) == sorted(names)
    assert sorted(find_videos([footage])) == sorted(find_videos([footage]))


def test_names_that_are_too_long_for_a_disk_are_cut_and_stay_distinct(tmp_path):
    for end in "ab":
        (tmp_path / ("é" * 100) / ("ü" * 100)).mkdir(parents=True, exist_ok=True)
        (tmp_path / ("é" * 100) / ("ü" * 100) / f"{end}.mp4").touch()
    names = list(find_videos([tmp_path]))
    assert len(names) == 2 and all(len(name.encode()) <= 200 for name in names)


def test_a_damaged_record_is_made_again(footage, model, tmp_path):
    out = tmp_path / "out"
    prepare([footage / "one.mkv"], out, model, WANTED)
    (out / "clips" / "one.json").write_text('{"source": ')
    assert prepare([footage / "one.mkv"], out, model, WANTED)["frames"] == 6
    assert len(Shards(out, 8).group) == 6


def test_only_one_run_prepares_into_a_folder(footage, model, tmp_path):
    from dva_core.files import Partial

    (tmp_path / "out").mkdir()
    other = Partial(tmp_path / "out" / "prepared.json", alone=True)
    with pytest.raises(DVAError, match="by another run"):
        prepare([footage / "one.mkv"], tmp_path / "out", model, WANTED)
    other.close()
    assert prepare([footage / "one.mkv"], tmp_path / "out", model, WANTED)["clips"] == 1
