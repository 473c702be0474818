"""Image-text models: CLIP by open_clip, from a file that is already here. Nothing is ever downloaded.

A model is named as in open_clip. Its weights lie in a folder `open_clip` beside the bundles, either as NAME.safetensors or
as a folder NAME with open_clip_config.json and open_clip_model.safetensors, the layout of Hugging Face.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import DVAError, MissingDependencyError, MissingFileError, one_line
from ..model.build import SkipInit
from ..model.bundle import model_folders
from ..networks.resample import interpolation_matrix

logger = logging.getLogger(__name__)

DEFAULT = "ViT-B-16-quickgelu"  # OpenAI's ViT-B/16 as the paper uses it: its weights were trained with the quick GELU
FOLDER, WEIGHTS, CONFIG = "open_clip", "open_clip_model.safetensors", "open_clip_config.json"
ONE_TOWER = ("vision_model.", "text_model.", "transformer.text_model.")  # prefixes of keys in files of clip_vision and text encoders


class ImageTextModel(Protocol):
    """Interface of the image-text model of a text edit; features need not have unit length."""

    name: str

    def encode_images(self, images: Tensor) -> Tensor:
        """[n, 3, H, W] in [-1, 1], any size -> [n, E]; differentiable."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """n texts -> [n, E]."""
        ...


class OpenClip(nn.Module):
    """An open_clip model with its tokenizer and image preprocessing, as an ImageTextModel; frozen, float32."""

    def __init__(self, network: nn.Module, tokenizer: Any, preprocess: dict[str, Any], name: str) -> None:
        super().__init__()
        self.network, self.name, self._tokenizer = network, name, tokenizer
        size = preprocess["size"]
        self.size = size if isinstance(size, int) else int(size[0])
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(preprocess[key]).reshape(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def place(self) -> torch.device:  # ComfyUI sets an attribute `device` of its own on a module
        return next(self.network.parameters()).device

    def encode_images(self, images: Tensor) -> Tensor:
        place = self.place()
        pixels = resize(images.to(place) / 2 + 0.5, self.size)
        return self.network.encode_image((pixels - self.mean.to(place)) / self.std.to(place))

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self.network.encode_text(self._tokenizer(list(texts)).to(self.place()))


def resize(images: Tensor, size: int) -> Tensor:
    """Resize [n, 3, S, S] -> [n, 3, size, size], bicubic and anti-aliased; two matrix products, whose gradient is deterministic on CUDA."""
    if images.shape[-1] == size:
        return images
    matrix = interpolation_matrix(images.shape[-1], size, "bicubic").to(images)
    return matrix @ images @ matrix.T


def import_open_clip() -> ModuleType:
    """Import open_clip; MissingDependencyError if it is not installed or fails to import."""
    try:
        import open_clip
    except (ImportError, RuntimeError, OSError) as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == "open_clip" else f" ({one_line(error)})"
        raise MissingDependencyError(f"Editing by text needs open_clip, which is not here{reason}: pip install open_clip_torch.") from error
    return open_clip


def clip_folders(folders: Iterable[str | Path] | None = None) -> list[Path]:
    """Folders searched for weights: `open_clip` in each of the models' folders. Messages name the last one as the place for new weights."""
    return [Path(folder) / FOLDER for folder in (model_folders() if folders is None else folders)]


def clip_names(folders: Iterable[str | Path] | None = None) -> list[str]:
    """Names of models: the paper's first, then those whose weights are in the folders."""
    names = set()
    for folder in clip_folders(folders):
        names |= {path.stem for path in folder.glob("*.safetensors")} | {path.parent.name for path in folder.glob(f"*/{WEIGHTS}")}
    return [DEFAULT, *sorted(names - {DEFAULT})]


def find_weights(name: str, folders: Iterable[str | Path] | None = None) -> Path:
    """Find the weights of the model called `name`. DVAError if there are none, saying where to get them and where to put them."""
    places = clip_folders(folders)
    if Path(name).name != name or name in ("", ".", ".."):
        raise DVAError(f"{name!r} is no name of an image-text model; use one of open_clip's, such as {DEFAULT}.")
    for folder in places:
        for path in (folder / f"{name}.safetensors", folder / name / WEIGHTS):
            if path.is_file():
                return path
    raise MissingFileError(
        f"The weights of the image-text model {name} are not here: {where_from(name)} and put it at {places[-1] / name}.safetensors "
        "(the files of ComfyUI's clip_vision and text_encoders folders hold half of such a model under other names, and do not fit)."
    )


def where_from(name: str) -> str:
    """Half a sentence that tells where to get the weights."""
    open_clip = import_open_clip()
    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu"))  # weights trained with one GELU do not work with the other
    trainings = {tag: open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    tags = [tag for tag, training in trainings.items() if bool(training.get("quick_gelu")) == quick]
    if not tags:
        near = [model for model in open_clip.list_models() if model.lower().startswith(name.lower()[:6])][:3]
        return f"open_clip knows no model of that name{', but ' + ', '.join(near) if near else ''}, so get {CONFIG} with {WEIGHTS}"
    places = {tag: trainings[tag].get("hf_hub", "").strip("/") for tag in tags}
    tag = "openai" if places.get("openai") else next((tag for tag in tags if places[tag]), "")
    if not tag:
        return f"get them for one of the trainings {', '.join(tags)}, save them as .safetensors"
    return f"get https://huggingface.co/{places[tag]}/resolve/main/{WEIGHTS} ({tag})"


def load_clip(
    name: str = DEFAULT, weights: str | Path | None = None, folders: Iterable[str | Path] | None = None, empty: bool = False
) -> OpenClip:
    """Load the image-text model that open_clip calls `name`, on the CPU; the caller moves it to its device.

    `weights` names a .safetensors file; None searches `folders` (those of the bundles). `empty` leaves the weights random, for
    tests. May be called in inference mode. Raises DVAError for weights that are missing or do not fit, an unknown name, a model
    whose tokenizer would have to be downloaded; MissingDependencyError without open_clip.
    """
    open_clip = import_open_clip()
    path = None if empty else Path(weights) if weights is not None else find_weights(name, folders)
    local = path is not None and (path.parent / CONFIG).is_file() and path.name == WEIGHTS
    source = f"local-dir:{path.parent}" if local else name
    config = open_clip.get_model_config(source)
    if config is None:
        near = ", ".join([model for model in open_clip.list_models() if model.lower().startswith(name.lower()[:5])][:5])
        raise DVAError(f"open_clip knows no model {name!r}; use {near or DEFAULT}, or a folder of that name with {CONFIG} and {WEIGHTS}.")
    text = config.get("text_cfg", {})
    if text.get("hf_model_name") or (not local and (text.get("hf_tokenizer_name") or "siglip" in name.lower())):
        raise DVAError(f"The tokenizer of {name} would have to be downloaded, which is not done here; use for example {DEFAULT}.")
    if path is not None:
        check_weights(path, name)
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        if path is None:
            network = open_clip.create_model(source, load_weights=False)
        else:
            network = create_network(open_clip, source, path, name)
        logger.info("Image-text model %s from %s.", name, path)
        return OpenClip(network.float(), open_clip.get_tokenizer(source), open_clip.get_model_preprocess_cfg(network), name)


def create_network(open_clip: ModuleType, source: str, path: Path, name: str) -> nn.Module:
    """Create the network with the weights at `path`. DVAError if they are of another model."""
    try:
        with SkipInit():
            return open_clip.create_model(source, pretrained=None if source.startswith("local-dir:") else str(path))
    except (RuntimeError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise DVAError(f"{path} does not hold the weights of {name} ({one_line(error)}); {where_from(name)}.") from error


def check_weights(path: Path, name: str) -> None:
    """DVAError where the file is missing, damaged, no .safetensors, or one that ComfyUI has for its own CLIP nodes."""
    if path.suffix != ".safetensors":
        raise DVAError(f"{path} is no .safetensors file, and nothing else is loaded; {where_from(name)}.")
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise DVAError(f"{path} is missing or damaged ({one_line(error)}); get the weights of {name} again.") from error
    if any(key.startswith(ONE_TOWER) for key in keys):
        raise DVAError(f"{path} holds a CLIP in transformers' form, as ComfyUI's clip_vision files are; {where_from(name)} instead.")
