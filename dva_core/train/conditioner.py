"""Frozen encoders and the trained fusion layer: pictures of one person -> z_face and face mask (Kim et al. 2023, sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.model.autoencoder import HULL, HULL_GROWTH, PARTS_PARSER
from dva_core.model.bundle import read_bundle
from dva_core.model.checks import weights_digest
from dva_core.networks import build_network
from dva_core.networks.bisenet import face_area
from dva_core.networks.hull import hull_mask
from dva_core.train.state import read_tensors

FILES = {"identity_encoder": "identity", "motion_encoder": "landmarks", "face_parser": "face_parser"}  # in a folder of the distillation


ENCODERS = ("identity_encoder", "motion_encoder")  # the fusion layer is trained on their vectors


class Conditioner(nn.Module):
    """Frozen encoders and the trained fusion layer: pictures of one person -> z_face.

    The fusion layer is trained on centred, scaled inputs (`gain`, `centre`), which improves the optimisation, and exported as the
    plain linear layer of the method by `folded`.
    """

    def __init__(
        self, identity: nn.Module, landmarks: nn.Module, face_dim: int, centre: Tensor, gain: Tensor, parser: nn.Module | None = None
    ):
        super().__init__()
        self.identity, self.landmarks = identity.eval().requires_grad_(False), landmarks.eval().requires_grad_(False)
        self.parser = None if parser is None else parser.eval().requires_grad_(False)
        self.fusion = nn.Linear(len(centre), face_dim)
        self.register_buffer("centre", centre)
        self.register_buffer("gain", gain)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode [P, F, 3, S, S] in [-1, 1] -> z_id [P, D], the mean over the F frames, and landmarks [P, F, 68, 2] in 0..1."""
        flat, people = rearrange(images, "p f c h w -> (p f) c h w"), len(images)
        z_id = reduce(self.identity(flat), "(p f) d -> p d", "mean", p=people)
        return z_id, rearrange(self.landmarks(flat).clamp(0, 1), "(p f) n xy -> p f n xy", p=people)

    @torch.no_grad()
    def face_mask(self, images: Tensor, points: Tensor, size: int) -> Tensor:
        """Segment the face with hair and ears: images [B, 3, S, S], landmarks [B, 68, 2] of `encode` -> [B, 1, size, size] in {0, 1}."""
        if self.parser is not None:
            return face_area(self.parser(images), size, for_video=False)
        start, end = getattr(self.landmarks, "window", (0.0, 1.0))
        return hull_mask(start + (end - start) * points, size, HULL_GROWTH)

    def fuse(self, z_id: Tensor, z_motion: Tensor) -> Tensor:
        return self.fusion((torch.cat([z_id, z_motion], 1) - self.centre) * self.gain)


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Select the tensors of one part of a bundle, by their names within it."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def check_encoders(digests: Mapping[str, str], tensors: Mapping[str, Tensor], what: str, cure: str) -> None:
    """DVAError unless the encoders among a bundle's tensors have these digests, by part."""
    for part in ENCODERS:
        if part in digests and weights_digest(part_of(tensors, part)) != digests[part]:
            raise DVAError(f"{what} with another {part.replace('_', ' ')} than the run's, whose vectors do not match; {cure}.")


def fold_scaling(weight: Tensor, bias: Tensor, centre: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Fold centre and gain into a linear layer: weight and bias of v -> weight ((v - centre) gain) + bias."""
    weight = weight * gain
    return weight, bias - weight @ centre


def load_encoders(config: dict, source: Path) -> dict[str, nn.Module]:
    """Build the frozen networks of `config` by part: identity_encoder, motion_encoder and, if it has one with hair and ears, face_parser.

    `source` is a bundle, such as published weights, or a folder of the distillation (identity, landmarks [, face_parser] .safetensors).
    Raises DVAError if one is missing or of another shape.
    """
    parts = [part for part in FILES if config.get(part) and config[part]["type"] not in (HULL, PARTS_PARSER)]
    bundle = None if source.is_dir() else read_bundle(source).tensors
    encoders = {}
    for part in parts:
        if bundle is None:
            file = source / f"{FILES[part]}.safetensors"
            if not file.is_file():
                raise DVAError(f"{file} is missing: distil it (`train {FILES[part]}`), or take the encoders of a bundle with --encoders.")
            state = read_tensors(file)
        else:
            state = part_of(bundle, part)
        network = build_network(config[part])
        try:
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        except RuntimeError as error:
            name = part.replace("_", " ")
            raise DVAError(f"{source} has no {name} of the configuration's kind; take the one it was made for.") from error
        encoders[part] = network.eval().requires_grad_(False)
    return encoders
