"""Fixtures of the commands: `call` runs one as a program would be, with the tiny model and the stand-in finder."""

import pytest
from bundles import write_tiny
from standin import use_stand_in, write_clip

from dva_core.commands import main as cli
from dva_core.model.loader import load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def finder(monkeypatch, tiny):
    use_stand_in(monkeypatch, load_model(tiny, device="cpu"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mkv", 4)


@pytest.fixture
def call(capsys, tiny, monkeypatch, tmp_path):
    """`call("edit", ...)` -> (exit code, stdout, stderr), with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, model=tiny):
        with_model = argv[0] in ("edit", "encode", "decode", "sheet", "preview", "expression")
        own = ["--model", str(model), "--device", "cpu"] if with_model else []
        code = cli.main([str(word) for word in (argv[0], *own, *argv[1:])])
        out, err = capsys.readouterr()
        return code, out, err

    return run
