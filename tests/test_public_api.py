"""The names others build on, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import ROOT

import dva_core

HOMES = {
    "load_model": "dva_core.model.loader",
    "find_models": "dva_core.model.bundle",
    "encode": "dva_core.pipeline.encoding",
    "decode": "dva_core.pipeline.decoding",
    "Decomposition": "dva_core.decomposition.decomposition",
    "DVAError": "dva_core.errors",
}
MODULES = {"edit": "dva_core.edit", "ddim": "dva_core.diffusion.ddim", "errors": "dva_core.errors"}


@pytest.mark.parametrize("name", HOMES)
def test_public_names(name):
    assert getattr(dva_core, name).__module__ == HOMES[name]


@pytest.mark.parametrize("name", MODULES)
def test_public_modules(name):
    assert getattr(dva_core, name) is sys.modules[MODULES[name]]


def test_the_list_of_names_is_whole():
    assert set(dva_core.__all__) == {*HOMES, *MODULES} <= set(dir(dva_core))
    assert all(find_spec(module) for module in {*HOMES.values(), *MODULES.values()})
    with pytest.raises(AttributeError, match="has no attribute 'lode_model'"):
        _ = dva_core.lode_model


def test_what_the_methods_stand_on():
    from dva_core import ddim

    assert callable(ddim.invert) and callable(ddim.sample)
    assert callable(dva_core.edit.apply_attributes)
    assert callable(dva_core.Decomposition.load) and callable(dva_core.Decomposition.save)
    assert issubclass(dva_core.DVAError, ValueError)


def test_importing_is_light():
    """`import dva_core` alone brings in none of what is heavy."""
    code = "import sys, dva_core; print([m for m in ('torch', 'numpy', 'cv2', 'av', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_needs_no_optional_package():
    """The library stands on torch, numpy, safetensors, av, opencv, scipy; what else there is, is imported where used."""
    optional = ("insightface", "onnx", "onnxruntime", "open_clip", "torchvision", "skimage", "sklearn", "pytorch_lightning", "comfy")
    code = f"import sys; sys.modules.update(dict.fromkeys({optional!r})); import dva_core; [getattr(dva_core, n) for n in dva_core.__all__]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_version():
    """For the installer and for the registry, which reads it from the file's text."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project and 'version = { attr = "dva_core.version.__version__" }' in project
    assert '[tool.comfy.version]\npath = "dva_core/version.py"' in project and dva_core.__version__ not in project
    assert f'__version__ = "{dva_core.__version__}"' in (ROOT / "dva_core" / "version.py").read_text(encoding="utf-8").splitlines()
