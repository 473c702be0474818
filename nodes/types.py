"""What travels between the nodes beside ComfyUI's own VIDEO, IMAGE and MASK."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "DVA"

Model = io.Custom("DVA_MODEL")  # dva_core.autoencoder.DiffusionVideoAutoencoder
Clip = io.Custom("DVA_DECOMPOSITION")  # dva_core.decomposition.Decomposition; never changed, always a new one
Floats = io.Custom("FLOATS")  # a list of numbers, as ComfyUI's own hook keyframes take it
Direction = io.Custom("DVA_DIRECTION")  # dva_core.edit.directions.Direction; never changed, always a new one
