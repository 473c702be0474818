"""What travels between the nodes beside ComfyUI's own VIDEO, IMAGE and MASK."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "DVA"

Model = io.Custom("DVA_MODEL")  # dva_core.autoencoder.DiffusionVideoAutoencoder
Clip = io.Custom("DVA_DECOMPOSITION")  # dva_core.decomposition.Decomposition; never changed, always a new one
Floats = io.Custom("FLOATS")  # a list of numbers, as ComfyUI's own hook keyframes take it
Direction = io.Custom("DVA_DIRECTION")  # dva_core.edit.directions.Direction; never changed, always a new one


def frame_input() -> io.Int.Input:
    """Which frame of a clip to show."""
    return io.Int.Input(
        "frame",
        default=0,
        min=0,
        max=10**6,
        display_name="frame",
        tooltip="Which frame, counted from 0 over the frames read; without a face in it, the nearest that has one.",
    )
