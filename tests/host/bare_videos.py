"""As bare.py: where videos come from, and what of them is kept."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import numpy as np
import torch
from bare import TEMP, folders, nodes, refused, run
from bare_nodes import CHECKS as NODE_CHECKS
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest import Types
from node_runs import IMAGES, SOUND, executed, frames_of, tiny
from pack.nodes import video
from pack.nodes.frames import write_frames
from standin import write_video
from video_helpers import pictures

from dva_core.pipeline import encode
from dva_core.video import VideoWriter, open_video


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
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1).reshape(-1, 2)
    np.testing.assert_array_equal(samples, SOUND["waveform"][0].numpy().T)
    refused(lambda: video.as_file(VideoFromFile("a.mp4"), audio=SOUND), "brings its own sound")


def videos_in_memory_have_one_file() -> None:
    in_memory = VideoFromComponents(Types.VideoComponents(images=IMAGES, audio=SOUND, frame_rate=Fraction(29.97)))
    assert video.as_file(in_memory) == video.as_file(in_memory) == (write_frames(IMAGES, 29.97, SOUND), {})
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
    one, two = write_video(TEMP / "one.mkv", 3, codec="h264"), write_video(TEMP / "two.mkv", 4, codec="h264")
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
        images, path = frames_of(write_video(TEMP / "c.mkv", 2)), TEMP / "hdr.mp4"
        VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(25))).save_to(str(path), color_space="HDR")
        source, part = video.as_file(VideoFromFile(str(path)))
        decomposition = encode(source, model, steps=1, **part)
        result = executed(nodes.DecodeDDIM, decomposition, model, "transfer", 18, 0, 0, False)[0].args[0]
        for output in (result, video.VideoPart(path, 0.04)):
            out = TEMP / "saved.mp4"
            output.save_to(str(out))
            for one in (output, VideoFromFile(str(out))):
                assert (one.get_bit_depth(), one.get_color_space()) == (10, "HDR")


CHECKS = [
    the_same_frames_give_the_same_bytes,
    sound_of_images_is_kept,
    videos_in_memory_have_one_file,
    a_slice_of_a_video_stays_a_slice,
    what_is_no_file_is_written_frame_by_frame,
    depth_and_colour_are_kept,
]

if __name__ == "__main__":
    run([*CHECKS, *NODE_CHECKS])
