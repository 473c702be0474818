"""As bare.py, and run with bare_videos.py: what nodes do with videos and decompositions."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import numpy as np
from bare import BASE, OUTPUT, TEMP, nodes, refused, status
from comfy_api.input_impl import VideoFromComponents
from comfy_api.latest import Types
from node_runs import IMAGES, SOUND, STEPS, executed, frames_of, tiny
from pack.nodes import decode, video
from pack.nodes.frames import write_frames
from standin import write_video

from dva_core.decomposition import Decomposition
from dva_core.decomposition.info import source_hash
from dva_core.pipeline import encode
from dva_core.video import open_video


def encoding_asks_for_the_detector_and_says_what_is_not_used() -> None:
    calls = []

    def note(source, model, **settings):
        calls.append(settings)
        return decomposition

    usual = (25.0, 64)
    with tiny() as model:
        decomposition = encode(write_video(TEMP / "a.mkv", 2), model, steps=1)
        for settings, detector, face in (
            ({}, None, "largest"),
            ({"detector": "own"}, None, "reference"),
            ({"detector": "insightface"}, "insightface", "position"),
        ):
            with patch("dva_core.pipeline.encode", note):
                _, messages = executed(
                    nodes.EncodeDecomposed, model, 1, "ddim", face, 0.5, 0.5, 0, 0, *usual, images=IMAGES, reference=IMAGES[:1], **settings
                )
            assert calls[-1].get("detector") == detector
            unused = face != "reference"
            assert (
                ("The reference picture is not used: set face to reference." in messages[0][0])
                == unused
                == (messages[0][1] == logging.WARNING)
            )
            assert ("set face to reference" in messages[-1][0]) == unused


def the_seed_counts_for_random_noise_alone() -> None:
    with tiny() as model:
        decomposition = encode(write_video(TEMP / "a.mkv", 3), model, steps=1)
        off, same, on, other = (
            executed(nodes.SwitchFeatures, decomposition, model, True, False, False, noise, seed, other=decomposition)[0].args[0]
            for noise, seed in ((False, 1), (False, 2), (True, 1), (True, 2))
        )
    assert off.operations == same.operations and on.operations != other.operations
    np.testing.assert_array_equal(off.x_T[:], same.x_T[:])
    assert not np.array_equal(on.x_T[:], other.x_T[:])


def a_saved_decomposition_keeps_a_source_that_would_be_thrown_away() -> None:
    with tiny() as model:
        images = frames_of(write_video(Path(BASE.name) / "video.mkv", 3))
        source = write_frames(images, 25)
        decomposition = encode(source, model, steps=STEPS)
        result, messages = executed(nodes.SaveDecomposition, decomposition, "kept/a")
        saved = Path(result.args[0])
        kept = saved.parent / source.name
        assert kept.read_bytes() == source.read_bytes() and f"its source {kept.name}" in messages[-1][0]
        source.unlink()
        loaded = Decomposition.load(saved)
        assert loaded.find_source() == kept
        assert executed(nodes.DecodeDDIM, loaded, model, "transfer", 0, 0, 0, False)[0].args[1].shape[0] == 3
        again, _ = executed(nodes.SaveDecomposition, loaded, "kept/b")  # there already
        assert Decomposition.load(again.args[0]).find_source() == kept and len(list(kept.parent.glob("*.mkv"))) == 1
        kept.rename(Path(BASE.name) / "gone.mkv")
        refused(loaded.find_source, "is not there")
        _, messages = executed(nodes.SaveDecomposition, decomposition, "kept/c")
        assert "is not there; without it the decomposition cannot be decoded" in messages[-1][0]
        # the name is another video's
        (TEMP / "video.mkv").write_bytes((Path(BASE.name) / "gone.mkv").read_bytes())
        (OUTPUT / "kept" / "video.mkv").write_bytes(b"another")
        renamed = replace(decomposition, info=replace(decomposition.info, source=str((TEMP / "video.mkv").resolve())))
        result, _ = executed(nodes.SaveDecomposition, renamed, "kept/d")
        assert source_hash(Decomposition.load(result.args[0]).find_source()) == decomposition.info.sha256
        # a video that stays where it is is not copied
        stays = encode(Path(BASE.name) / "video.mkv", model, steps=STEPS)
        result, _ = executed(nodes.SaveDecomposition, stays, "stays/a")
        assert Decomposition.load(result.args[0]).find_source().name == "video.mkv" and not list((OUTPUT / "stays").glob("*.mkv"))
    shutil.rmtree(OUTPUT / "kept")


def the_same_frames_can_be_handed_over_again() -> None:
    with tiny() as model:
        images = frames_of(write_video(Path(BASE.name) / "video.mkv", 3))
        source = write_frames(images, 23.976, SOUND)
        decomposition, usual = encode(source, model, steps=STEPS), ("transfer", 0, 0, 0, False)
        source.unlink()
        refused(lambda: executed(nodes.DecodeDDIM, decomposition, model, *usual), "to source images and source audio")
        refused(
            lambda: executed(nodes.DecodeDDIM, decomposition, model, *usual, images=images),
            "is not the video this decomposition was encoded from",
        )
        result, _ = executed(nodes.DecodeDDIM, decomposition, model, *usual, images=images, audio=SOUND)
        with open_video(result.args[0].get_stream_source()) as reader:
            assert reader.info.has_audio and reader.count_frames() == 3
        source.unlink()
        in_memory = VideoFromComponents(Types.VideoComponents(images=images, audio=SOUND, frame_rate=Fraction(23.976)))
        assert video.source_of(decomposition, in_memory) == source


def the_players_copy_is_made_once_and_tells_how_far_it_is() -> None:
    steps = []

    class Counted(status.NodeProgress):
        def __call__(self, phase, done, total, preview=None):
            steps.append((phase, done, total))
            super().__call__(phase, done, total, preview)

    with tiny() as model, patch.object(status, "NodeProgress", Counted):
        decomposition = encode(write_video(TEMP / "b.mkv", 4), model, steps=STEPS)
        pages = [executed(nodes.DecodeDDIM, decomposition, model, "transfer", 0, 0, 0, True)[0].ui for _ in range(2)]
        assert [step for step in steps if step[0] == "compare"] == [("compare", i, 4) for i in range(4)]
        (first,), (second,) = (page["dva_before"] for page in pages)
        assert first == second and first["rate"] == 25.0 and "dva_rate" not in pages[0]
        part = encode(TEMP / "b.mkv", model, steps=STEPS, max_frames=2)
        assert decode.plain_copy(TEMP / "b.mkv", part.info).name != first["filename"]


CHECKS = [
    encoding_asks_for_the_detector_and_says_what_is_not_used,
    the_seed_counts_for_random_noise_alone,
    a_saved_decomposition_keeps_a_source_that_would_be_thrown_away,
    the_same_frames_can_be_handed_over_again,
    the_players_copy_is_made_once_and_tells_how_far_it_is,
]
