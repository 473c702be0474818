"""Shared fixtures: where the reference numbers and the test data lie."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bundles import write_tiny
from host.comfy_server import comfy_version, find_hosts
from hypothesis import HealthCheck, settings
from standin import use_stand_in, use_two

from dva_core.decomposition.tensorfile import TensorFile
from dva_core.model.loader import load_model

# the same examples every time, and no clock: the machines that run this are shared
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Before the counts: in how many ComfyUIs the host tests could have run, and in which they did."""
    yield
    hosts = [comfy_version(place) for place in find_hosts()]
    if hosts:
        terminalreporter.write_line(
            f"ComfyUI found: {len(hosts)} ({', '.join(hosts)}); its tests run in {hosts[0]}, in all by make test-host"
        )
    else:
        terminalreporter.write_line("NO COMFYUI WAS FOUND: NOTHING WAS TESTED INSIDE IT (set COMFYUI_DIR or COMFYUI_DIRS)")


@pytest.fixture(autouse=True)
def same_draws():
    """Tests that draw at random draw the same numbers in every run, in whatever order they come."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def usual_log():
    """A command that wants to hear more changes the package's log for its own test only."""
    log = logging.getLogger("dva_core")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The file of the tiny model."""
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(bundle):
    """The tiny model on the CPU, one for all tests of a file."""
    return load_model(bundle, device="cpu")


@pytest.fixture
def bright_finder(monkeypatch, model):
    """Every search for a face finds the bright one of `standin.write_video`."""
    use_stand_in(monkeypatch, model)


@pytest.fixture
def finder_of_two(monkeypatch):
    """Every search for faces finds the discs of `standin.write_two`, and tells them apart."""
    return use_two(monkeypatch)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def one_thread():
    """One evaluation at a time, as an actor has; with another number of threads sums are of another order."""
    with torch_threads(1):
        yield


@pytest.fixture
def disk_that_fills(monkeypatch):
    """No file of tensors gets further than its first 20,000 bytes."""
    write = TensorFile._write_at

    def fill(self, offset, data):
        if offset > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, offset, data)

    monkeypatch.setattr(TensorFile, "_write_at", fill)


def shared_dir() -> Path:
    """The folder with reference numbers, videos and teachers: $DVA_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get("DVA_SHARED", ROOT.parent / "shared"))


def need_shared(relative: str) -> Path:
    """Path under the shared folder; skips the test, saying why, where it is absent."""
    path = shared_dir() / relative
    if not path.exists():
        pytest.skip(f"{path} is not there (set DVA_SHARED to the shared folder)")
    return path


@pytest.fixture
def shared():
    """`shared("data/clips/swiz3n.mpg")` -> Path, or a skip that says what is missing."""
    return need_shared
