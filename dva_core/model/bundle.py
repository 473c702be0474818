"""The model file: one .safetensors with all networks, the configuration, licence and source.

Tensors: noise_predictor.*, fusion.{weight, bias}, identity_encoder.*, motion_encoder.*, and where the model has them face_parser.*,
detector.*, landmarks.*, attributes.identity.{weight [K, D], bias [K], mean [D], std [D]}, attributes.motion.shift [M, D_motion].
Metadata (strings): `config` (JSON, as `convert.published_config` shows), `licence`, `source`, `model_card`, `precision` and
`fingerprint`, the SHA-256 of configuration and tensors as stored. The fingerprint is written once and checked on every load,
so that a damaged file never runs, and a decomposition can name the model it was made with.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import DVAError, MissingFileError, one_line
from ..files import atomic_write
from ..hosts.devices import PRECISIONS
from .build import expected_tensors
from .checks import CURE, check_config, check_tensors

SHIPPED = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class BundleInfo:
    """The description of a model file. `problem` is empty, or a sentence about why the file cannot be used."""

    name: str
    path: Path
    source: str = ""
    licence: str = ""
    size_bytes: int = 0
    precision: str = ""
    image_size: int = 0
    parameters: int = 0
    attributes: tuple[str, ...] = ()
    fingerprint: str = ""
    model_card: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Header:
    """Configuration, metadata and the table of tensors (name -> shape), without the tensors."""

    config: dict[str, Any]
    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Bundle:
    """A whole model file, verified. The tensors are as stored and lie in a memory map of the file."""

    path: Path
    config: dict[str, Any]
    metadata: dict[str, str]
    tensors: dict[str, Tensor]

    @property
    def fingerprint(self) -> str:
        return self.metadata["fingerprint"]


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a CPU tensor, in row-major order and without a copy where it is contiguous."""
    return memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def fingerprint(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over the configuration and, by name, every tensor's name, type, shape and bytes, independent of the file's layout."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def to_storage(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a tensor for storage: weights of two and more dimensions to `dtype`, or float32 where that would overflow; the rest
    (biases, norms, running statistics: small, and sensitive) to float32."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    if tensor.ndim < 2 or (tensor.numel() and tensor.abs().max() > torch.finfo(dtype).max):
        return tensor.float()
    return tensor.to(dtype)


def write_bundle(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    config: dict[str, Any],
    *,
    licence: str,
    source: str,
    model_card: str = "",
    precision: str = "fp16",
) -> BundleInfo:
    """Write a model file atomically, and return its description.

    `tensors` are the state dict of DiffusionVideoAutoencoder(config), any float type; `precision` (fp32, fp16, bf16) is how the
    weights are stored. Raises DVAError for tensors that do not fit the configuration, values that are not finite, or a full disk.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise DVAError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if path.suffix != ".safetensors":
        raise DVAError(f"A model file needs a name that ends in .safetensors; call it {path.with_suffix('.safetensors')}.")
    config = json.loads(json.dumps(config))  # as it will be read back: tuples become lists
    check_tensors(tensors, expected_tensors(config, path), path)
    tensors = {
        name: to_storage(tensor, torch.float32 if name.startswith("attributes.") else PRECISIONS[precision])
        for name, tensor in tensors.items()
    }
    metadata = {
        "config": json.dumps(config),
        "licence": licence,
        "source": source,
        "model_card": model_card,
        "precision": precision,
        "fingerprint": fingerprint(config, tensors),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            save_file(tensors, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise DVAError(f"{path} cannot be written ({one_line(error)}); choose a folder with room that you may write to.") from error
    return bundle_info(path)


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Any]:
    """Open the safetensors file at `path`; the library's errors become DVAErrors."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        if path.exists():  # the library raises this for any file without permission
            raise DVAError(f"The model file {path} may not be read; change its permissions or choose another.") from error
        raise MissingFileError(
            f"There is no model file {path}; choose one that exists (`python -m dva_core models` lists them)."
        ) from error
    except (OSError, SafetensorError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        if is_pickle(path):
            cure = f"make a bundle of it with `python -m dva_core convert {path} -o BUNDLE.safetensors`"
            raise DVAError(f"{path} is a checkpoint in pickle form, which is never loaded; {cure}.") from error
        raise DVAError(f"{path} is damaged, cut short or no safetensors file ({one_line(error)}); {CURE}.") from error


def is_pickle(path: Path) -> bool:
    """Whether the file begins like a pickle, bare or in torch's zip."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    return False


def _header(file: Any, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Configuration and metadata of an open safetensors file."""
    metadata = file.metadata() or {}
    try:
        config = json.loads(metadata.get("config", "null"))
    except (ValueError, RecursionError) as error:
        raise DVAError(f"{path} has an unreadable configuration ({one_line(error)}); {CURE}.") from error
    check_config(config, path)
    if "fingerprint" not in metadata:
        raise DVAError(f"{path} has no fingerprint, so it was not written by this program or is damaged; {CURE}.")
    return config, metadata


def read_header(path: str | Path) -> Header:
    """Configuration, metadata and tensor shapes; reads the head of the file only. DVAError unless it is a bundle."""
    path = Path(path)
    with open_bundle(path) as file:
        config, metadata = _header(file, path)
        return Header(config, metadata, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118


def read_bundle(path: str | Path) -> Bundle:
    """Read the whole file and check its fingerprint. DVAError for a damaged or foreign file."""
    path = Path(path)
    with open_bundle(path) as file:
        config, metadata = _header(file, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if fingerprint(config, tensors) != metadata["fingerprint"]:
        raise DVAError(f"{path} is damaged: its content does not match its fingerprint; {CURE}.")
    return Bundle(path, config, metadata, tensors)


def check_bundle(path: str | Path) -> BundleInfo:
    """Read the whole file and check every tensor against the configuration. DVAError for the first that does not fit."""
    bundle = read_bundle(path)
    check_tensors(bundle.tensors, expected_tensors(bundle.config, bundle.path), bundle.path)
    return bundle_info(path)


def bundle_info(path: str | Path) -> BundleInfo:
    """Read the description of a bundle from its header. DVAError unless it is one."""
    path, header = Path(path), read_header(path)
    text = header.metadata.get
    return BundleInfo(
        name=path.stem,
        path=path,
        source=text("source", ""),
        licence=text("licence", ""),
        size_bytes=path.stat().st_size,
        precision=text("precision", ""),
        image_size=header.config["image_size"],
        parameters=sum(math.prod(shape) for shape in header.shapes.values()),
        attributes=tuple(attribute["name"] for attribute in header.config.get("attributes", [])),
        fingerprint=header.metadata["fingerprint"],
        model_card=text("model_card", ""),
    )


def user_data_folder() -> Path:
    """The platform's place for a program's data."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def model_folders() -> list[Path]:
    """Folders searched, in order: the package's own, those of $DVA_MODELS, the user's (~/.local/share/dva/models and the like)."""
    extra = [Path(entry).expanduser() for entry in os.environ.get("DVA_MODELS", "").split(os.pathsep) if entry]
    return list(dict.fromkeys([SHIPPED, *extra, user_data_folder() / "dva" / "models"]))


def model_files(folders: Iterable[str | Path] | None = None) -> dict[str, Path]:
    """Name (the file's, without .safetensors) -> path; the first folder that has a name wins."""
    files: dict[str, Path] = {}
    for folder in model_folders() if folders is None else map(Path, folders):
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            if path.is_file() and not path.name.startswith("."):
                files.setdefault(path.stem, path)
    return files


def find_models(folders: Iterable[str | Path] | None = None) -> list[BundleInfo]:
    """Find all models in the folders, by name; reads headers only. A file that cannot be used is listed with its `problem`."""
    models = []
    for name, path in sorted(model_files(folders).items()):
        try:
            models.append(bundle_info(path))
        except DVAError as error:
            models.append(BundleInfo(name, path, size_bytes=path.stat().st_size, problem=str(error)))
    return models


def resolve_model(name_or_path: str | Path, folders: Iterable[str | Path] | None = None) -> Path:
    """The file of a known name ("starter", with or without .safetensors) or of a path; DVAError says what there is instead."""
    folders = model_folders() if folders is None else [Path(folder) for folder in folders]
    files, text = model_files(folders), str(name_or_path)
    if isinstance(name_or_path, str) and text in files:
        return files[text]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise DVAError(f"{path} is a folder; name the .safetensors file in it, or add the folder to $DVA_MODELS and name the model.")
    if path.name == text and path.stem in files and path.suffix == ".safetensors":
        return files[path.stem]
    near = difflib.get_close_matches(path.stem, files, n=3)
    raise MissingFileError(
        f"There is no model {text!r}"
        + (f", did you mean {' or '.join(near)}" if near else "")
        + f"; there {'is ' + ', '.join(sorted(files)) if files else 'are none'} in {', '.join(map(str, folders))}"
        + ", where you may put a bundle made with `python -m dva_core convert CHECKPOINT -o BUNDLE.safetensors`."
    )
