"""A noise predictor for larger images that begins with what a smaller one has learnt: larger patches, the same maps between."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dva_core.errors import DVAError

FIRST, LAST = "input_blocks.0.0.", "out.2."  # where patches are folded into channels and unfolded


def spread_patches(state: Mapping[str, Tensor], small: int, large: int) -> dict[str, Tensor]:
    """Convert the weights of a UNet with patches of `small` pixels to patches of `large`; all feature maps keep their size.

    What was read from and written to one pixel is read from and written to k x k, k = large / small. The mean of k x k pixels has noise
    k times weaker: the network first takes a picture for one at an earlier timestep, and training must teach it that.

    Raises DVAError where `large` is no multiple of `small`.
    """
    k, rest = divmod(large, small)
    if rest:
        raise DVAError(f"Patches of {small} pixels do not divide patches of {large}; choose a patch_size that is a multiple.")
    at = torch.arange(large) // k
    pixels = (at[:, None] * small + at).flatten()  # of the small patch, for each of the large one's
    channels = state[f"{LAST}bias"].shape[0] // small**2
    places = (torch.arange(channels)[:, None] * small**2 + pixels).flatten()
    first, last = f"{FIRST}weight", [f"{LAST}weight", f"{LAST}bias"]
    return {**state, first: state[first][:, places] / k**2, **{key: state[key][places] for key in last}}
