"""ComfyUI as the host: its memory management, precision, progress, cancelling and folders. The only place that imports it."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import comfy.model_management as management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import numpy as np
import torch
from PIL import Image
from torch import nn

from dva_core.bundle import PRECISIONS, read_header, resolve_model
from dva_core.decomposition import Decomposition
from dva_core.edit.attributes import Attribute, AttributeSet, entries_of
from dva_core.edit.clip_model import FOLDER as CLIP_FOLDER
from dva_core.errors import DVAError
from dva_core.files import replaced
from dva_core.hosts.plain import PlainHost
from dva_core.loader import STARTER, choose_dtype, load_model
from dva_core.tensorfile import TensorStore

logger = logging.getLogger(__name__)

AUTO = "auto"
MODELS = "dva"  # the folder under models/, and the key in extra_model_paths.yaml
SUFFIX = ".safetensors"
STREAMED = "noise_predictor"  # the network made of the host's own layers, whose weights may stay in main memory until they are used
NAME_DIGITS = 32  # of a hash, in the name of a file
PREVIEW_SECONDS, PREVIEW_PIXELS = 0.2, 512
EXAMPLE = Path(__file__).resolve().parents[2] / "example_workflows" / "dva_example.mp4"  # made by demo.make_clip


class ComfyHost(PlainHost):
    """Networks run where ComfyUI puts them, and give way when other nodes need the room; `dtype` is the noise predictor's.

    `compiled`: the noise predictor will be compiled, so that none of its weights may come and go. ComfyUI's dynamic VRAM ("dynamic"
    here) brings a layer's weights along when it is used; it moves the networks made of plain layers as a whole.
    """

    def __init__(self, dtype: torch.dtype, compiled: bool = False) -> None:
        self.device = management.get_torch_device()
        self.offload_device = management.unet_offload_device()
        self.dtype = dtype
        self._streamed = () if compiled else (STREAMED,)
        self._patchers: dict[str, Any] = {}  # ComfyUI itself holds them weakly
        self._room: dict[str, int] = {}  # bytes that were free beside a network when it was loaded last
        self._tools: nn.Module | None = None

    def use(self, name: str, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        """Has ComfyUI load `module` (the part called `name`) with that much room beside it; raises where the user has cancelled."""
        management.throw_exception_if_processing_interrupted()
        patcher = self._patchers.get(name)
        if patcher is None or patcher.model is not module:
            patcher = self._patchers[name] = self._patcher(name, module)
            self._room.pop(name, None)
        if activation_bytes <= self._room.get(name, -1) and self._is_in_place(name, module):
            return self.device  # to ask again before every step would empty torch's cache every time
        whole = name not in self._streamed
        management.load_models_gpu([patcher], memory_required=activation_bytes, force_full_load=whole)
        self._room[name] = activation_bytes
        if whole and not is_dynamic(patcher) and not self._is_on_device(module):
            patcher.load(self.device, full_load=True)  # with --novram plain layers are left behind, where they cannot run
        return self.device

    def _patcher(self, name: str, module: nn.Module) -> Any:
        """ComfyUI's manager of one network: the kind that is its own choice, unless the weights have to stay where they are."""
        patchers = comfy.model_patcher  # main.py chooses when it starts; older hosts have one kind
        kind = getattr(patchers, "CoreModelPatcher", patchers.ModelPatcher)
        if name == STREAMED and name not in self._streamed:
            kind = patchers.ModelPatcher
        return kind(module, load_device=self.device, offload_device=self.offload_device)

    def _is_in_place(self, name: str, module: nn.Module) -> bool:
        """Whether nothing took the network's weights or its room since it was loaded: later than it only small ones of ours were."""
        loaded = management.loaded_models()
        if self._patchers[name] not in loaded:
            return False
        later = loaded[: loaded.index(self._patchers[name])]
        if name == STREAMED:
            return not later and (name in self._streamed or self._is_on_device(module))
        return all(patcher in self._patchers.values() for patcher in later) and self._is_on_device(module)

    def _is_on_device(self, module: nn.Module) -> bool:
        return all(same_place(weight.device, self.device) for weight in module.parameters())

    def forget(self, name: str) -> None:
        """As PlainHost's; ComfyUI, which holds it weakly, then has the room again."""
        self._patchers.pop(name, None)

    def convert(self, name: str, module: nn.Module, dtype: torch.dtype) -> None:
        """As PlainHost's; ComfyUI's books are kept right."""
        patcher = self._patchers[name]
        self._room.pop(name, None)
        if is_dynamic(patcher):  # every layer casts its weights to what comes in; their places are of the size they were loaded in
            self.dtype = dtype
            return
        patcher.detach()
        super().convert(name, module, dtype)
        patcher.size = 0
        patcher.model_size()

    def free_bytes(self) -> int | None:
        """As PlainHost's: what is free, and what ComfyUI would free of other models."""
        if self.device.type in ("cpu", "mps"):
            return None
        loaded = [entry for entry in management.current_loaded_models if entry.model is not None and same_place(entry.device, self.device)]
        ask = next((entry.model.get_free_memory for entry in loaded if hasattr(entry.model, "get_free_memory")), management.get_free_memory)
        # newer patchers count what dynamic ones can give back
        return int(ask(self.device) + sum(entry.model_loaded_memory() for entry in loaded if not is_dynamic(entry.model)))

    @staticmethod
    def is_out_of_memory(error: BaseException) -> bool:
        known = management.OOM_EXCEPTION  # Exception itself where torch has none of its own
        says = getattr(management, "is_oom", lambda error: isinstance(error, known))  # newer hosts know other accelerators' too
        return PlainHost.is_out_of_memory(error) or (known is not Exception and says(error))

    def free_memory(self) -> None:
        """Everything goes, whoever it belongs to; the next use loads as much as then fits."""
        management.unload_all_models()
        management.soft_empty_cache()

    def load_model(self, name: str, device: Any = None) -> nn.Module:
        """The starter, whose detector a model without one borrows; kept as long as this host."""
        if self._tools is None:
            self._tools = load(name)
        return self._tools


def is_dynamic(patcher: Any) -> bool:
    """Whether a network's weights come and go as its layers are used (dynamic VRAM)."""
    return getattr(patcher, "is_dynamic", bool)()


def same_place(one: torch.device, other: torch.device) -> bool:
    """Whether two names mean one device; a name without a number means the first of its kind, as of tensors on mps."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def choose_precision(precision: str = AUTO) -> torch.dtype:
    """The noise predictor's type: as asked for, or what ComfyUI (its flags, the device) would run a diffusion network in.

    ComfyUI runs everything in float32 on processors; on those that multiply bfloat16 we take that, unless its flags ask for float32.
    """
    if precision != AUTO:
        return choose_dtype(precision)
    device, kinds = management.get_torch_device(), [torch.float16, torch.bfloat16, torch.float32]
    if device.type == "cpu" and not management.FORCE_FP32:
        return choose_dtype(AUTO, device)
    stored = management.unet_dtype(device=device, supported_dtypes=kinds)
    computed = management.unet_manual_cast(stored, device, kinds) or stored
    return computed if computed in PRECISIONS.values() else torch.float32


def load(name: str, precision: str = AUTO, compile: bool = False) -> nn.Module:
    """The model called `name` in the host's list, run by the host. DVAError for a name or a file that is no model."""
    host = ComfyHost(choose_precision(precision), compile)
    operations = None if host.device.type == "cpu" else comfy.ops.disable_weight_init  # nothing is streamed to a processor
    return load_model(model_path(name), operations=operations, host=host, compile=compile)


class NodeProgress:
    """A Progress on the running node: its bar counts frames x steps, with the face being worked on as a picture.

    `evaluations` are the noise predictor's for one frame. Raises ComfyUI's own exception where the user has cancelled.
    """

    def __init__(self, evaluations: int) -> None:
        self._evaluations = evaluations
        self._bar = comfy.utils.ProgressBar(1)
        self._shown = 0.0
        self._reached: tuple[str, float] = ("", 0.0)

    def __call__(self, phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None:
        management.throw_exception_if_processing_interrupted()
        before = self._reached[1] if self._reached[0] == phase else 0.0
        self._reached = phase, max(before, done)  # frames are pasted after their batch was decoded; the bar does not go back
        scale = 1 if phase == "track" else self._evaluations
        self._bar.update_absolute(round(self._reached[1] * scale), max(1, round(total * scale)), self._picture(preview))

    def _picture(self, preview: np.ndarray | None) -> tuple[str, Image.Image, int] | None:
        now = time.monotonic()
        if preview is None or now - self._shown < PREVIEW_SECONDS:
            return None
        self._shown = now
        return "JPEG", Image.fromarray(np.ascontiguousarray(preview)), PREVIEW_PIXELS


class WeighedClip(Decomposition, tuple):
    """A decomposition for ComfyUI's cache, which frees what is heavy when memory gets short and weighs the tensors in lists and tuples.

    As a tuple it holds the arrays that are in main memory, as tensors on the same memory; those of a file weigh nothing, and a file
    without a name is gone with the last decomposition that reads it. An edit of it is one too, for it keeps the same arrays.
    """

    def __new__(cls, store: TensorStore, *_: Any, **__: Any) -> WeighedClip:
        return tuple.__new__(cls, map(torch.from_numpy, [*store.in_memory(), store.read("z_id")]))

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    @classmethod
    def of(cls, clip: Decomposition) -> WeighedClip:
        return cls(**{field.name: getattr(clip, field.name) for field in fields(clip)})

    def get_ram_usage(self) -> int:
        """The same in bytes, which older hosts ask for."""
        return sum(tensor.nbytes for tensor in self)


def check_cancelled() -> None:
    """Raises ComfyUI's own exception where the user has cancelled."""
    management.throw_exception_if_processing_interrupted()


def to_image(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3], or float [B, 3, H, W] in [-1, 1], as ComfyUI's IMAGE: float32 [B, H, W, 3] in [0, 1]."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).to(management.intermediate_device())
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    return images.float().movedim(1, -1).add_(1).div_(2).clamp_(0, 1).contiguous()


def to_mask(masks: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W] in {0, 1} as ComfyUI's MASK: float32 [B, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(masks)).to(management.intermediate_device()).float()


def tell(node_id: str | None, text: str, level: int = logging.INFO) -> None:
    """A line of text on the node, instead of the one before, and in the log."""
    logger.log(level, text)
    try:
        from server import PromptServer
    except ImportError:
        return
    send = getattr(getattr(PromptServer, "instance", None), "send_progress_text", None)
    if send is not None and node_id is not None:
        send(text, node_id)


# -- folders -------------------------------------------------------------------------------------------------


def register_models_folder() -> None:
    """Adds models/dva to ComfyUI's folders, behind whatever extra_model_paths.yaml has put there."""
    folder = Path(folder_paths.models_dir) / MODELS
    folder_paths.add_model_folder_path(MODELS, str(folder))
    folder_paths.folder_names_and_paths[MODELS][1].add(SUFFIX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("The folder %s cannot be made (%s).", folder, error.strerror)


def model_names() -> list[str]:
    """What can be loaded: the starter that comes with the pack, and the files in the models folders."""
    others = f"{CLIP_FOLDER}{os.sep}", f"{CLIP_FOLDER}/"  # image-text models, for editing by text
    return [STARTER, *(name for name in folder_paths.get_filename_list(MODELS) if not name.startswith(others))]


def clip_homes() -> list[str]:
    """The models folders, ComfyUI's own last: there people are told to put image-text models (edit.clip_model)."""
    return folder_paths.get_folder_paths(MODELS)


def model_path(name: str) -> Path:
    """The file of a listed model; DVAError, with what there is and where a file belongs, for another name."""
    if name == STARTER:
        return resolve_model(STARTER)
    found = folder_paths.get_full_path(MODELS, name)
    if found is None:
        folders = " or ".join(folder_paths.get_folder_paths(MODELS))
        there = ", ".join(model_names())
        raise DVAError(f"There is no model {name[:100]!r}; there is {there}, and a bundle put into {folders} is listed too.")
    return Path(found)


def check_scales(scales: Mapping[str, Any]) -> None:
    """What can be said of an edit before anything is run, whatever model it will meet: DVAError for a strength that makes no sense, and
    for a name that no model here has. Says nothing of names where a model cannot be read."""
    known: tuple[Attribute, ...] = ()
    for name in model_names():
        try:
            known += entries_of(read_header(model_path(name)).config)
        except DVAError:
            known = tuple(Attribute(name, "identity", 0) for name in scales)
            break
    AttributeSet(known, {}).check(scales)


def temp_path(suffix: str, content: str = "") -> Path:
    """An unused name in ComfyUI's temporary folder, which it empties when it starts and ends; or the one of a `content`, a hash."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"dva_{content[:NAME_DIGITS] or secrets.token_hex(8)}{suffix}"


def is_temporary(path: Path) -> bool:
    """Whether ComfyUI will throw the file away."""
    return path.is_relative_to(Path(folder_paths.get_temp_directory()).resolve())


def scratch_folder() -> Path:
    """Where temporary files without a name go."""
    return temp_path("").parent


def file_size(path: Path) -> int | None:
    """Bytes of a file, links followed; None for what is none, or cannot be looked at, such as a link to nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def input_videos() -> list[str]:
    """The videos in ComfyUI's input folder, and the one of the examples, which is put there when it is asked for."""
    folder, _, names = next(os.walk(folder_paths.get_input_directory()), ("", [], []))
    names = [name for name in names if file_size(Path(folder, name)) is not None]
    found = set(folder_paths.filter_files_content_types(names, ["video"]))
    return sorted(found | ({EXAMPLE.name} if EXAMPLE.is_file() else set()))


def provide_example() -> Path:
    """The video of the examples in ComfyUI's input folder; copied there unless a file of that name is there already."""
    place = Path(folder_paths.get_input_directory()) / EXAMPLE.name
    if file_size(place) is None and EXAMPLE.is_file():
        try:
            with replaced(place) as partial:
                shutil.copyfile(EXAMPLE, partial)
        except OSError as error:
            raise DVAError(f"The example video cannot be put into {place.parent} ({error.strerror}); make that folder writable.") from error
    return place


def saved_files(smaller_than: float = math.inf) -> list[str]:
    """The .safetensors of fewer bytes in the input and output folders, the latter marked as ComfyUI marks them.

    ComfyUI asks for lists while it loads the pack: what cannot be looked at is left out, and nothing is raised.
    """
    found = []
    for folder, mark in ((folder_paths.get_output_directory(), " [output]"), (folder_paths.get_input_directory(), "")):
        for place, _, names in os.walk(folder):  # not rglob: ComfyUI asks often, and an output folder may hold very many pictures
            for path in (Path(place, name) for name in names if name.endswith(SUFFIX)):
                size = file_size(path)
                if size is not None and size < smaller_than:
                    found.append(path.relative_to(folder).as_posix() + mark)
    return sorted(found, key=lambda name: (not name.endswith("]"), name))


def inside(folder: str, name: str) -> Path | None:
    """`name` below `folder`, or None where it leads out. A link in there may point anywhere: the name does not lead out by it."""
    root = Path(os.path.normpath(Path(folder).absolute()))
    path = Path(os.path.normpath(root / name))
    return path if path != root and path.is_relative_to(root) else None


def chosen_file(name: str, kind: str) -> Path:
    """The file that a list of the page names: in the input folder, or where its mark says. DVAError where there is none."""
    mark = re.search(r" ?\[(input|output|temp)\]$", name)
    folder = folder_paths.get_directory_by_type(mark[1] if mark else "input")
    path = provide_example() if name == EXAMPLE.name else inside(folder, name[: mark.start()] if mark else name)
    if path is None or file_size(path) is None:
        raise DVAError(f"There is no {kind} {name[:100]!r} in {folder}; upload it, put it there, or choose another.")
    return path


def changed_at(name: str | None, kind: str) -> float:
    """When the file of a list last changed, for ComfyUI's cache; 0 where another node gives the name, which is not known yet."""
    return 0.0 if name is None else chosen_file(name, kind).stat().st_mtime


def input_folder(name: str) -> Path:
    """A folder inside ComfyUI's input folder; DVAError where there is none of that name."""
    root = folder_paths.get_input_directory()
    path = inside(root, name)
    if not name.strip() or path is None or not path.is_dir():
        raise DVAError(f"There is no folder {name[:100]!r} in {root}; make it there, with the pictures in it.")
    return path


def output_path(prefix: str, suffix: str, usual: str = "dva/unnamed") -> Path:
    """An unused, numbered name in ComfyUI's output folder; `prefix` may name folders and hold %date%-like marks.

    Where it names nothing, the `usual` one is taken: the file would be a hidden one.
    """
    prefix = usual if os.path.normpath(prefix.strip()) == "." else prefix
    try:
        folder, stem, count, *_ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    except OSError as error:
        raise DVAError(f"The folder of {prefix!r} cannot be made in the output folder ({error.strerror}); choose another name.") from error
    except Exception as error:
        raise DVAError(f"The name {prefix!r} leads out of ComfyUI's output folder; choose one inside.") from error
    return Path(folder) / f"{stem}_{count:05}_{suffix}"


def served_as(path: Path) -> dict[str, str]:
    """How the page asks for a file in the temporary or the output folder."""
    for kind in ("temp", "output"):
        folder = Path(folder_paths.get_directory_by_type(kind))
        if path.is_relative_to(folder):
            inside = path.relative_to(folder)
            return {"filename": inside.name, "subfolder": "" if inside.parent == Path() else inside.parent.as_posix(), "type": kind}
    raise DVAError(f"{path} lies in none of ComfyUI's folders; choose a place in its output folder.")


# -- what the host is told -----------------------------------------------------------------------------------


async def register_replacements(replacements: list[dict[str, Any]]) -> None:
    """Has ComfyUI read nodes of saved graphs as others: each the arguments of its NodeReplace. Nothing where it has none."""
    from comfy_api.latest import ComfyAPI, io

    registry = getattr(ComfyAPI(), "node_replacement", None)
    if registry is not None:
        for replacement in replacements:
            await registry.register(io.NodeReplace(**replacement))


# -- what the page asks for ----------------------------------------------------------------------------------


def add_routes() -> None:
    """GET /dva/attributes?model=NAME: the model's attributes for the page's sliders. POST /dva/example: puts the examples' video in place.
    Nothing where there is no server."""
    try:
        from server import PromptServer
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    from aiohttp import web

    @server.routes.get("/dva/attributes")
    async def attributes(request):
        try:
            header = read_header(model_path(request.query.get("model", STARTER)))
        except DVAError as error:
            return web.json_response({"error": str(error)}, status=404)
        return web.json_response({"attributes": header.config.get("attributes") or []})

    @server.routes.post("/dva/example")
    async def example(request):
        try:
            return web.json_response({"file": provide_example().name})
        except DVAError as error:
            return web.json_response({"error": str(error)}, status=500)
