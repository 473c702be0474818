"""Files written all or nothing, where their names lead to, by one writer at a time."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from writers import another, names

from dva_core.errors import DVAError
from dva_core.files import Partial, atomic_write, check_place
from dva_core.video.images import save_picture

__all__ = ["another"]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with atomic_write(tmp_path / "a") as partial:
        partial.write_text("whole")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "b") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "whole"


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    for text in ("first", "second"):
        partial = Partial(tmp_path / "frames")
        partial.path.mkdir()
        (partial.path / text).touch()
        partial.put()
        partial.close()
        assert names(tmp_path) == ["frames"] and names(tmp_path / "frames") == [text]


def test_a_file_has_the_permissions_of_a_new_one(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "a") as partial:
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT, 0o600))  # as the safetensors library makes it
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    for name in ("a.txt", "a.png"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    with atomic_write(tmp_path / "a.txt") as partial:
        assert partial.parent.parent == tmp_path / "disk"  # where the room is
        partial.write_text("whole")
    save_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "a.png").is_symlink()
    assert names(tmp_path / "disk") == ["a.png", "a.txt"]


def test_an_interrupted_picture_leaves_nothing(tmp_path, monkeypatch):
    from PIL import Image

    def interrupted(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert not names(tmp_path)


def test_the_longest_name_is_written_and_a_longer_one_refused_before(tmp_path):
    longest = "é" * 122 + ".mp4"
    assert len(os.fsencode(longest)) == 248
    check_place(tmp_path / longest)
    with atomic_write(tmp_path / longest) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == [longest]
    with pytest.raises(DVAError, match="too long"):
        check_place(tmp_path / ("é" * 128 + ".mp4"))


def test_places_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing/file")
    (tmp_path / "disk").symlink_to("/")
    for path, folder, message in (
        ("", False, "is empty"),
        ("a\0b", False, "null character"),
        (tmp_path / "missing" / "a", False, "missing.* does not exist"),
        (tmp_path / "nowhere", False, "missing.* does not exist"),
        (tmp_path / "file" / "a", False, "file.* does not exist"),
        (tmp_path / "folder", False, "is a folder"),
        (tmp_path / "file", True, "is a file"),
        (tmp_path / "pipe", False, "a pipe"),
        (tmp_path / "loop", False, "leads back to itself"),
        (tmp_path / "disk", True, "whole disk"),
    ):
        with pytest.raises(DVAError, match=message) as error:
            check_place(path, folder=folder)
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
    assert names(tmp_path) == ["disk", "file", "folder", "loop", "nowhere", "pipe"]


def test_only_one_writes_a_place(tmp_path, another):
    first = Partial(tmp_path / "a", alone=True)
    with pytest.raises(DVAError, match="being written by another run"):
        check_place(tmp_path / "a")
    Partial(tmp_path / "b", alone=True).close()  # another place is free
    first.close()
    check_place(tmp_path / "a")
    program = another(tmp_path / "a.safetensors")
    with pytest.raises(DVAError, match="being written by another run"):
        check_place(tmp_path / "a.safetensors")
    assert len(names(tmp_path)) == 1  # nor was anything of theirs removed
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert len(names(tmp_path)) == 1
    check_place(tmp_path / "a.safetensors")
    assert not names(tmp_path)
