"""The paper's training objective, L = L_simple + L_reg, with its networks (Kim et al. 2023, sec. 3.3)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.hosts.devices import to_device
from dva_core.model.arrays import shrink
from dva_core.model.autoencoder import JAW
from dva_core.model.bundle import read_bundle
from dva_core.model.checks import weights_digest
from dva_core.model.evaluation import CompiledEvaluation
from dva_core.networks import build_network
from dva_core.networks.unet import is_added
from dva_core.train.conditioner import Conditioner, check_encoders, load_encoders
from dva_core.train.encoders import encode_faces
from dva_core.train.fit_texture import fit_gates, read_landmarks
from dva_core.train.frames import TrainingFrames
from dva_core.train.grow import spread_patches
from dva_core.train.losses import training_losses
from dva_core.train.settings import FOCUS, DiffusionSettings

log = logging.getLogger(__name__)

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
SCALING_PICTURES = 512  # pictures


class OtherShapeError(DVAError):
    """A bundle to start from has a noise predictor of another shape than the configuration."""


class Draw(NamedTuple):
    """Random variables of the losses of B pictures: timesteps [B] and two noises [B, 3, H, W]."""

    t: Tensor
    noise_1: Tensor
    noise_2: Tensor


class Parts(NamedTuple):
    """Encoded pictures: z_id [B, D] (one per person), z_motion [B, M], x_0 [B, 3, S, S] and the face mask [B, 1, S, S]."""

    z_id: Tensor
    z_motion: Tensor
    x_0: Tensor
    mask: Tensor


class Objective:
    """Frozen encoders, fusion layer and noise predictor of a configuration, with the training losses.

    Args: see diffusion.DiffusionTraining; `frames` are pictures from which the scaling of the fusion layer's inputs is computed.
    """

    def __init__(self, config: dict, encoders: Path, frames: TrainingFrames, settings: DiffusionSettings, device: torch.device):
        self.config, self.settings, self.device = config, settings, device
        self.schedule = Schedule(**config["diffusion"])
        frozen = {part: network.to(device) for part, network in load_encoders(config, encoders).items()}
        identity, landmarks = frozen["identity_encoder"], frozen["motion_encoder"]
        self.encoders = {part: weights_digest(network.state_dict()) for part, network in frozen.items()}
        scaling = self.scaling(identity, landmarks, frames)
        self.conditioner = Conditioner(identity, landmarks, config["face_dim"], *scaling, frozen.get("face_parser")).to(device)
        self.unet = build_network(config["noise_predictor"]).to(device, memory_format=torch.channels_last)
        self.compiled_network = CompiledEvaluation() if settings.compile else None
        self.parameters = {f"unet.{k}": v for k, v in self.unet.named_parameters()}
        self.parameters |= {f"fusion.{k}": v for k, v in self.conditioner.fusion.named_parameters()}
        if self.unet.texture is not None:
            self.read_landmarks()
            fit_gates(self.unet, self.schedule)
            rest = self.unet.texture_rest
            for layer in (self.conditioner.fusion, self.unet.texture, self.unet.texture_blend, rest.identity, rest.others):
                layer.requires_grad_(False)  # fitted, and so that landmarks and identity stay where they are in z_face

    def scaling(self, identity: nn.Module, landmarks: nn.Module, frames: TrainingFrames) -> tuple[Tensor, Tensor]:
        """Compute the mean of [z_id ; z_motion] over some pictures, and one gain per space for unit variance on average.

        With settings.scaled_inputs off 0 and 1, which is the method's plain linear layer.
        """
        dim = self.config["identity_dim"] + self.config["motion_dim"]
        if not self.settings.scaled_inputs:
            return torch.zeros(dim), torch.ones(dim)
        count = len(frames.group)
        rows = np.linspace(0, count - 1, min(SCALING_PICTURES, count)).astype(int)
        z_id, motion = (torch.from_numpy(part) for part in encode_faces(identity, landmarks, frames.read(rows), device=self.device))
        gains = [torch.full((part.shape[1],), 1 / part.std(0).square().mean().sqrt().item()) for part in (z_id, motion)]
        return torch.cat([z_id, motion], 1).mean(0), torch.cat(gains)

    def read_landmarks(self) -> None:
        """Let the texture read the landmarks from z_face."""
        read_landmarks(self.unet.texture, self.conditioner.fusion, self.conditioner.centre, self.conditioner.gain)

    def decompose(self, images: Tensor) -> Parts:
        """Encode [P, F, 3, C, C] in [-1, 1], F frames of each of P people, on any device."""
        images = to_device(images, self.device)
        z_id, points = self.conditioner.encode(images)
        flat, points, size = images.flatten(0, 1), points.flatten(0, 1), self.config["image_size"]
        x_0 = shrink(flat, size).contiguous(memory_format=torch.channels_last)
        mask = self.conditioner.face_mask(flat, points, size)
        return Parts(z_id.repeat_interleave(images.shape[1], 0), points[:, JAW:].flatten(1), x_0, mask)

    def condition(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute x_0 [B, 3, S, S], z_face [B, F] and face mask [B, 1, S, S] of pictures [P, F, 3, C, C], B = P F."""
        z_id, z_motion, x_0, mask = self.decompose(images)
        return x_0, self.conditioner.fuse(z_id, z_motion), mask

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor:
        """Predict eps for either parametrisation; the network runs in settings.precision, the rest in float32."""
        dtype = AUTOCAST.get(self.settings.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            if self.compiled_network and self.unet.training:  # validation would cost a second compilation
                output = self.compiled_network(self.unet, x_t, t, z_face)
            else:
                output = self.unet(x_t, t, z_face)
        return self.schedule.as_noise(output.float(), x_t, t)

    @torch.no_grad()
    def start_from(self, bundle: Path) -> None:
        """Load fusion layer and noise predictor of a bundle of the same configuration, such as published weights to fine-tune.

        One with another prediction (epsilon, v) starts with its last layer at zero; the patches of one with smaller images are
        spread (`grow`). Raises OtherShapeError if the networks differ, DVAError if the encoders do, for whose vectors its fusion layer
        was trained.
        """
        start = read_bundle(bundle)
        tensors = start.tensors
        if not self.settings.other_encoders:
            cure = "begin with a bundle of the same encoders, or name it with --encoders"
            check_encoders(self.encoders, tensors, f"{bundle} was made", cure)
        weight, bias = (tensors[f"fusion.{name}"].float().to(self.device) for name in ("weight", "bias"))
        state = {k.removeprefix("noise_predictor."): v.float() for k, v in tensors.items() if k.startswith("noise_predictor.")}
        own = self.unet.state_dict()
        patch = start.config["noise_predictor"].get("patch_size", 1)
        if self.unet.patch_size > patch:
            state = spread_patches({k: v for k, v in state.items() if not k.startswith("detail.")}, patch, self.unet.patch_size)
        state = {k: v for k, v in own.items() if is_added(k)} | state  # added parts may be new and start without effect
        shapes = {k: v.shape for k, v in own.items()}
        if {k: v.shape for k, v in state.items()} != shapes or weight.shape != self.conditioner.fusion.weight.shape:
            raise OtherShapeError(
                f"{bundle} has a noise predictor of another shape than the configuration; start from a bundle that fits it."
            )
        self.unet.load_state_dict(state)
        if Schedule(**start.config["diffusion"]).prediction != self.schedule.prediction:
            log.info("diffusion: %s predicts something else, so the last layer starts at zero", bundle)
            for layer in filter(None, (self.unet.out[-1], self.unet.detail and self.unet.detail.proj_out)):
                for parameter in layer.parameters():
                    parameter.zero_()
        self.conditioner.fusion.weight.copy_(weight / self.conditioner.gain)
        self.conditioner.fusion.bias.copy_(bias + weight @ self.conditioner.centre)
        if self.unet.texture is not None:
            self.read_landmarks()

    def draw(self, x_0: Tensor, generator: torch.Generator) -> Draw:
        """Draw timesteps and noises for pictures x_0 on the CPU, so that they are the same for any device."""
        focus = self.settings.focus if self.unet.training else 0
        t = torch.randint(0, self.schedule.train_steps, (len(x_0),), generator=generator)
        if focus:
            is_focused = torch.rand(len(t), generator=generator) < focus
            t = torch.where(is_focused, torch.randint(*FOCUS, t.shape, generator=generator), t)
        noises = to_device(torch.randn((2, *x_0.shape), generator=generator), self.device)
        return Draw(to_device(t, self.device), noises[0], noises[1])

    def simple_weight(self, noisiness: Tensor) -> Tensor:
        """Weight of L_simple at sigma / alpha [B], by settings.simple_cap."""
        cap = self.settings.simple_cap
        return noisiness.clamp(1, cap) if cap else torch.ones_like(noisiness)

    def losses(self, x_0: Tensor, z_face: Tensor, mask: Tensor, sample: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the losses of one batch: the objective, and the plain means of L_simple (of one noise) and L_reg."""
        s = self.settings
        simple, reg = training_losses(self.predict_noise, x_0, z_face, sample.t, sample.noise_1, sample.noise_2, mask, self.schedule)
        a = self.schedule.at(sample.t, x_0).flatten()
        noisiness = ((1 - a) / a).sqrt()
        reg_weight = s.reg_weight * ((s.reg_cap / noisiness).clamp(max=1) if s.reg_cap else torch.ones_like(a))
        return (self.simple_weight(noisiness) * simple + reg_weight * reg).mean(), simple.mean() / 2, reg.mean()
