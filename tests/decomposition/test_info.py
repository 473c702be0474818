"""What a video remembers of its source: a file, or the pictures of a folder and nothing else in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dva_core.decomposition.info import is_source, source_hash
from dva_core.errors import DVAError


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "frames"
    made.mkdir()
    for number in (1, 2, 10):
        (made / f"{number}.png").write_bytes(bytes([number]))
    return made


def as_once(folder: Path) -> str:
    """The digest that videos kept at first: of every file, by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def test_what_else_lies_in_the_folder_does_not_matter(folder):
    first = source_hash(folder)
    for name in (".DS_Store", "Thumbs.db", "decomposed.safetensors", "out.mp4", ".hidden.png"):
        (folder / name).write_bytes(b"x")
    assert source_hash(folder) == first and is_source(folder, first)
    (folder / "11.png").write_bytes(b"x")
    assert source_hash(folder) != first and not is_source(folder, first)


def test_the_order_is_that_of_the_frames(folder):
    assert source_hash(folder) == hashlib.sha256(b"1.png\0\x01" + b"2.png\0\x02" + b"10.png\0\x0a").hexdigest()


def test_decompositions_of_folders_made_before_are_still_recognised(folder):
    (folder / ".dva_frames").touch()
    once = as_once(folder)
    assert once != source_hash(folder) and is_source(folder, once)
    (folder / "2.png").write_bytes(b"x")
    assert not is_source(folder, once)


def test_names_need_not_be_utf_8(folder):
    first = source_hash(folder)
    try:
        os.rename(os.fsencode(folder / "2.png"), os.fsencode(folder) + b"/2\xff.png")  # noqa: PTH104 (bytes)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert source_hash(folder) not in ("", first) and is_source(folder, source_hash(folder))


def test_a_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert source_hash(tmp_path / "a.mp4") == digest and is_source(tmp_path / "a.mp4", digest)
    assert not is_source(tmp_path / "a.mp4", "0" * 64)


def test_what_cannot_be_read_is_a_sentence(folder, tmp_path):
    with pytest.raises(DVAError, match=r"none\.mp4"):
        source_hash(tmp_path / "none.mp4")
    for picture in folder.iterdir():
        picture.unlink()
    with pytest.raises(DVAError, match="holds no images"):
        source_hash(folder)
