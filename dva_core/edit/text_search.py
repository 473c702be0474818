"""Text editing: the step of an identity vector that changes its face as a text says (Kim et al. 2023, sec. 3.4; system.md 5).

A frame is inverted with few steps (S = 5), which gives S intermediate images. From each, one DDIM step is taken with the original
identity z_0 (the source) and with the edited one, z = l2norm(z_0 + u). Adam moves u to minimise

    L = w_clip L_clip + w_id (1 - cos(z, z_0)) + w_l1 |(image - source) mask|_1

over all S images of all chosen frames, with one u for all of them. The result is the step z - z_0.

Differences from the paper: the source is the step with z_0, not the intermediate image, so that only the edit counts as change; z keeps
unit length during the search, as it has when the edit is applied; the search ends when the loss no longer falls.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..decomposition import Decomposition, check_model
from ..diffusion import ddim
from ..diffusion.schedule import combine, image_of, noise_of
from ..errors import DVAError
from ..model.arrays import as_picture, shrink, to_images
from ..progress import Progress, silent
from ..values import whole
from .directions import Direction, encoder_fingerprint
from .text_losses import clip_loss, directional_loss, identity_loss, masked_l1, text_direction
from .text_model import ImageTextModel
from .text_network import TextNetworks
from .text_prompts import sentences
from .text_settings import TextSettings

logger = logging.getLogger(__name__)

FLOOR = 0.03  # of unit image features, see `directional_loss`
WINDOW, LEAST_GAIN = 30, 0.005  # settled: the mean loss over WINDOW iterations falls by less than LEAST_GAIN of the one before
PREVIEW_EVERY = 5


@dataclass
class Best:
    """The best result so far: the step [D], its loss, the iteration, and the terms of the loss."""

    step: np.ndarray | None = None
    loss: float = float("inf")
    iteration: int = 0
    parts: dict[str, float] = field(default_factory=dict)


def rows_of_frames(decomposition: Decomposition, frames: int | Sequence[int]) -> list[int]:
    """Rows of the frames numbered `frames`, or of the nearest with a face. DVAError for a number outside the video."""
    numbers = [whole(frame, "frame") for frame in ([frames] if np.ndim(frames) == 0 else frames)]
    index, count = decomposition.frame_index, decomposition.info.frames
    for frame in numbers:
        if not 0 <= frame < count:
            raise DVAError(f"There is no frame {frame}; the video has frames 0 to {count - 1}.")
    if not numbers:
        raise DVAError("No frame was chosen for the text edit; name at least one.")
    return sorted({int(np.abs(index - frame).argmin()) for frame in numbers})


class TextSearch:
    """One search. Its progress may raise at any time to end `run`; `best` and `direction()` then hold the best result so far.

    The same decomposition, model, texts and settings give the same result on the same machine.
    """

    def __init__(self, decomposition: Decomposition, model, text_model: ImageTextModel, settings: TextSettings) -> None:
        check_model(decomposition, model)
        settings.check()
        self.model, self.text_model, self.settings = model, text_model, settings
        self.rows = rows_of_frames(decomposition, settings.frames)
        self.frames = [int(frame) for frame in decomposition.frame_index[self.rows]]
        self.best, self.iterations, self.history = Best(), 0, []
        self._last_images: Tensor | None = None
        self._decomposition = decomposition
        self._chunk: int | None = None

    def run(self, progress: Progress | None = None) -> Best:
        """Search until the loss has settled or all iterations are done; calls `progress("text", iteration, iterations, images)`."""
        with torch.inference_mode(False), torch.enable_grad(), TextNetworks(self.model, self.text_model) as networks:
            self._search(networks, progress or silent)
        return self.best

    @property
    def pictures(self) -> np.ndarray | None:
        """The last iteration's images of the first frame [S, 3, H, W] in [-1, 1]."""
        return None if self._last_images is None else self._last_images.cpu().numpy()

    def direction(self, name: str = "") -> Direction:
        """The best result so far as a direction whose scale 1 is the step z - z_0. DVAError before the first iteration."""
        if self.best.step is None:
            raise DVAError("The text edit was ended before its first step; let it run for a moment.")
        s = self.settings
        record = {
            "how": "text",
            "source": s.source,
            "target": s.target,
            "image_text_model": self.text_model.name,
            "model": self.model.config.get("name", ""),
            "clip": self._decomposition.info.source.replace("\\", "/").rsplit("/", 1)[-1],
            "frames": self.frames,
            "images": s.images,
            "weights": [s.clip_weight, s.identity_weight, s.l1_weight],
            "learning_rate": s.learning_rate,
            "seed": s.seed,
            "iterations": self.iterations,
            "loss": round(self.best.loss, 6),
        }
        return Direction(self.best.step, "identity", name or s.target, encoder_fingerprint(self.model, "identity"), made=record)

    # -- one search, step by step ----------------------------------------------------------------------------

    def _search(self, networks: TextNetworks, progress: Progress) -> None:
        s = self.settings
        frames = self._prepare(networks)
        generator = torch.Generator().manual_seed(s.seed)
        u = F.normalize(torch.randn(1, frames.z_0.shape[1], generator=generator)).to(frames.z_0) * s.start
        u.requires_grad_(True)
        adam = torch.optim.Adam([u], lr=s.learning_rate)
        for self.iterations in range(1, s.iterations + 1):
            loss, parts, step = self._gradient(networks, frames, u)
            if not np.isfinite(loss):
                raise DVAError("The text edit computed values that are not finite numbers; lower the learning rate.")
            self.history.append(loss)
            if loss < self.best.loss:
                self.best = Best(step, loss, self.iterations, parts)
            adam.step()
            show = self.iterations % PREVIEW_EVERY == 1 or self.iterations == s.iterations
            progress("text", self.iterations, s.iterations, strip(self.pictures) if show else None)
            if s.settle and has_settled(self.history):
                break
        logger.info("Text edit: loss %.4f -> %.4f in %d iterations.", self.history[0], self.best.loss, self.iterations)

    def _prepare(self, networks: TextNetworks) -> SearchFrames:
        """Compute what stays constant during the search."""
        with torch.no_grad():
            direction = text_direction(*(networks.texts(sentences(text)) for text in (self.settings.source, self.settings.target)))
            decomposition, rows, S = self._decomposition, self.rows, self.settings.images
            x_0 = shrink(to_images(decomposition.crops[rows]), self.model.image_size)
            masks = shrink(torch.from_numpy(decomposition.masks[rows]).float()[:, None], self.model.image_size)
            motion = self._own_motion(rows)
            z_frames = torch.from_numpy(decomposition.z_id_frames[rows])
            noisy = intermediate_images(networks, x_0, networks.fuse(z_frames, motion), S)
            # earlier edits move the frames' own vectors as they moved the mean
            shift = np.atleast_2d(decomposition.current_identity(rows) - decomposition.z_id).astype(np.float32)
            z_0 = F.normalize(z_frames + torch.from_numpy(shift)).to(networks.device)
            motion = torch.from_numpy(np.ascontiguousarray(decomposition.current_z_motion(rows), np.float32)).to(networks.device)
            path = self.model.schedule.downwards(S)[::-1] * len(rows)
            t, alpha_bar, alpha_bar_next = (torch.tensor(column, device=networks.device) for column in zip(*path))
            masks = masks.repeat_interleave(S, 0).to(networks.device)
            frames = SearchFrames(noisy, t, alpha_bar, alpha_bar_next, masks, motion, z_0, direction)
            z_face = networks.fuse(z_0, motion).repeat_interleave(S, 0)
            pieces = [networks.images(frames.step(networks, z_face, slice(i, i + S))) for i in range(0, len(noisy), S)]
            sources = [frames.step(networks, z_face, slice(i, i + S)) for i in range(0, len(noisy), S)]
            frames.source, frames.source_features = torch.cat(sources), torch.cat(pieces)
        return frames

    def _own_motion(self, rows: Sequence[int]) -> Tensor:
        """The motion [n, D_motion] of the frames' own crops, for their inversion, also after a switch of the motion."""
        decomposition = self._decomposition
        if decomposition.is_switched:
            return self.model.encode_motion(to_images(decomposition.crops[rows])).float().cpu()
        return torch.from_numpy(np.ascontiguousarray(decomposition.z_motion[rows], np.float32))

    def _gradient(self, networks: TextNetworks, frames: SearchFrames, u: Tensor) -> tuple[float, dict[str, float], np.ndarray]:
        """Compute the loss at u, its terms and the step, and the gradient in u.grad; fewer images at a time if memory runs out."""
        host, count = self.model.host, len(frames.noisy)
        if self._chunk is None:
            self._chunk = 1 if self.settings.save_memory else count
        while True:
            try:
                u.grad = None
                return self._backward(networks, frames, u)
            except (RuntimeError, MemoryError) as error:
                if not host.is_out_of_memory(error):
                    raise
                if self._chunk == 1:
                    raise DVAError(f"The memory of {host.device} does not hold one image's gradient; choose device cpu.") from error
            self._chunk = max(1, self._chunk // 2)
            logger.info("Out of memory: going on with %d images at a time.", self._chunk)
            host.free_memory()

    def _backward(self, networks: TextNetworks, frames: SearchFrames, u: Tensor) -> tuple[float, dict[str, float], np.ndarray]:
        """As `_gradient`, in a function of its own, so that the graph of a failed call is freed."""
        loss, parts = self._loss(networks, frames, u)
        loss.backward()
        results = torch.cat([torch.stack([loss, *parts.values()]).detach(), self._step(frames, u)]).cpu()  # one synchronisation
        loss, *values = results[: 1 + len(parts)].tolist()
        return loss, dict(zip(parts, values)), results[1 + len(parts) :].numpy()

    def _loss(self, networks: TextNetworks, frames: SearchFrames, u: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        s, count, chunk = self.settings, len(frames.noisy), self._chunk
        z = F.normalize(frames.z_0 + u)
        z_face = networks.fuse(z, frames.motion).repeat_interleave(s.images, 0)

        def evaluate_part(z_face: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
            images = frames.step(networks, z_face, part)
            directional = directional_loss(frames.source_features[part], networks.images(images), frames.direction, FLOOR)
            return directional, masked_l1(images, frames.source[part], frames.masks[part]), images.detach()

        outputs = []
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            if chunk < count:  # stores only z_face and the outputs; activations are computed again for the gradient
                outputs.append(checkpoint(evaluate_part, z_face, part, use_reentrant=False, preserve_rng_state=False))
            else:
                outputs.append(evaluate_part(z_face, part))
        directional, l1, images = (torch.cat(column) for column in zip(*outputs))
        self._last_images = images[: s.images]
        parts = {"clip": clip_loss(directional), "identity": identity_loss(z, frames.z_0), "l1": l1.mean()}
        return s.clip_weight * parts["clip"] + s.identity_weight * parts["identity"] + s.l1_weight * parts["l1"], parts

    @staticmethod
    def _step(frames: SearchFrames, u: Tensor) -> Tensor:
        """The step z - z_0 [D], mean over the frames."""
        with torch.no_grad():
            return (F.normalize(frames.z_0 + u) - frames.z_0).mean(0)


@dataclass
class SearchFrames:
    """The chosen frames, S images each, frame after frame, n in all.

    noisy [n, 3, H, W]: intermediate images of the inversion; t, alpha_bar, alpha_bar_next [n]: the DDIM step from each;
    masks [n, 1, H, W]: 1 in the face; motion [frames, M], z_0 [frames, D]; direction [1, E] of the text;
    source [n, 3, H, W], source_features [n, E]: the step's result with z_0.
    """

    noisy: Tensor
    t: Tensor
    alpha_bar: Tensor
    alpha_bar_next: Tensor
    masks: Tensor
    motion: Tensor
    z_0: Tensor
    direction: Tensor
    source: Any = None
    source_features: Any = None

    def step(self, networks: TextNetworks, z_face: Tensor, part: slice) -> Tensor:
        """One DDIM step (eq. 3) from the noisy images of `part` with z_face [n, F], each row at its own timestep."""
        x = self.noisy[part]
        alpha_bar, alpha_bar_next = (a[part].float()[:, None, None, None] for a in (self.alpha_bar, self.alpha_bar_next))
        eps = networks.predict_noise(x, self.t[part], z_face[part])
        x_0 = image_of(x, eps, alpha_bar).clamp(-1, 1)
        return combine(x_0, noise_of(x, x_0, alpha_bar), alpha_bar_next)


def intermediate_images(networks: TextNetworks, x_0: Tensor, z_face: Tensor, images: int) -> Tensor:
    """Invert x_0 [f, 3, H, W] with `images` steps and return all states: [f * images, 3, H, W], from image to noise."""
    noisy = [x_0.to(z_face.device)]
    ddim.invert(networks, noisy[0], z_face, images, callback=lambda done, total, x: noisy.append(x))
    return rearrange(noisy, "s f c h w -> (f s) c h w")


def has_settled(history: Sequence[float]) -> bool:
    """Whether the mean of the last WINDOW losses is hardly lower than that of the WINDOW before them."""
    if len(history) < 2 * WINDOW:
        return False
    before, after = np.mean(history[-2 * WINDOW : -WINDOW]), np.mean(history[-WINDOW:])
    return bool(after > (1 - LEAST_GAIN) * before)


def strip(images: np.ndarray) -> np.ndarray:
    """[n, 3, H, W] in [-1, 1] side by side, uint8 [H, n W, 3]."""
    return rearrange([as_picture(image) for image in images], "n h w c -> h (n w) c")
