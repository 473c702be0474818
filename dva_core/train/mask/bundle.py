"""Adding a face parser to a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dva_core.files import check_spares
from dva_core.model.autoencoder import HULL, PARTS_PARSER
from dva_core.model.bundle import BundleInfo, read_bundle, write_bundle
from dva_core.networks.parser import CompactParser
from dva_core.train.state import read_network

CARD = "Face mask: a parser of this project, trained on the same synthetic faces with labels cut by colour and things drawn in front."


def add_mask(tensors: dict[str, Tensor], config: dict[str, Any], mask: Path | None) -> None:
    """Add the parser in `mask`, written by `train mask`, to a bundle's tensors and configuration; None: the hull of the landmarks.

    Raises DVAError if the file is missing, damaged or of another network.
    """
    for name in [name for name in tensors if name.startswith("face_parser.")]:
        del tensors[name]
    config["face_parser"] = {"type": HULL}
    if mask is not None:
        weights = read_network(mask, CompactParser()).state_dict()
        config["face_parser"] = {"type": PARTS_PARSER}
        tensors |= {f"face_parser.{name}": value for name, value in weights.items()}


def tells_front(config: Mapping[str, Any]) -> bool:
    """Whether a configuration's parser also segments what is in front of the face."""
    return (config.get("face_parser") or {}).get("type") == PARTS_PARSER


def with_mask(start: Path, out: Path, mask: Path | None) -> BundleInfo:
    """Write `out`: the bundle `start` with this face parser, as of `add_mask`, and everything else unchanged."""
    check_spares(out, "model file", [start] if mask is None else [start, mask])
    bundle = read_bundle(start)
    tensors, config = dict(bundle.tensors), dict(bundle.config)
    add_mask(tensors, config, mask)
    about = {key: bundle.metadata.get(key, "") for key in ("licence", "source", "model_card", "precision")}
    card = "".join(line for line in about["model_card"].splitlines(keepends=True) if not line.startswith(CARD))
    if mask is not None:
        card = card.rstrip("\n") + f"\n{CARD}{figures_of(mask)}\n"
    return write_bundle(out, tensors, config, **about | {"model_card": card})


def figures_of(mask: Path) -> str:
    """The figures that `train mask` wrote beside its network, as a sentence; empty if there are none."""
    try:
        figures = json.loads(mask.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return f" {json.dumps(figures)}"
