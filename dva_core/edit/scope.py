"""How edits are pasted: whether they may change the tone of the whole face, and in which regions of it they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..decomposition import Decomposition
from ..errors import DVAError
from ..faces.regions import OFF, REGIONS, WHOLE, WORN, Region
from ..faces.tone import TONES
from .attributes import AttributeSet
from .curves import parse_scale, strengths

BELOW_CHIN = "lower"  # the region that reaches below the chin


def keeps_tone(decomposition: Decomposition, model, tone: str | None = None) -> bool:
    """Whether the change of the whole face's tone is removed: `tone` "keep" or "change"; None: decided by the edits.

    By default it is removed unless an attribute of the edits is among the configuration's `tone_attributes`, or a switch has replaced the
    identity or the background. For a bundle without that list it is kept, as in the paper. DVAError for another `tone`.
    """
    check_tone(tone)
    if tone is not None:
        return tone == "keep"
    tone_attributes = model.config.get("tone_attributes")
    if tone_attributes is None or any(
        op.get("name") == "switch" and (op.get("identity") or is_background(op)) for op in decomposition.operations
    ):
        return False
    return not set(tone_attributes) & set(attributes_of(decomposition, model))


def check_tone(tone: str | None) -> None:
    if tone is not None and tone not in TONES:
        raise DVAError(f"There is no tone {tone!r}; choose {' or '.join(TONES)}, or leave it to the edit.")


def regions_of(decomposition: Decomposition, model, region: str | None = None) -> list[Region]:
    """The regions of the face whose union the edits may change; empty: the whole face. `region`: a name or "off"; None: by the edits.

    The region of an attribute is that of its entry in the configuration, the region of a direction its own. If one edit has no
    region, the whole face may change, and what the regions of others reach beyond it. By the edits, glasses that the model draws are worn
    over hair. DVAError for a region that neither the model nor this program has.
    """
    if region is not None:
        return [] if region == OFF else [find_region(model, region)]
    names = list(region_names(decomposition, model))
    regions = [replace(find_region(model, name), worn=model.draws and name in WORN) for name in dict.fromkeys(names) if name is not None]
    return [WHOLE, *regions] if None in names and regions else regions


def region_names(decomposition: Decomposition, model) -> Iterator[str | None]:
    """The region of each edit with an effect, None for an edit of the whole face. One that moves pixels may move the chin over the neck."""
    attributes = AttributeSet.from_model(model).entries
    entries = {entry.name: entry.region for entry in attributes}
    moving = [entry.name for entry in attributes if entry.space == "motion"]
    for operation in decomposition.operations:
        direction = operation.get("direction") or {}
        if operation.get("name") == "switch":
            yield None
        for name, scale in scales_of(operation).items():
            if any(strengths(parse_scale(scale))):
                region = direction.get("region") if direction else entries.get(name)
                yield region
                if region is None and model.retouches and (direction.get("space") == "motion" or name in moving):
                    yield BELOW_CHIN


def find_region(model, name: str) -> Region:
    """Look up a region by name, in the model first, then in this program; DVAError where there is none."""
    own = list(model.config.get("regions") or ())
    if name in own:
        regions = model.regions
        return Region(*(tensor.float().cpu().numpy() for tensor in (regions.maps[own.index(name)], regions.landmarks)))
    if name not in REGIONS:
        raise DVAError(f"There is no region {name!r} of the face; choose of {', '.join(dict.fromkeys([*own, *REGIONS]))}, or {OFF}.")
    return REGIONS[name]


def is_background(operation: dict) -> bool:
    """Whether the operation is a switch that replaced the noise maps."""
    return bool(operation.get("background")) or operation.get("noise_seed") is not None


def attributes_of(decomposition: Decomposition, model) -> Iterator[str]:
    """Names of the model's attributes that the edits move, by themselves or as directions."""
    names = set(AttributeSet.from_model(model).names)
    for operation in decomposition.operations:
        for name, scale in scales_of(operation).items():
            if name in names and any(strengths(parse_scale(scale))):
                yield name


def scales_of(operation: dict) -> dict:
    """Attribute -> scale of an operation; None where a direction is no attribute of a model."""
    if operation.get("name") == "direction":
        return {operation["direction"]["made"].get("attribute"): operation["scale"]}
    return operation.get("scales", {})
