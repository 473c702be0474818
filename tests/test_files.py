"""Files written all or nothing, where their names lead to, by one writer at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.files import Partial, atomic_write, check_place, temporary_folder
from dva_core.video.images import save_picture

KILLED = """
import sys, time
from dva_core.files import Partial
from dva_core.decomposition.tensorfile import Spec, TensorFile
store = TensorFile.create(sys.argv[1], {"a": Spec.of("f4", 1000)}, {})
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def another(tmp_path):
    """Starts another program that is writing `path`; it lives until the test kills it."""
    running = []

    def start(path):
        running.append(subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "ready\n"
        return running[-1]

    yield start
    for program in running:
        program.kill()
        program.wait()
        program.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
    for path, folder, said in (
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
        with pytest.raises(DVAError, match=said) as error:
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


def test_what_a_killed_program_left_goes_with_the_next_file(tmp_path, another):
    program = another(tmp_path / "large.safetensors")
    alive = another(tmp_path / "other.safetensors")
    program.kill()
    program.wait()
    with atomic_write(tmp_path / "small.txt") as partial:
        partial.write_text("whole")
    assert len(names(tmp_path)) == 2 and "small.txt" in names(tmp_path)  # the one that lives keeps its own
    assert alive.poll() is None


def test_a_temporary_folder_goes_also_where_the_last_one_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os\nfrom dva_core.files import temporary_folder\nwith temporary_folder() as f:\n (f / 'x').touch()\n os._exit(0)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, check=True)
    assert len(names(tmp_path)) == 1
    with temporary_folder() as folder:
        (folder / "y").touch()
        assert names(tmp_path) == [folder.name]
    assert not names(tmp_path)


def test_what_an_older_version_left_of_a_file_goes_once_it_is_a_day_old(tmp_path):
    head = (200).to_bytes(8, "little") + b'{"__metadata__":{"format":"dva-decomposition"'
    state = (200).to_bytes(8, "little") + b'{"__metadata__":{"state":"{}"},"optimiser.a":'
    ours = {
        "a.safetensors": ("a.safetensors.partial", head),
        "state.safetensors": ("state.partial", state),
        "b.safetensors": (".b.safetensors.4711.partial", b""),
        "c.mp4": (".c.mp4.00ff00ff.part", b"half"),
        "frames": (".frames.00ff00ff.part/.dva_frames", b""),
        "other": (".other.00ff00ff.old/.dva_frames", b""),
    }
    foreign = {
        "a.safetensors": ("another.safetensors.partial", head),  # of another place
        "d.safetensors": ("d.safetensors.partial", b"what a browser is loading"),
        "e.mp4": (".e.mp4.backup.part", b""),
        "f.mp4": (".f.mp4.1.old", b""),
        "g": (".g.00ff00ff.part/picture.png", b""),
        "h": (".h.00ff00ff.old/.dva_frames", b""),  # all there is of h
    }
    (tmp_path / "other").mkdir()
    for name, content in [*ours.values(), *foreign.values()]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = names(tmp_path)
    for place in (*ours, *foreign):
        check_place(tmp_path / place, folder=(tmp_path / place).is_dir())
    assert names(tmp_path) == before  # somebody may be at work on them
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    for place in (*ours, *foreign):
        check_place(tmp_path / place, folder=(tmp_path / place).is_dir())
    assert set(before) - set(names(tmp_path)) == {name.partition("/")[0] for name, _ in ours.values()}


def test_a_folder_that_had_to_give_way_comes_back_where_the_program_was_killed_in_between(tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "first").touch()
    code = """
import os, pathlib, sys
from dva_core.files import Partial
partial = Partial(sys.argv[1])
partial.path.mkdir()
pathlib.Path.rename = lambda path, to, rename=pathlib.Path.rename: os._exit(0) if path.name == "_" else rename(path, to)
partial.put()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "frames")], check=True)
    assert "frames" not in names(tmp_path)
    with atomic_write(tmp_path / "another") as partial:
        partial.touch()
    assert names(tmp_path) == ["another", "frames"] and names(tmp_path / "frames") == ["first"]
