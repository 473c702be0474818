"""As bare.py: where videos come from, and what of them is kept."""

from __future__ import annotations

import logging
import shutil
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from bare import BASE, OUTPUT, TEMP, folders, nodes, refused, run, status
from bundles import write_tiny
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest import Types
from pack.nodes import decode, video
from pack.nodes.frames import write_frames
from standin import stand_in, write_clip

from dva_core.decomposition import Decomposition
from dva_core.decomposition.info import source_hash
from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.pipeline import encode
from dva_core.video import VideoWriter, open_video

STEPS = 2
IMAGES = torch.rand(5, 50, 61, 3, generator=torch.Generator().manual_seed(0))
SOUND = {"waveform": torch.rand(1, 2, 9000, generator=torch.Generator().manual_seed(0)) - 0.5, "sample_rate": 44100}


def pictures(path: Path, **part) -> np.ndarray:
    with open_video(path, **part) as reader:
        return np.stack([frame.rgb for frame in reader])


def executed(node, *arguments, **settings):
    """What a node gives when ComfyUI runs it, and what it says."""
    said = []
    with patch.object(status, "tell", lambda node_id, text, level=logging.INFO: said.append((text, level))):
        return type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id=None)}).execute(*arguments, **settings), said


@contextmanager
def tiny():
    """A tiny model that finds the face of `standin.write_clip`."""
    model = load_model(write_tiny(Path(BASE.name) / "tiny.safetensors"), device="cpu")
    found = stand_in(model)
    with patch.object(FaceFinder, "of", classmethod(lambda cls, *_, **__: found)):
        yield model


def the_same_frames_give_the_same_bytes() -> None:
    """Also after ComfyUI has emptied its temporary folder; the reader's rate leads to the same file again."""
    for rate in (25, 23.976, 29.97, 12.34, Fraction(1, 3), 1000.0):
        for images, sound in ((IMAGES, None), (IMAGES[..., :1], SOUND), (IMAGES.repeat(1, 8, 8, 1), SOUND)):
            path = write_frames(images, rate, sound)
            written, changed = path.read_bytes(), path.stat().st_mtime_ns
            assert write_frames(images, rate, sound) == path and path.stat().st_mtime_ns == changed  # once
            with open_video(path) as reader:
                read, has_audio = reader.info.rate, reader.info.has_audio
            path.unlink()
            assert write_frames(images, read, sound) == path and path.read_bytes() == written
            assert has_audio == (sound is not None) and abs(float(read) - rate) < 1e-3
            expected = images.expand(*images.shape[:3], 3).mul(255).round().to(torch.uint8).numpy()
            np.testing.assert_array_equal(pictures(path), expected)
            path.unlink()
    assert write_frames(IMAGES, 25) != write_frames(IMAGES, 24) != write_frames(IMAGES, 24, SOUND)
    assert not [path for path in TEMP.iterdir() if path.name.startswith(".")]
    refused(lambda: write_frames(IMAGES[:0], 25), "is empty")
    refused(lambda: write_frames(IMAGES, 0.0), "makes no sense")


def sound_of_images_is_kept() -> None:
    import av

    with av.open(str(write_frames(IMAGES, 25, SOUND))) as container:
        found = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1).reshape(-1, 2)
    np.testing.assert_array_equal(found, SOUND["waveform"][0].numpy().T)
    refused(lambda: video.as_file(VideoFromFile("a.mp4"), audio=SOUND), "brings its own sound")


def videos_in_memory_have_one_file() -> None:
    made = VideoFromComponents(Types.VideoComponents(images=IMAGES, audio=SOUND, frame_rate=Fraction(29.97)))
    assert video.as_file(made) == video.as_file(made) == (write_frames(IMAGES, 29.97, SOUND), {})
    content = write_frames(IMAGES, 25).read_bytes()
    first, second = (video.as_file(VideoFromFile(BytesIO(content))) for _ in range(2))
    assert first == second and first[1] == {} and first[0].read_bytes() == content


def a_slice_of_a_video_stays_a_slice() -> None:
    """As newer ComfyUIs' Video Slice makes it: the file behind it is the whole one."""
    whole = write_frames(IMAGES, 25)

    class Windowed(VideoFromFile):
        window = (0.04, 0.08)

        def save_to(self, path):
            raise AssertionError("it has lost something by then")

        def get_active_trim_window(self):
            return self.window

        def get_components(self):
            return Types.VideoComponents(images=IMAGES[3:], audio=None, frame_rate=Fraction(25))

    class Private(VideoFromFile):
        pass

    windowed, private = Windowed(str(whole)), Private(str(whole))
    private._VideoFromFile__start_time, private._VideoFromFile__duration = 0.04, 0.08
    for sliced in (windowed, private):
        path, part = video.as_file(sliced)
        assert path == whole and part == {"start": 0.04, "length": 0.08}
        np.testing.assert_array_equal(pictures(path, **part), pictures(whole)[1:3])
    assert video.as_file(VideoFromFile(str(whole))) == (whole, {})
    windowed.window = (0.0, 0.0)
    assert video.as_file(windowed) == (whole, {})
    windowed.window = (0.08, 0)
    assert video.as_file(windowed) == (whole, {"start": 0.08, "length": None})
    windowed.window = (-0.08, 0)  # the last part
    path, part = video.as_file(windowed)
    assert path == whole and part == {"start": 0.12, "length": None}
    np.testing.assert_array_equal(pictures(path, **part), pictures(whole)[3:])
    windowed.window, windowed._VideoFromFile__crop = (0.0, 0.0), (0, 0, 8, 8)
    assert video.as_file(windowed) == (write_frames(IMAGES[3:], 25), {})  # an older host has no other way


class Joined(VideoFromFile.__mro__[1]):
    """Several videos one after another, as newer ComfyUIs have them: no file, and written frame by frame."""

    def __init__(self, *parts) -> None:
        self.parts = parts

    def get_components(self):
        raise AssertionError("all frames at once")

    def as_trimmed(self, *_, **__):
        return None

    def save_to(self, path, format=None, codec=None, metadata=None, bit_depth=None, crf=None, color_space=None) -> None:
        assert crf == 0
        with open_video(self.parts[0]) as first:
            info = first.info
        with VideoWriter(path, replace(info, frames=None, duration=None), quality=crf) as writer:
            for number, part in enumerate(self.parts):
                with open_video(part) as reader:
                    for frame in reader:
                        frame.pts += number * round(reader.info.duration / reader.info.time_base)
                        writer.write(frame)


def what_is_no_file_is_written_frame_by_frame() -> None:
    one, two = write_clip(TEMP / "one.mkv", 3, codec="h264"), write_clip(TEMP / "two.mkv", 4, codec="h264")
    (path, part), again = video.as_file(Joined(one, two)), video.as_file(Joined(one, two))
    assert again == (path, part) and part == {} and folders.is_temporary(path.resolve())
    np.testing.assert_array_equal(pictures(path), np.concatenate([pictures(one), pictures(two)]))
    assert not [name for name in TEMP.iterdir() if name.suffix == ".mp4" and name != path]

    class Fails(Joined):
        def save_to(self, path, crf=None) -> None:
            raise ValueError("two sizes")

    refused(lambda: video.as_file(Fails(one)), "(two sizes); connect its images and sound instead")


def depth_and_colour_are_kept() -> None:
    """Of frames that lie in memory, and of a file, through Encode and Decode."""
    import av

    ramp = torch.linspace(0, 1, 1024).reshape(1, 1, 1024, 1).expand(2, 4, 1024, 3).contiguous()
    deep = write_frames(ramp, 25, bits=10)
    with av.open(str(deep)) as container:
        frames = [frame.to_ndarray(format="gbrp10le") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(frames[0][0, :, 0], np.arange(1024))
    if not hasattr(VideoFromFile, "get_color_space"):
        return  # an older ComfyUI
    parts = Types.VideoComponents(images=ramp, audio=None, frame_rate=Fraction(25))
    assert video.as_file(VideoFromComponents(parts, bit_depth=10)) == (deep, {}) != video.as_file(VideoFromComponents(parts))
    with tiny() as model:
        images, path = frames_of(write_clip(TEMP / "c.mkv", 2)), TEMP / "hdr.mp4"
        VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(25))).save_to(str(path), color_space="HDR")
        source, part = video.as_file(VideoFromFile(str(path)))
        clip = encode(source, model, steps=1, **part)
        result = executed(nodes.DecodeDDIM, clip, model, "transfer", 18, 0, 0, False)[0].args[0]
        for made in (result, video.VideoPart(path, 0.04)):
            out = TEMP / "saved.mp4"
            made.save_to(str(out))
            for one in (made, VideoFromFile(str(out))):
                assert (one.get_bit_depth(), one.get_color_space()) == (10, "HDR")


def encoding_asks_for_the_detector_and_says_what_is_not_used() -> None:
    asked = []

    def noted(source, model, **settings):
        asked.append(settings)
        return clip

    usual = (25.0, 64)
    with tiny() as model:
        clip = encode(write_clip(TEMP / "a.mkv", 2), model, steps=1)
        for settings, detector, face in (
            ({}, None, "largest"),
            ({"detector": "own"}, None, "reference"),
            ({"detector": "insightface"}, "insightface", "position"),
        ):
            with patch("dva_core.pipeline.encode", noted):
                _, said = executed(
                    nodes.EncodeDecomposed, model, 1, "ddim", face, 0.5, 0.5, 0, 0, *usual, images=IMAGES, reference=IMAGES[:1], **settings
                )
            assert asked[-1].get("detector") == detector
            unused = face != "reference"
            assert ("The reference picture is not used: set face to reference." in said[0][0]) == unused == (said[0][1] == logging.WARNING)
            assert ("set face to reference" in said[-1][0]) == unused


def the_seed_counts_for_random_noise_alone() -> None:
    with tiny() as model:
        clip = encode(write_clip(TEMP / "a.mkv", 3), model, steps=1)
        off, same, on, other = (
            executed(nodes.SwitchFeatures, clip, model, True, False, False, noise, seed, other=clip)[0].args[0]
            for noise, seed in ((False, 1), (False, 2), (True, 1), (True, 2))
        )
    assert off.operations == same.operations and on.operations != other.operations
    np.testing.assert_array_equal(off.x_T[:], same.x_T[:])
    assert not np.array_equal(on.x_T[:], other.x_T[:])


def frames_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(pictures(path)).float() / 255


def a_saved_clip_keeps_a_source_that_would_be_thrown_away() -> None:
    with tiny() as model:
        images = frames_of(write_clip(Path(BASE.name) / "clip.mkv", 3))
        source = write_frames(images, 25)
        clip = encode(source, model, steps=STEPS)
        result, said = executed(nodes.SaveDecomposition, clip, "kept/a")
        saved = Path(result.args[0])
        kept = saved.parent / source.name
        assert kept.read_bytes() == source.read_bytes() and f"its source {kept.name}" in said[-1][0]
        source.unlink()
        loaded = Decomposition.load(saved)
        assert loaded.find_source() == kept
        assert executed(nodes.DecodeDDIM, loaded, model, "transfer", 0, 0, 0, False)[0].args[1].shape[0] == 3
        again, _ = executed(nodes.SaveDecomposition, loaded, "kept/b")  # there already
        assert Decomposition.load(again.args[0]).find_source() == kept and len(list(kept.parent.glob("*.mkv"))) == 1
        kept.rename(Path(BASE.name) / "gone.mkv")
        refused(loaded.find_source, "is not there")
        _, said = executed(nodes.SaveDecomposition, clip, "kept/c")
        assert "is not there; without it the decomposition cannot be decoded" in said[-1][0]
        # the name is another video's
        (TEMP / "video.mkv").write_bytes((Path(BASE.name) / "gone.mkv").read_bytes())
        (OUTPUT / "kept" / "video.mkv").write_bytes(b"another")
        renamed = replace(clip, info=replace(clip.info, source=str((TEMP / "video.mkv").resolve())))
        result, _ = executed(nodes.SaveDecomposition, renamed, "kept/d")
        assert source_hash(Decomposition.load(result.args[0]).find_source()) == clip.info.sha256
        # a video that stays where it is is not copied
        stays = encode(Path(BASE.name) / "clip.mkv", model, steps=STEPS)
        result, _ = executed(nodes.SaveDecomposition, stays, "stays/a")
        assert Decomposition.load(result.args[0]).find_source().name == "clip.mkv" and not list((OUTPUT / "stays").glob("*.mkv"))
    shutil.rmtree(OUTPUT / "kept")


def the_same_frames_can_be_handed_over_again() -> None:
    with tiny() as model:
        images = frames_of(write_clip(Path(BASE.name) / "clip.mkv", 3))
        source = write_frames(images, 23.976, SOUND)
        clip, usual = encode(source, model, steps=STEPS), ("transfer", 0, 0, 0, False)
        source.unlink()
        refused(lambda: executed(nodes.DecodeDDIM, clip, model, *usual), "to source images and source audio")
        refused(
            lambda: executed(nodes.DecodeDDIM, clip, model, *usual, images=images), "is not the video this decomposition was encoded from"
        )
        result, _ = executed(nodes.DecodeDDIM, clip, model, *usual, images=images, audio=SOUND)
        with open_video(result.args[0].get_stream_source()) as reader:
            assert reader.info.has_audio and reader.count_frames() == 3
        source.unlink()
        made = VideoFromComponents(Types.VideoComponents(images=images, audio=SOUND, frame_rate=Fraction(23.976)))
        assert video.source_of(clip, made) == source


def the_players_copy_is_made_once_and_tells_how_far_it_is() -> None:
    told = []

    class Told(status.NodeProgress):
        def __call__(self, phase, done, total, preview=None):
            told.append((phase, done, total))
            super().__call__(phase, done, total, preview)

    with tiny() as model, patch.object(status, "NodeProgress", Told):
        clip = encode(write_clip(TEMP / "b.mkv", 4), model, steps=STEPS)
        pages = [executed(nodes.DecodeDDIM, clip, model, "transfer", 0, 0, 0, True)[0].ui for _ in range(2)]
        assert [step for step in told if step[0] == "compare"] == [("compare", i, 4) for i in range(4)]
        (first,), (second,) = (page["dva_before"] for page in pages)
        assert first == second and first["rate"] == 25.0 and "dva_rate" not in pages[0]
        part = encode(TEMP / "b.mkv", model, steps=STEPS, max_frames=2)
        assert decode.plain_copy(TEMP / "b.mkv", part.info).name != first["filename"]


CHECKS = [
    the_same_frames_give_the_same_bytes,
    sound_of_images_is_kept,
    videos_in_memory_have_one_file,
    a_slice_of_a_video_stays_a_slice,
    what_is_no_file_is_written_frame_by_frame,
    depth_and_colour_are_kept,
    encoding_asks_for_the_detector_and_says_what_is_not_used,
    the_seed_counts_for_random_noise_alone,
    a_saved_clip_keeps_a_source_that_would_be_thrown_away,
    the_same_frames_can_be_handed_over_again,
    the_players_copy_is_made_once_and_tells_how_far_it_is,
]

if __name__ == "__main__":
    run(CHECKS)
