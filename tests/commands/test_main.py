"""What is common to all commands: mistakes in one sentence, signals, arguments handed on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dva_core.commands import edit as edit_command
from dva_core.commands import main as cli

from .answers import YOUNG, refused

ROOT = Path(cli.__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("bright_finder")


@pytest.mark.parametrize("command", [("edit", *YOUNG, "-o", "out.mp4"), ("encode", "-o", "out.safetensors")])
def test_interrupted_it_leaves_nothing(call, video, tmp_path, monkeypatch, command):
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}  # nohup ignores one, a background shell another
    try:
        for number in usual:

            def interrupt(self, phase, done, total, preview=None, number=number):
                if phase == "encode":
                    os.kill(os.getpid(), number)
                    time.sleep(5)  # the signal comes first

            monkeypatch.setattr(edit_command.Bars, "__call__", interrupt)
            code, _, err = call(command[0], video, *command[1:], "--steps", 2)
            assert code == 130 and "Interrupted" in err and "Traceback" not in err
            assert not list(tmp_path.iterdir())
        assert {number: signal.getsignal(number) for number in usual} == usual
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.signals_as_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_train_gets_its_own_arguments(call, monkeypatch):
    import types

    calls = []
    monkeypatch.setitem(sys.modules, "dva_core.commands.train", types.SimpleNamespace(main=calls.append))
    assert cli.main(["train", "diffusion", "--lr", "-1", "--help"]) == 0
    assert calls == [["diffusion", "--lr", "-1", "--help"]]


def test_an_unknown_command_is_one_sentence(call):
    refused(call("edti"), "edti")
    assert cli.main([]) == 2


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "dva_core", "edit", str(tmp_path / "none.mp4"), *YOUNG, "-o", str(tmp_path / "out.mp4")]
    missing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1 and "none.mp4" in missing.stderr
    assert not list(tmp_path.iterdir())


def test_training_complains_in_one_sentence_too(capsys):
    for words in (["train"], ["train", "diffusion", "--people", "x"], ["train", "nothing"], ["train", "prepare", "a.mp4", "--no-such"]):
        assert cli.main(words) == 2
        printed = capsys.readouterr()
        assert not printed.out and len(printed.err.splitlines()) == 1 and "--help` explains." in printed.err


def test_an_empty_path_is_not_the_current_folder(call, tmp_path, capsys):
    for words in ("encode | -o a.safetensors", "train prepare | -o out", "edit a.mp4 --output=", "evaluate switch a b -o |"):
        assert cli.main(["" if word == "|" else word for word in words.split()]) == 2
        assert "is empty" in capsys.readouterr().err and not list(tmp_path.iterdir())
