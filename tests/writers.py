"""Another program that is writing a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KILLED = """
import sys
from dva_core.files import Partial
from dva_core.decomposition.header import Spec
from dva_core.decomposition.tensorfile import TensorFile
store = TensorFile.create(sys.argv[1], {"a": Spec.of("f4", 1000)}, {})
print("ready", flush=True)
sys.stdin.read()  # until it is killed, or the test is
"""


@pytest.fixture
def another(tmp_path):
    """Starts another program that is writing `path`; it lives until the test kills it."""
    running = []

    def start(path):
        running.append(
            subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert running[-1].stdout.readline() == "ready\n"
        return running[-1]

    yield start
    for program in running:
        program.kill()
        program.wait()
        program.stdin.close()
        program.stdout.close()


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())
