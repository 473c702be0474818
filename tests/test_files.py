"""Files written all or nothing, where their names lead to."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.files import followed, replaced
from dva_core.sheet import save_picture


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with replaced(tmp_path / "a") as partial:
        partial.write_text("whole")
    with pytest.raises(KeyboardInterrupt), replaced(tmp_path / "b") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "whole"


def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    for name in ("a.txt", "a.png"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    with replaced(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    save_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "a.png").is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a.png", "a.txt"]
    assert followed(tmp_path / "a.txt") == (tmp_path / "disk" / "a.txt").resolve() and followed("other") == type(tmp_path)("other")


def test_an_interrupted_picture_leaves_nothing(tmp_path, monkeypatch):
    from PIL import Image

    def interrupted(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())
