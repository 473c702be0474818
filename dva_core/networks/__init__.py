"""Networks of the method: the published architectures and the small ones of the starter model."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from types import ModuleType

from torch import nn

from dva_core.errors import DVAError

NETWORKS = {
    "unet": ("unet", "UNet"),
    "ir_se50": ("arcface", "IRSE50"),
    "mobilenet_gdconv": ("landmarks", "MobileNetGDConv"),
    "bisenet": ("bisenet", "BiSeNet"),
    "compact_identity": ("compact", "CompactIdentity"),
    "compact_landmarks": ("compact", "CompactLandmarks"),
    "compact_detector": ("compact", "CompactDetector"),
    "compact_parser": ("parser", "CompactParser"),
}


def build_network(config: dict, operations: ModuleType | type = nn) -> nn.Module:
    """The network named by `config["type"]`, built with the other entries as arguments and layers from `operations`.

    Raises DVAError for a type or an argument that does not exist.
    """
    arguments = dict(config)
    kind = arguments.pop("type", None)
    if kind not in NETWORKS:
        raise DVAError(f"There is no network of type {kind!r}; choose one of {', '.join(NETWORKS)}.")
    module, name = NETWORKS[kind]
    network = getattr(import_module(f"{__name__}.{module}"), name)
    if "operations" in signature(network).parameters:  # the compact networks are small enough to stay plain torch
        arguments["operations"] = operations
    try:
        return network(**arguments)
    except TypeError as error:
        raise DVAError(f"The {kind} network cannot be built as configured: {error}.") from error
