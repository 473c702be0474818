"""What paths name, and that nothing that is read is written over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.errors import DVAError, MissingFileError
from dva_core.files import check_input, check_spares, file_names, resolve_link, same


def test_links_are_followed_and_other_paths_stay_as_they_are(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(tmp_path / "disk" / "c")
    assert resolve_link(tmp_path / "a") == tmp_path.resolve() / "disk" / "c"
    assert resolve_link("other") == Path("other")
    assert resolve_link(".") == Path.cwd()
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    with pytest.raises(DVAError, match="back to itself"):
        resolve_link(tmp_path / "x")


def test_inputs_that_cannot_be_read_twice_are_refused(tmp_path):
    os.mkfifo(tmp_path / "p.mpg")
    for path, message in (("", "is empty"), (tmp_path / "p.mpg", "a pipe"), ("/dev/null", "a device"), (tmp_path / "none", "no file")):
        with pytest.raises(DVAError, match=message):
            check_input(path)
    with pytest.raises(DVAError, match="too long"):
        check_input(tmp_path / ("é" * 300))
    with pytest.raises(MissingFileError) as error:
        check_input(tmp_path / "none")
    assert isinstance(error.value, FileNotFoundError) and str(error.value) == f"There is no file {tmp_path / 'none'}; check the path."
    assert check_input(tmp_path) == tmp_path


@pytest.mark.parametrize("how", ["itself", "link", "hard link", "relative", "link to its folder", "link in a link"])
def test_nothing_that_is_read_is_written_over(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    read = tmp_path / "in" / "face.mp4"
    read.write_bytes(b"precious")
    other = tmp_path / "other.mp4"
    if how == "link":
        other.symlink_to(read)
    elif how == "hard link":
        other.hardlink_to(read)
    elif how == "link to its folder":
        (tmp_path / "door").symlink_to("in")
        other = tmp_path / "door" / "face.mp4"
    elif how == "link in a link":
        (tmp_path / "step").symlink_to(read)
        other.symlink_to("step")
    else:
        other = read if how == "itself" else Path("in/../in/face.mp4")
    with pytest.raises(DVAError, match="would overwrite"):
        check_spares(other, "output", [None, tmp_path / "missing", read])


def test_where_the_case_of_letters_does_not_count(tmp_path, monkeypatch):
    """As macOS and Windows answer: one file under both names."""
    read = tmp_path / "Face.MP4"
    read.write_bytes(b"precious")
    real = Path.stat

    def stat(self, **options):
        return real(read if self.name.lower() == "face.mp4" else self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr("os.path.samefile", lambda a, b: str(a).lower() == str(b).lower())
    monkeypatch.setattr(Path, "samefile", lambda self, other: str(self).lower() == str(other).lower())
    with pytest.raises(DVAError, match="would overwrite"):
        check_spares(tmp_path / "face.mp4", "output", [read])


def test_folders_that_are_read_are_spared(tmp_path):
    (tmp_path / "frames" / "deep").mkdir(parents=True)
    video = tmp_path / "frames" / "deep" / "face.mp4"
    video.touch()
    with pytest.raises(DVAError, match="become one of the pictures"):
        check_spares(tmp_path / "frames" / "sheet.png", "picture", [tmp_path / "frames"])
    with pytest.raises(DVAError, match="replace the folder"):
        check_spares(tmp_path / "frames", "output", [video])
    check_spares(tmp_path / "frames" / "decomposed.safetensors", "output", [tmp_path / "frames"])
    assert not same(tmp_path / "none", tmp_path / "none")


@given(st.lists(st.text(max_size=5) | st.sampled_from(["a", "A", "a_2", "a/b", "a:b", "NUL.x", "..", "x" * 300]), max_size=6))
def test_names_become_files_of_their_own_that_every_system_takes(names):
    files = file_names(names, ".txt")
    assert len({file.casefold() for file in files}) == len(names)
    for file in files:
        assert not set(file) & set('\\/:*?"<>|\0\n') and len(os.fsencode(file)) < 250 and file[:-4].rstrip(". ") == file[:-4] != ""
