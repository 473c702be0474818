"""Fixtures of the commands: `call` runs one as a program would be, with the tiny model and the stand-in finder."""

import pytest
from standin import write_video

from dva_core.commands import main as cli

WITH_MODEL = ("edit", "encode", "decode", "sheet", "preview", "expression", "text", "direction")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", 4)


@pytest.fixture
def call(capsys, bundle, monkeypatch, tmp_path):
    """`call("edit", ...)` -> (exit code, stdout, stderr), with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, model=bundle):
        own = ["--model", str(model), "--device", "cpu"] if argv[0] in WITH_MODEL else []
        code = cli.main([str(word) for word in (argv[0], *own, *argv[1:])])
        out, err = capsys.readouterr()
        return code, out, err

    return run
