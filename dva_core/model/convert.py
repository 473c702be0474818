"""Conversion of the published checkpoints to one bundle; the only place where pickles are read.

Kim et al. published a PyTorch-Lightning checkpoint (noise predictor, fusion layer and the three frozen encoders, both as trained and
as exponential moving average, of which they use the latter), a checkpoint of 40 linear attribute classifiers on the identity vector,
and the mean and deviation of the training set's identity vectors; the encoders also exist as files of their own.
"""

from __future__ import annotations

import io
import logging
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DVAError, MissingFileError, one_line
from ..files import check_input, check_place, check_spares, to_path
from ..hosts.devices import PRECISIONS
from .build import expected_tensors
from .bundle import BundleInfo, write_bundle
from .checks import FORMAT, VERSION, check_tensors
from .unpickle import PickledArray, restricted_pickle

logger = logging.getLogger(__name__)

EMA = "ema_model."
PARTS = {  # prefix in the checkpoint -> part of the bundle; all other tensors are the noise predictor's
    "encoder.idnet.backbone.": "identity_encoder.",
    "encoder.lndnet.backbone.": "motion_encoder.",
    "encoder.bgnet.backbone.": "face_parser.",
    "encoder.linear.": "fusion.",
}
UNUSED = (  # stored in the checkpoint but never evaluated: a second copy of the trunk, the parser's auxiliary training heads
    "motion_encoder.pretrain_net.",
    "face_parser.conv_out16.",
    "face_parser.conv_out32.",
)
UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NameError, OSError, RuntimeError, TypeError,
    ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # 0x1950a86a20f9469cfc6c as a pickle holds it: torch.save before version 1.6
LICENCE = "The terms of the published checkpoints' authors; this project's licence does not cover these weights."
CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose", "Black_Hair",
    "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair",
    "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin",
    "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings",
    "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip


def published_config() -> dict[str, Any]:
    """Configuration of the published full-size model (Kim et al. 2023, sec. 3 and appendix), without attributes."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": "published",
        "image_size": 256,
        "crop_size": 256,
        "noise_predictor": {
            "type": "unet",
            "image_size": 256,
            "patch_size": 1,
            "in_channels": 3,
            "base_channels": 128,
            "channel_multipliers": [1, 1, 2, 2, 4, 4],
            "num_res_blocks": 2,
            "attention_resolutions": [16],
            "embedding_channels": 512,
            "condition_channels": 512,
            "num_heads": 1,
            "dropout": 0.1,
        },
        "identity_encoder": {"type": "ir_se50"},
        "motion_encoder": {"type": "mobilenet_gdconv"},
        "face_parser": {"type": "bisenet"},
        "detector": None,
        "landmarks": None,
        "identity_dim": 512,
        "motion_dim": 102,
        "face_dim": 512,
        "diffusion": {"train_steps": 1000, "beta_start": 1e-4, "beta_end": 2e-2},
        "attributes": [],
    }


def _load_trusted(file: Any, **options: Any) -> Any:
    return torch.load(file, map_location="cpu", pickle_module=RESTRICTED, weights_only=False, **options)


RESTRICTED = restricted_pickle(lambda data: _load_trusted(io.BytesIO(data)))


def _kind(path: Path, what: str) -> str:
    """ "zip" (torch.save), "legacy" (torch.save before 1.6) or "bare" (pickle.dump); DVAError for anything else."""
    try:
        with path.open("rb") as file:
            start = file.read(14)
        if start[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                names = {name.rpartition("/")[2] for name in archive.namelist()}
            if "constants.pkl" in names:
                raise DVAError(f"{path} is a TorchScript program and no {what}; choose the checkpoint that was saved with torch.save.")
            if "data.pkl" in names:
                return "zip"
        elif start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[2:3] != b"\0":  # as in a safetensors' length
            return "legacy" if start[2:] == MAGIC else "bare"
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file {path}; give the {what}'s path.") from error
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, struct.error) as error:  # errors of zipfile
        raise DVAError(f"{path} is cut short or cannot be read ({one_line(error)}); get the {what} again.") from error
    raise DVAError(f"{path} is no {what}: it is neither a file of torch.save nor a pickle; choose the published file.")


def _foreign_names(path: Path, kind: str) -> list[str]:
    """Names of the classes that torch's safe reader refuses in a zip; none if they cannot be determined."""
    if kind != "zip":
        return []
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except UNREADABLE:
        return []


def read_pickle(path: str | Path, what: str = "checkpoint", trust_pickle: bool = False) -> Any:
    """The content of a file made with torch.save or pickle.dump; tensors on the CPU, memory-mapped where the format allows.

    Tensors and plain containers are read by torch's own safe reader. A file with other objects is refused with a DVAError that
    names `--trust-pickle`; with `trust_pickle` those objects become inert stand-ins (see unpickle.py): no foreign code ever runs.
    """
    path = check_input(path)
    kind = _kind(path, what)
    options = {"mmap": True} if kind == "zip" else {}
    if kind != "bare":
        try:
            return torch.load(str(path), map_location="cpu", weights_only=True, **options)
        except UNREADABLE as error:
            foreign = _foreign_names(path, kind)
            refused = isinstance(error, pickle.UnpicklingError) and (foreign or kind == "legacy")
            if not refused:
                raise DVAError(f"{path} is damaged or cut short ({one_line(error)}); get the {what} again.") from error
            holds = f"objects that are not tensors ({', '.join(foreign[:3]) or 'of unknown kinds'}{', ...' * (len(foreign) > 3)})"
    else:
        holds = "a bare pickle, which can name any object"
    if not trust_pickle:
        raise DVAError(f"{path} holds {holds}; if you trust where the {what} comes from, add --trust-pickle, which reads its tensors only.")
    try:
        if kind == "bare":
            with path.open("rb") as file:
                return RESTRICTED.load(file)
        return _load_trusted(str(path), **options)
    except UNREADABLE as error:
        raise DVAError(f"{path} is damaged or cut short ({one_line(error)}); get the {what} again.") from error


def read_tensors(path: str | Path, what: str, trust_pickle: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name: of its `state_dict` if it has one, without data-parallel training's prefix `module.`."""
    content = read_pickle(path, what, trust_pickle)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if isinstance(content, Mapping):
        content = {name: value.tensor() if isinstance(value, PickledArray) else value for name, value in content.items()}
        tensors = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise DVAError(f"{path} has no tensors by name, so it is no {what}; choose the published file.")


def bundle_name(name: str) -> str:
    """Convert a name in the published model to the name in a bundle: "encoder.linear.weight" -> "fusion.weight"."""
    for theirs, ours in PARTS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return f"noise_predictor.{name}"


def model_tensors(checkpoint: Mapping[str, Tensor], path: str | Path = "the checkpoint") -> dict[str, Tensor]:
    """Select the tensors of the moving average in the diffusion checkpoint, under their names in a bundle."""
    tensors = {bundle_name(name.removeprefix(EMA)): tensor for name, tensor in checkpoint.items() if name.startswith(EMA)}
    if not tensors:
        raise DVAError(f"{path} has no tensors named {EMA}*, so it is no diffusion checkpoint; choose diffusion_video_autoencoder.ckpt.")
    return tensors


def drop_unused(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop those of `tensors` that the published files contain but the model of `expected` does not have."""
    return {name: tensor for name, tensor in tensors.items() if name in expected or not name.startswith(UNUSED)}


def attribute_tensors(
    classifier: str | Path, statistics: str | Path | None, ema: bool, identity_dim: int, trust_pickle: bool
) -> dict[str, Tensor]:
    """The attribute directions and identity statistics of a bundle, from the classifier checkpoint and (or) latent.pkl."""
    classifiers = read_tensors(classifier, "classifier checkpoint", trust_pickle)
    own = [classifiers[name].float().flatten() for name in ("conds_mean", "conds_std") if name in classifiers]
    if statistics is not None:
        values = read_tensors(statistics, "file of identity statistics", trust_pickle)
        if not {"conds_mean", "conds_std"} <= set(values):
            raise DVAError(f"{statistics} lacks conds_mean or conds_std, so it is no file of statistics; choose the published latent.pkl.")
        statistics_pair = [values[name].float().flatten() for name in ("conds_mean", "conds_std")]
        if len(own) == 2 and not all(a.shape == b.shape and torch.allclose(a, b, atol=1e-3) for a, b in zip(own, statistics_pair)):
            raise DVAError(f"The statistics in {statistics} are not those that {classifier} was trained with; leave --statistics out.")
        own = statistics_pair
    if len(own) != 2:
        raise DVAError(f"{classifier} has no identity statistics of its own; give the published latent.pkl with --statistics.")
    prefix = "ema_classifier." if ema else "classifier."
    tensors = {"mean": own[0], "std": own[1]}
    for name, shape in {"weight": (len(CELEBA_ATTRIBUTES), identity_dim), "bias": (len(CELEBA_ATTRIBUTES),)}.items():
        tensor = classifiers.get(prefix + name)
        if tensor is None or tuple(tensor.shape) != shape:
            has = "nothing" if tensor is None else f"shape {list(tensor.shape)}"
            raise DVAError(f"{classifier} has {has} for {prefix}{name} where shape {list(shape)} belongs; choose the published classifier.")
        tensors[name] = tensor.float()
    if tensors["mean"].shape != (identity_dim,) or tensors["std"].shape != (identity_dim,) or not (tensors["std"] > 0).all():
        raise DVAError(f"The identity statistics are not {identity_dim} means and positive deviations; choose the published latent.pkl.")
    return {f"attributes.identity.{name}": tensor for name, tensor in tensors.items()}


def convert(
    checkpoint: str | Path,
    out: str | Path,
    classifier: str | Path | None = None,
    statistics: str | Path | None = None,
    identity: str | Path | None = None,
    landmarks: str | Path | None = None,
    parser: str | Path | None = None,
    precision: str = "fp16",
    trust_pickle: bool = False,
    classifier_ema: bool = False,
    config: dict[str, Any] | None = None,
) -> BundleInfo:
    """Convert the published files to a bundle at `out`.

    `checkpoint` is the diffusion checkpoint, which contains the encoders too; `identity`, `landmarks` and `parser` are encoder files
    to use in their stead. `classifier` adds the 40 attributes of CelebA-HQ (its `classifier.weight`, as the authors use it, or with
    `classifier_ema` its moving average), `statistics` (latent.pkl) the identity statistics if the classifier has none.
    `config` replaces `published_config()` for a model of other sizes with the same layout.
    Raises DVAError for a file that is missing, of another format, damaged or does not fit, and for foreign objects without `trust_pickle`.
    """
    out = to_path(out, "output")
    if precision not in PRECISIONS:
        raise DVAError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if statistics is not None and classifier is None:
        raise DVAError(f"The statistics in {statistics} serve the attribute classifiers; give --classifier too, or leave --statistics out.")
    inputs = [Path(path) for path in (checkpoint, classifier, statistics, identity, landmarks, parser) if path is not None]
    check_place(out)
    check_spares(out, "output", inputs)
    config = {**(config or published_config()), "name": out.stem}
    tensors = model_tensors(read_tensors(checkpoint, "diffusion checkpoint", trust_pickle), checkpoint)
    encoders = {"identity_encoder.": identity, "motion_encoder.": landmarks, "face_parser.": parser}
    for prefix, path in encoders.items():
        if path is not None:
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
            what = f"file of the {prefix.removesuffix('.').replace('_', ' ')}"
            tensors |= {prefix + name: tensor for name, tensor in read_tensors(path, what, trust_pickle).items()}
    if classifier is not None:
        tensors |= attribute_tensors(classifier, statistics, classifier_ema, config["identity_dim"], trust_pickle)
        config["attributes"] = [
            {"name": name, "space": "identity", "index": i, "auc": None, "range": [-1, 1]} for i, name in enumerate(CELEBA_ATTRIBUTES)
        ]
    expected = expected_tensors(config)
    tensors = drop_unused(tensors, expected)
    check_tensors(tensors, expected, " + ".join(map(str, inputs)), "choose the published files")
    logger.info("Writing %d tensors to %s in %s.", len(tensors), out, precision)
    source = "Diffusion video autoencoder of Kim et al. (CVPR 2023), converted from " + ", ".join(path.name for path in inputs)
    return write_bundle(out, tensors, config, licence=LICENCE, source=source, precision=precision)
