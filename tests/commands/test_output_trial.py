"""The output is tried before the work begins."""

import av
import av.error
import pytest
from video_helpers import damaged as damaged_video
from video_helpers import make_video

from dva_core.commands import edit as edit_command
from dva_core.commands import main as cli
from dva_core.commands import options
from dva_core.errors import DVAError

from .answers import YOUNG, refused

pytestmark = pytest.mark.usefixtures("bright_finder")


@pytest.fixture
def analysed(monkeypatch):
    """Whether the video was taken apart: none of these tests waits for that."""
    begun = []

    def stop(*_, **__):
        begun.append(True)
        raise DVAError("Stopped here.")

    monkeypatch.setattr(edit_command, "encode", stop)
    return begun


def test_pictures_that_ffmpeg_will_not_encode_are_refused_before_the_analysis(call, video, tmp_path, monkeypatch, analysed):
    def refuse(self, packets):
        raise av.error.ExternalError(542398533, "Generic error in an external library")

    monkeypatch.setattr("dva_core.video.writer._FileSink._mux", refuse)
    refused(call("edit", video, "-o", "a.mp4", *YOUNG), "FFmpeg cannot encode", "(Generic error in an external library)", "another codec")
    assert not analysed and not list(tmp_path.iterdir())


def test_sound_that_will_be_missing_is_said_before_the_analysis_and_once(call, tmp_path, caplog, analysed):
    source = make_video(tmp_path / "a.mkv", 10, sound="flac")
    bad = damaged_video(source, tmp_path / "bad.mkv", "audio")
    code, _, err = call("edit", bad, "-o", "out.mp4", "--compatible", *YOUNG)
    assert code == 2 and analysed and "Stopped here" in err
    assert [r.getMessage().split(":")[0] for r in caplog.records if "sound" in r.getMessage()] == ["the sound (flac) is left out"]
    once = cli.WarnOnce()
    assert [once.filter(record) for record in (caplog.records[-1], caplog.records[-1])] == [True, False]


def test_a_sound_encoder_that_does_not_open_is_said_before_the_analysis(call, tmp_path, caplog, monkeypatch, analysed):
    monkeypatch.setattr("dva_core.video.audio._add_encoder", lambda *_: av.CodecContext.create("no_such_encoder", "w"))
    source = make_video(tmp_path / "a.mkv", 4, sound="flac")
    assert call("edit", source, "-o", "out.mp4", "--compatible", *YOUNG)[0] == 2 and analysed
    assert "track 1, sound, is left out" in caplog.text and "name the output .mkv, or convert the sound first" in caplog.text


def test_a_decomposition_kept_undecoded_tries_no_output(call, video, monkeypatch, analysed):
    monkeypatch.setattr(options, "try_output", lambda *_, **__: pytest.fail("nothing is encoded here"))
    assert call("edit", video, "-o", "a.safetensors", *YOUNG)[0] == 2 and analysed
