"""A model of a few thousand parameters, as a configuration, as tensors and as a file; for tests that need any model at all."""

from __future__ import annotations

from pathlib import Path

import torch

from dva_core.model.build import build_empty
from dva_core.model.bundle import write_bundle
from dva_core.model.loader import load_model

IDENTITY, POINTS = 16, 51
ATTRIBUTES = [
    {"name": "Young", "space": "identity", "index": 0, "auc": 0.9, "range": [-1, 1]},
    {"name": "Male", "space": "identity", "index": 1, "auc": 0.9, "range": [-1, 1]},
    {"name": "Smiling", "space": "motion", "index": 0, "auc": 0.9, "range": [-1, 1]},
]


def tiny_config(**changes) -> dict:
    """Configuration of the tiny model; `changes` replace entries."""
    return {
        "format": "dva-bundle",
        "version": 1,
        "name": "tiny",
        "image_size": 16,
        "crop_size": 32,
        "noise_predictor": {
            "type": "unet",
            "image_size": 16,
            "patch_size": 2,
            "base_channels": 8,
            "channel_multipliers": [1, 2],
            "num_res_blocks": 1,
            "attention_resolutions": [4],
            "embedding_channels": 16,
            "condition_channels": 24,
        },
        "identity_encoder": {"type": "compact_identity", "embedding_dim": IDENTITY, "widths": [4, 4, 8, 8], "input_size": 32},
        "motion_encoder": {"type": "compact_landmarks", "widths": [4, 4, 8], "input_size": 32},
        "face_parser": {"type": "landmark_hull"},
        "detector": {"type": "compact_detector", "widths": [4, 4, 8, 8, 8]},
        "landmarks": {"type": "motion_encoder"},
        "identity_dim": IDENTITY,
        "motion_dim": 2 * POINTS,
        "face_dim": 24,
        "diffusion": {"train_steps": 1000, "beta_start": 1e-4, "beta_end": 2e-2},
        "attributes": ATTRIBUTES,
        **changes,
    }


def tiny_tensors(config: dict | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of the model of `config`, drawn at random so that numbers keep their order of size from layer to layer."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: torch.Tensor) -> torch.Tensor:
        if not like.is_floating_point():
            return torch.zeros_like(like)
        normal = torch.randn(like.shape, generator=generator)
        return normal / like[0].numel() ** 0.5 if like.ndim > 1 else 0.5 + 0.1 * normal.abs()

    return {name: draw(tensor) for name, tensor in build_empty(config or tiny_config()).state_dict().items()}


def write_tiny(path: Path, precision: str = "fp32", config: dict | None = None, seed: int = 0, **changes) -> Path:
    """A bundle of the tiny model at `path`, with the weights of that seed."""
    config = config or tiny_config()
    write_bundle(
        path, {**tiny_tensors(config, seed), **changes}, config, licence="MIT", source="a test", model_card="tiny", precision=precision
    )
    return path


def network_inputs(model, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, t = 500 as one expanded number, and z_face, drawn: what the noise predictor of a loaded model is evaluated with."""
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(frames, 3, model.image_size, model.image_size, generator=generator)
    return x_t, torch.full((1,), 500).expand(frames), torch.randn(frames, model.face_dim, generator=generator)


def drawing_config() -> dict:
    """Configuration of the tiny model with a texture, on which "Young" is a drawing."""
    config = tiny_config(face_dim=IDENTITY + 2 * POINTS)
    texture = {"spatial_channels": 2, "spatial_size": 4, "texture_rank": 2, "texture_size": 48, "retouch_size": 24,
               "identity_channels": IDENTITY}  # fmt: skip
    return {**config, "noise_predictor": config["noise_predictor"] | {"condition_channels": IDENTITY + 2 * POINTS} | texture}


def drawing_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of that model: z_face is both vectors as they are, and a step of "Young" draws a black square on the middle third.

    The square stays where it is in the crop, whatever the landmarks are.
    """
    config = drawing_config()
    config["noise_predictor"].pop("retouch_size")  # which would change all that is drawn at random after it
    tensors = tiny_tensors(config, seed)
    size, texels = IDENTITY + 2 * POINTS, 48
    step = torch.nn.functional.normalize(tensors["attributes.identity.weight"][0] * tensors["attributes.identity.std"], dim=0)
    square = torch.zeros(6, texels, texels)
    square[:, 16:32, 16:32] = -1
    part = "noise_predictor.texture"
    without = torch.eye(IDENTITY, size) - torch.cat([step[:, None] * step, torch.zeros(IDENTITY, 2 * POINTS)], 1)
    empty = {f"{part}.{name}": torch.zeros_like(tensors[f"{part}.{name}"]) for name in ("points.weight", "points.bias", "patterns.bias")}
    others = torch.eye(size)
    others[:IDENTITY] = 0
    return tensors | empty | {
        "fusion.weight": torch.eye(size), "fusion.bias": torch.zeros(size),
        f"{part}.mean.weight": torch.rand(2 * POINTS, 1, generator=torch.Generator().manual_seed(seed)),
        f"{part}.patterns.weight": torch.stack([square.flatten(), torch.zeros(square.numel())], 1),
        "noise_predictor.retouch.patterns.weight": torch.zeros(3 * 24**2, 2), "noise_predictor.retouch.closed.weight": torch.zeros(2, 1),
        "noise_predictor.retouch.rigid.weight": torch.tensor([[1.0], [0.0]]),
        f"{part}.weights.weight": torch.cat([0.54 * step, torch.zeros(2 * POINTS)])[None] * torch.tensor([[1.0], [0], [0], [0]]),
        f"{part}.weights.bias": torch.zeros(4),
        f"{part}_rest.identity.weight": without, f"{part}_rest.identity.bias": torch.zeros(IDENTITY),
        f"{part}_rest.fusion.weight": torch.eye(size, IDENTITY),
        f"{part}_rest.others.weight": others, f"{part}_rest.others.bias": torch.zeros(size),
    }  # fmt: skip


def load_drawing(folder: Path):
    """The model of `drawing_config`, from a file in `folder`."""
    return load_model(write_tiny(folder / "drawing.safetensors", config=drawing_config(), **drawing_tensors()), device="cpu")
