"""What killed programs leave behind is removed by the next writer."""

from __future__ import annotations

import os
import subprocess
import sys

from writers import another, names

from dva_core.files import atomic_write, check_place, temporary_folder

__all__ = ["another"]


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


def test_a_folder_of_many_results_is_listed_once_a_write_and_its_results_are_not_looked_at(tmp_path, monkeypatch):
    for number in range(50):
        (tmp_path / f"video_{number}.mp4").touch()
    listed, looked_at = [], []
    listdir, stat, scandir = os.listdir, os.stat, os.scandir
    monkeypatch.setattr(os, "listdir", lambda path=".": (listed.append(str(path)), listdir(path))[1])
    monkeypatch.setattr(os, "scandir", lambda path=".": (listed.append(str(path)), scandir(path))[1])
    monkeypatch.setattr(os, "stat", lambda path, **more: (looked_at.append(str(path).rpartition(os.sep)[2]), stat(path, **more))[1])
    with atomic_write(tmp_path / "video_51.mp4") as partial:
        partial.touch()
    assert listed.count(str(tmp_path)) == 1
    assert not {f"video_{number}.mp4" for number in range(50)} & set(looked_at)
