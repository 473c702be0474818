"""From trained parts to one bundle: tensors under their prefixes, attribute directions, the model card."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dva_core.errors import MissingFileError
from dva_core.files import check_spares
from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.build import build_empty
from dva_core.model.bundle import BundleInfo, read_bundle, write_bundle
from dva_core.model.checks import weights_digest
from dva_core.networks import build_network
from dva_core.train.attributes import fit_directions
from dva_core.train.conditioner import check_encoders, fold_scaling, part_of
from dva_core.train.encoders import encode_faces
from dva_core.train.faces import FaceSet
from dva_core.train.gains import LIMITS, TEXTURE_SHIFT, TEXTURE_STEP, decoded_shares, gains
from dva_core.train.look import add_look
from dva_core.train.mask.bundle import add_mask, tells_front
from dva_core.train.moves import MOVES
from dva_core.train.pair_steps import SPACES, PairedSteps, load_steps, paired_directions
from dva_core.train.pairs import ATTRIBUTE, Pairs, load_pairs
from dva_core.train.regions import measure_regions
from dva_core.train.state import TRAINED_PARTS, export, read_facts, read_tensors
from dva_core.train.visible_directions import visible_directions

OPPOSITE = -0.6  # usual scale of the opposite of an expression, which is moved only and has no folds of its own
log = logging.getLogger(__name__)

LICENCE = "MIT (this project); trained on SFHQ and SFHQ-T2I (MIT) and faker portraits (CC0)"
SOURCE = "trained by this project: python -m dva_core train starter"
CARD = """Starter model of the Diffusion Video Autoencoder.
Data: {count} synthetic faces only (SFHQ and SFHQ-T2I by David Beniaguev, MIT; faker-js portraits, CC0), their morphs and warps, and what
this project draws on them (glasses, beards, make-up, age, ...).
No real person trained it; the teachers whose labels it learnt from (YuNet Apache-2.0, MobileFaceNet Apache-2.0, face-api.js MIT)
were trained on real people.
Training: {training}
What it cannot do: fine detail (the noise predictor sees {image_size} x {image_size} pixels), profiles, faces half covered, children, hair;
each drawn attribute has one look;
attributes follow the pictures it saw, which lean to unsmiling, male and adult faces. Scores of sex and age are what the teachers
call so, not what people are.
Use it on footage of people who agree to it.
"""


def assemble(
    run: Path,
    faces: FaceSet,
    out: Path,
    *,
    precision: str = "fp16",
    training: str = "",
    start: Path | None = None,
    teachers: Path | None = None,
    guidance: float | None = None,
    interval: tuple[int, int] | None = None,
) -> BundleInfo:
    """Write the bundle `out` from a folder with landmarks, identity, detector .safetensors and diffusion/state.safetensors.

    With pairs.npz and steps.safetensors in the folder, the attributes are those of the pairs (see pair_steps); else classifiers of the
    labels. Networks missing in the folder are taken from the bundle `start`; if neither has a face parser (mask.safetensors) the mask is
    the hull of the landmarks. guidance, interval: see look.add_look.
    `teachers`: folder of teacher networks that also judge the directions of sex and age.
    Raises DVAError if there is no run, or its encoders are neither the folder's nor the bundle's.
    """
    run = Path(run)
    check_spares(out, "model file", [start])
    bundle = read_bundle(start) if start else None
    start_bundle = bundle.tensors if bundle else {}
    config, ema = export(run / "diffusion" / "state.safetensors")
    digests = read_facts(run / "diffusion" / "state.safetensors").get("encoders", {})
    tensors: dict[str, Tensor] = {f"noise_predictor.{k[5:]}": v for k, v in ema.items() if k.startswith("unet.")}
    networks = {}
    for prefix, name in (("identity_encoder", "identity"), ("motion_encoder", "landmarks"), ("detector", "detector")):
        state = network_weights(run / f"{name}.safetensors", part_of(start_bundle, prefix), digests.get(prefix))
        tensors |= {f"{prefix}.{k}": v for k, v in state.items()}
        networks[prefix] = build_network(config[prefix]).eval()
        networks[prefix].load_state_dict(state)
    mask = run / "mask.safetensors"
    if mask.is_file() or bundle is None or not tells_front(bundle.config):
        add_mask(tensors, config, mask if mask.is_file() else None)
    else:
        tensors |= {f"face_parser.{name}": value for name, value in part_of(start_bundle, "face_parser").items()}
        config["face_parser"] = bundle.config["face_parser"]
    check_encoders(digests, tensors, f"{run} now has encoders made", "put back those it was trained with, or train anew")
    scaling = read_tensors(run / "diffusion" / "scaling.safetensors")
    tensors["fusion.weight"], tensors["fusion.bias"] = fold_scaling(ema["fusion.weight"], ema["fusion.bias"], **scaling)
    z_id, motion = encode_faces(networks["identity_encoder"], networks["motion_encoder"], faces.pictures)
    directions = fit_directions(faces, z_id, motion)
    by_pairs = (run / "steps.safetensors").is_file()
    if by_pairs:
        steps, pairs = load_steps(run), load_pairs(run)
        if not config["noise_predictor"].get("retouch_size"):
            steps = replace(steps, moves=None)  # nothing moves pixels
        retired = {entry["name"] for entry in directions.entries}
        directions = paired_directions(steps, pairs, networks["identity_encoder"], directions)
        config["retired_attributes"] = sorted(retired - {entry["name"] for entry in directions.entries})
        config["identity_steps"] = True
    config["attributes"] = directions.entries
    config["motion_components"] = len(directions.tensors.get("attributes.motion.components", ()))
    tensors |= directions.tensors
    tensors = {k: torch.as_tensor(v) for k, v in tensors.items()}
    if by_pairs:
        scale_steps(tensors, config, steps, pairs)
    else:
        add_visible_directions(tensors, config, faces.pictures, teachers)
    add_look(tensors, config, weight=guidance, interval=interval, maps=measure_regions(faces) if by_pairs else None)
    card = CARD.format(count=len(faces), training=training, image_size=config["image_size"])
    return write_bundle(
        out,
        tensors,
        config,
        licence=LICENCE,
        source=SOURCE,
        model_card=card,
        precision=precision,
    )


def network_weights(file: Path, fallback: dict[str, Tensor], digest: str | None) -> dict[str, Tensor]:
    """Read the weights of a network of the run; `fallback` if they are missing or the run was trained with those (digest `digest`)."""
    if fallback and (not file.is_file() or weights_digest(fallback) == digest):
        return fallback
    if not file.is_file():
        raise MissingFileError(f"{file} is missing: run `train {file.stem}`, or name a bundle that has it with --start.")
    return read_tensors(file)


def assemble_finetuned(run: Path, start: Path, out: Path, *, name: str, precision: str = "fp16") -> BundleInfo:
    """Write `out`: fusion layer and noise predictor from the run's averaged weights, everything else from the bundle `start`.

    Raises DVAError if there is no run, or it was trained with other encoders than the start's.
    """
    check_spares(out, "model file", [start])
    start_bundle, folder = read_bundle(start), run / "diffusion"
    state = read_facts(folder / "state.safetensors")
    config, ema = export(folder / "state.safetensors")
    scaling = read_tensors(folder / "scaling.safetensors")
    check_encoders(state.get("encoders", {}), start_bundle.tensors, f"{start} was made", "name the bundle that the run began with")
    trained_config = {key: config[key] for key in TRAINED_PARTS}
    weight, bias = fold_scaling(ema["fusion.weight"], ema["fusion.bias"], **scaling)
    tensors = {k: v for k, v in start_bundle.tensors.items() if not k.startswith(("noise_predictor.", "fusion."))}
    tensors |= {f"noise_predictor.{k.removeprefix('unet.')}": v for k, v in ema.items() if k.startswith("unet.")}
    tensors |= {"fusion.weight": weight, "fusion.bias": bias}
    about = {key: start_bundle.metadata.get(key, "") for key in ("licence", "source", "model_card")}
    training = f"{state['step']} steps of `python -m dva_core train diffusion`, {state['seconds'] / 60:.0f} min, {state['figures']}"
    return write_bundle(
        out,
        tensors,
        start_bundle.config | trained_config | {"name": name},
        licence=about["licence"],
        source=f"{about['source']}; trained on from there: {training}",
        model_card=about["model_card"],
        precision=precision,
    )


def frozen_model(tensors: dict[str, Tensor], config: dict) -> DiffusionVideoAutoencoder:
    """Build the model of these tensors on the CPU, in float32, for measurements."""
    model = build_empty(config)
    model.load_state_dict(tensors)
    return model.float().requires_grad_(False).eval()


def scale_steps(tensors: dict[str, Tensor], config: dict, steps: PairedSteps, pairs: Pairs) -> None:
    """Scale the attributes' steps in `tensors` so that a decode at scale 1 gives the change of their pairs (see gains).

    A texture adds what it draws: the range of an attribute that has pairs of one sign begins at 0.
    """
    if config["noise_predictor"].get("texture_rank"):  # the texture shows each kind whole at its step
        config["attributes"] = [entry | {"range": drawn_range(entry["name"], config)} for entry in config["attributes"]]
        motions = () if steps.moves is None else tuple(MOVES)
        scales = dict.fromkeys(steps.identity_names, TEXTURE_STEP) | dict.fromkeys((*steps.motion_names, *motions), TEXTURE_SHIFT)
    else:
        scales = gains(decoded_shares(frozen_model(tensors, config), pairs, steps.of_kinds()), LIMITS)
    log.info("scale 1 of the attributes, in parts of their steps: %s", scales)
    for entry in config["attributes"]:
        if (scale := scales.get(entry["name"])) is not None:
            name = "attributes.identity.step" if entry["space"] == "identity" else "attributes.motion.shift"
            tensors[name] = tensors[name].clone()
            tensors[name][entry["index"]] *= scale


def drawn_range(name: str, config: dict) -> list[float]:
    """Usual scales of an attribute that is drawn: of both signs if there are pairs of both, or if it moves the pixels of a face."""
    if name in MOVES:
        return [-1.0, 1.0]
    if SPACES[name] == "motion" and config["noise_predictor"].get("retouch_size"):
        return [OPPOSITE, 1.0]
    signs = {sign for attribute, sign in ATTRIBUTE.values() if attribute == name}
    return [-1.0 if -1 in signs else 0.0, 1.0 if 1 in signs else 0.0]


def add_visible_directions(tensors: dict[str, Tensor], config: dict, pictures: np.ndarray, teachers: Path | None = None) -> None:
    """Add to `tensors` the directions of the identity attributes as the finished model shows them (see visible_directions)."""
    if "attributes.identity.weight" not in tensors:
        return
    entries = sorted((entry for entry in config["attributes"] if entry["space"] == "identity"), key=lambda entry: entry["index"])
    weight, std = (tensors[f"attributes.identity.{name}"].double().numpy() for name in ("weight", "std"))
    model = frozen_model(tensors, config)
    directions = visible_directions(model, [entry["name"] for entry in entries], weight, std, pictures, teachers)
    config["identity_directions"] = True
    tensors["attributes.identity.direction"] = torch.from_numpy(np.float32(directions))


def read_figures(run: Path) -> dict:
    """Read the figures reported by the training of each part: name -> figures; without those of an earlier bundle of the run."""
    files = [path for path in sorted(Path(run).glob("*.json")) if path.stem != "bundle"]
    figures = {}
    for path in files:
        try:
            figures[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # used for the model card only
            log.warning("%s is damaged and left out of the model card", path)
    return figures
