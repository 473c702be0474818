"""`train look`: how a bundle's edits are decoded and pasted: guidance, attributes that may change the tone, regions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dva_core.errors import DVAError
from dva_core.faces.regions import MEAN_FACE, REGIONS
from dva_core.model.bundle import BundleInfo, read_bundle, resolve_model, write_bundle
from dva_core.train.faces import read_faces
from dva_core.train.regions import measure_regions

ATTRIBUTE_REGIONS = {
    "Eyeglasses": "eyes",
    "Sunglasses": "eyes",
    "Beard": "lower",
    "Goatee": "lower",
    "5_o_Clock_Shadow": "lower",
    "Mustache": "moustache",
    "Wearing_Lipstick": "mouth",
    "Bushy_Eyebrows": "brows",
}
TONE_ATTRIBUTES = (*ATTRIBUTE_REGIONS, "Pale_Skin", "Tan")  # in a region, removing the tone would add the opposite one


def add_look(
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    *,
    weight: float | None = None,
    interval: tuple[int, int] | None = None,
    tone_attributes: Sequence[str] = TONE_ATTRIBUTES,
    regions: Mapping[str, str | None] = ATTRIBUTE_REGIONS,
    maps: Mapping[str, np.ndarray] | None = None,
    landmarks: np.ndarray = MEAN_FACE,
) -> None:
    """Add guidance, tone and regions to a bundle's tensors and configuration.

    weight, interval   of guidance, as of diffusion.guidance; None: unchanged
    tone_attributes    attributes that change the tone of the whole face, as far as the bundle has them
    regions            attribute -> region, a name in `maps` or of faces.regions; None: the whole face
    maps               the bundle's own regions, name -> [32, 32] in 0..1, on a face with `landmarks` [68, 2] in 0..1 of the crop

    Raises DVAError for a region that neither `maps` nor this program has.
    """
    names = {entry["name"] for entry in config["attributes"]}
    guidance = dict(config.get("guidance") or {})
    guidance |= {} if weight is None else {"weight": weight}
    guidance |= {} if interval is None else {"interval": list(interval)}
    if guidance:
        config["guidance"] = guidance
    config["tone_attributes"] = [name for name in tone_attributes if name in names]
    for name, region in regions.items():
        if region is not None and region not in REGIONS and region not in (maps or {}):
            raise DVAError(f"There is no region {region!r} for {name}; choose of {', '.join([*(maps or {}), *REGIONS])}.")
    config["attributes"] = [
        with_region(entry, regions[entry["name"]]) if entry["name"] in regions else entry for entry in config["attributes"]
    ]
    if maps:
        config["regions"] = list(maps)
        tensors["regions.maps"] = torch.from_numpy(np.stack([np.asarray(one, np.float32).clip(0, 1) for one in maps.values()]))
        tensors["regions.landmarks"] = torch.from_numpy(np.asarray(landmarks, np.float32))


def with_region(entry: Mapping[str, Any], region: str | None) -> dict[str, Any]:
    others = {key: value for key, value in entry.items() if key != "region"}
    return others if region is None else {**others, "region": region}


def with_look(start: Path, out: Path, **look: Any) -> BundleInfo:
    """Write `out`: the bundle `start` with the additions of `add_look` and unchanged weights."""
    bundle = read_bundle(start)
    tensors, config = dict(bundle.tensors), dict(bundle.config)
    add_look(tensors, config, **look)
    about = {key: bundle.metadata.get(key, "") for key in ("licence", "source", "model_card", "precision")}
    return write_bundle(out, tensors, config, **about)


def read_maps(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read regions from an .npz: `landmarks` [68, 2], and maps [32, 32] by name. DVAError for anything else."""
    try:
        with np.load(path) as file:
            maps = {name: file[name] for name in file.files if name != "landmarks"}
            landmarks = file["landmarks"] if "landmarks" in file.files else MEAN_FACE
    except (OSError, ValueError) as error:
        raise DVAError(f"{path} cannot be read as an .npz of regions ({error}); give one that numpy.savez wrote.") from error
    return maps, landmarks


def parse_regions(pairs: Sequence[str]) -> dict[str, str | None]:
    """Parse ["Beard=chin", "Goatee="] to {"Beard": "chin", "Goatee": None}, on top of ATTRIBUTE_REGIONS."""
    regions: dict[str, str | None] = dict(ATTRIBUTE_REGIONS)
    for pair in pairs:
        name, equals, region = pair.partition("=")
        if not equals:
            raise DVAError(f"--region {pair!r} names no region; write for example Beard=lower, or Beard= for the whole face.")
        regions[name] = region or None
    return regions


def add_parser(commands) -> None:
    sub = commands.add_parser("look", help="how a bundle's edits are decoded and shown: guidance, tone, regions")
    sub.add_argument("--start", required=True, metavar="BUNDLE", help="bundle or known name to begin with")
    sub.add_argument("-o", "--out", type=Path, required=True, help="the bundle to write (.safetensors)")
    sub.add_argument("--guidance", type=float, metavar="W", help="weight of edit guidance (default: as it is)")
    sub.add_argument("--interval", type=int, nargs=2, metavar=("LOW", "HIGH"), help="timesteps that are guided (default: all)")
    sub.add_argument("--tone-attribute", action="append", metavar="NAME", help="may change the tone of the whole face; repeat")
    sub.add_argument("--region", action="append", default=[], metavar="NAME=REGION", help="where an attribute lives; repeat")
    sub.add_argument(
        "--faces", type=Path, help="folder of aligned faces with labels.csv and annotations.npz: regions measured by drawing on them"
    )
    sub.add_argument(
        "--maps", type=Path, metavar="FILE.npz", help="regions of the bundle's own: maps [32, 32] by name, and landmarks [68, 2]"
    )


def run(args: argparse.Namespace) -> int:
    look: dict[str, Any] = {"weight": args.guidance, "interval": args.interval, "regions": parse_regions(args.region)}
    if args.tone_attribute is not None:
        look["tone_attributes"] = args.tone_attribute
    if args.maps is not None:
        look["maps"], look["landmarks"] = read_maps(args.maps)
    elif args.faces is not None:
        look["maps"] = measure_regions(read_faces(args.faces))
    with_look(resolve_model(args.start), args.out, **look)
    return 0
