"""Text editing: the step of an identity vector that changes its face as a text says (Kim et al. 2023, sec. 3.4; system.md 5).

A frame is inverted with few steps (S = 5) and the S images on the way are kept. From each one DDIM step is taken, with the identity
as it is (the source) and with the one being sought, z = l2norm(z_0 + u). Adam moves u to minimise

    L = w_clip L_clip + w_id (1 - cos(z, z_0)) + w_l1 |(image - source) mask|_1

over all S images of all chosen frames; u is one for all of them. What is learnt is the step z - z_0.

Apart from the paper: the source is the step with z_0, not the kept image, so that nothing but the edit counts as change; z keeps unit
length while it moves, as it will have when it is applied; and the search ends when the loss has settled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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

logger = logging.getLogger(__name__)

FLOOR = 0.03  # of unit image features: a change below it counts as less than a change
WINDOW, LEAST_GAIN = 30, 0.005  # settled: the mean loss of so many iterations is not that much lower than that of as many before
PREVIEW_EVERY = 5


@dataclass(frozen=True)
class TextSettings:
    """What is sought, and how.

    source, target   texts; the change asked for is the difference of the two
    frames           numbers of frames to look at, or one number; a frame without a face stands for the nearest that has one
    images           S, the intermediate images of each frame
    iterations       Adam's steps at the most; with `settle` fewer, as soon as the loss has settled
    clip_weight, identity_weight, l1_weight, learning_rate   as in the paper
    seed, start      u begins at random, of length `start`: seeds give different ways to the same text
    save_memory      compute images anew for the gradient instead of keeping what they need; slower, a fraction of the memory
    """

    source: str = "face"
    target: str = ""
    frames: int | Sequence[int] = 0
    images: int = 5
    iterations: int = 2000
    settle: bool = True
    clip_weight: float = 3.0
    identity_weight: float = 5.0
    l1_weight: float = 5.0
    learning_rate: float = 0.002
    seed: int = 0
    start: float = 0.01
    save_memory: bool = False

    def __post_init__(self) -> None:
        """Numbers as JSON keeps them, which a direction is made of at the very end."""
        for name in ("images", "iterations", "seed"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        for name in ("clip_weight", "identity_weight", "l1_weight", "learning_rate", "start"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def check(self) -> None:
        """DVAError for the first setting that makes no sense."""
        if not self.target.strip() or not self.source.strip():
            raise DVAError('A text edit needs a source and a target text; say for example "face" and "face with beard".')
        for name in ("images", "iterations"):
            whole(getattr(self, name), f"number of {name}", 1)
        weights = (self.clip_weight, self.identity_weight, self.l1_weight)
        if not all(np.isfinite(weights)) or min(weights) < 0 or not self.clip_weight:
            raise DVAError(f"The weights {weights} of the text edit make no sense; use numbers from 0 up, such as 3, 5 and 5.")
        if not 0 < self.learning_rate <= 1:
            raise DVAError(f"The learning rate {self.learning_rate:g} makes no sense; use for example 0.002.")


@dataclass
class Best:
    """The best so far: the learnt step [D], its loss, and after how many iterations of how many."""

    step: np.ndarray | None = None
    loss: float = float("inf")
    iteration: int = 0
    parts: dict[str, float] = field(default_factory=dict)


def chosen_rows(decomposition: Decomposition, frames: int | Sequence[int]) -> list[int]:
    """Rows of the frames numbered `frames`, or of the nearest with a face. DVAError for a number outside the clip."""
    numbers = [whole(frame, "frame") for frame in ([frames] if np.ndim(frames) == 0 else frames)]
    index, count = decomposition.frame_index, decomposition.info.frames
    for frame in numbers:
        if not 0 <= frame < count:
            raise DVAError(f"There is no frame {frame}; the clip has frames 0 to {count - 1}.")
    if not numbers:
        raise DVAError("No frame was chosen for the text edit; name at least one.")
    return sorted({int(np.abs(index - frame).argmin()) for frame in numbers})


class TextSearch:
    """One search. `run` may be left at any time by an exception of its progress; `best` and `direction()` then hold what was found.

    The same clip, model, texts and settings give the same result on the same machine.
    """

    def __init__(self, decomposition: Decomposition, model, text_model: ImageTextModel, settings: TextSettings) -> None:
        check_model(decomposition, model)
        settings.check()
        self.model, self.text_model, self.settings = model, text_model, settings
        self.rows = chosen_rows(decomposition, settings.frames)
        self.frames = [int(frame) for frame in decomposition.frame_index[self.rows]]
        self.best, self.iterations, self.history = Best(), 0, []
        self._shown: Tensor | None = None
        self._decomposition = decomposition
        self._chunk: int | None = None

    def run(self, progress: Progress | None = None) -> Best:
        """Searches until the loss has settled or the iterations are done; `progress("text", iteration, iterations, images)` after each."""
        with torch.inference_mode(False), torch.enable_grad(), TextNetworks(self.model, self.text_model) as networks:
            self._search(networks, progress or silent)
        return self.best

    @property
    def pictures(self) -> np.ndarray | None:
        """The last iteration's images of the first frame [S, 3, H, W] in [-1, 1]."""
        return None if self._shown is None else self._shown.cpu().numpy()

    def direction(self, name: str = "") -> Direction:
        """What was found, as a direction whose scale 1 is the learnt step. DVAError where nothing was found yet."""
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
            if s.settle and settled(self.history):
                break
        logger.info("Text edit: loss %.4f -> %.4f in %d iterations.", self.history[0], self.best.loss, self.iterations)

    def _prepare(self, networks: TextNetworks) -> SearchFrames:
        """Everything that stays the same during the search."""
        with torch.no_grad():
            direction = text_direction(*(networks.texts(sentences(text)) for text in (self.settings.source, self.settings.target)))
            decomposition, rows, S = self._decomposition, self.rows, self.settings.images
            x_0 = shrink(to_images(decomposition.crops[rows]), self.model.image_size)
            masks = shrink(torch.from_numpy(decomposition.masks[rows]).float()[:, None], self.model.image_size)
            motion = self._own_motion(rows)
            z_frames = torch.from_numpy(decomposition.z_id_frames[rows])
            kept = intermediate_images(networks, x_0, networks.fuse(z_frames, motion), S)
            # earlier edits move the frames' own vectors as they moved the mean
            shift = np.atleast_2d(decomposition.current_identity(rows) - decomposition.z_id).astype(np.float32)
            z_0 = F.normalize(z_frames + torch.from_numpy(shift)).to(networks.device)
            motion = torch.from_numpy(np.ascontiguousarray(decomposition.current_z_motion(rows), np.float32)).to(networks.device)
            path = self.model.schedule.downwards(S)[::-1] * len(rows)
            t, now, then = (torch.tensor(column, device=networks.device) for column in zip(*path))
            masks = masks.repeat_interleave(S, 0).to(networks.device)
            frames = SearchFrames(kept, t, now, then, masks, motion, z_0, direction)
            z_face = networks.fuse(z_0, motion).repeat_interleave(S, 0)
            pieces = [networks.images(frames.step(networks, z_face, slice(i, i + S))) for i in range(0, len(kept), S)]
            sources = [frames.step(networks, z_face, slice(i, i + S)) for i in range(0, len(kept), S)]
            frames.source, frames.source_features = torch.cat(sources), torch.cat(pieces)
        return frames

    def _own_motion(self, rows: Sequence[int]) -> Tensor:
        """[n, D_motion] of the frames' own crops, by which they are inverted, also where the decomposition has the motion of another."""
        decomposition = self._decomposition
        if decomposition.is_switched:
            return self.model.encode_motion(to_images(decomposition.crops[rows])).float().cpu()
        return torch.from_numpy(np.ascontiguousarray(decomposition.z_motion[rows], np.float32))

    def _gradient(self, networks: TextNetworks, frames: SearchFrames, u: Tensor) -> tuple[float, dict[str, float], np.ndarray]:
        """The loss at u, its parts, the step and, in u.grad, the gradient; with fewer images at a time where memory runs out."""
        host, count = self.model.host, len(frames.kept)
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
        """One loss, its parts and the step at u, and the gradient in u.grad; in a call of its own, so that a failed one leaves no graph."""
        loss, parts = self._loss(networks, frames, u)
        loss.backward()
        found = torch.cat([torch.stack([loss, *parts.values()]).detach(), self._step(frames, u)]).cpu()  # the device is asked once
        loss, *values = found[: 1 + len(parts)].tolist()
        return loss, dict(zip(parts, values)), found[1 + len(parts) :].numpy()

    def _loss(self, networks: TextNetworks, frames: SearchFrames, u: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        s, count, chunk = self.settings, len(frames.kept), self._chunk
        z = F.normalize(frames.z_0 + u)
        z_face = networks.fuse(z, frames.motion).repeat_interleave(s.images, 0)
        shown: list[Tensor] = []

        def some(z_face: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
            images = frames.step(networks, z_face, part)
            directional = directional_loss(frames.source_features[part], networks.images(images), frames.direction, FLOOR)
            return directional, masked_l1(images, frames.source[part], frames.masks[part]), images.detach()

        answers = []
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            if chunk < count:  # only z_face is kept of it, and what it gave; the rest is computed again for the gradient
                answers.append(checkpoint(some, z_face, part, use_reentrant=False, preserve_rng_state=False))
            else:
                answers.append(some(z_face, part))
        directional, l1, shown = (torch.cat(column) for column in zip(*answers))
        self._shown = shown[: s.images]
        parts = {"clip": clip_loss(directional), "identity": identity_loss(z, frames.z_0), "l1": l1.mean()}
        return s.clip_weight * parts["clip"] + s.identity_weight * parts["identity"] + s.l1_weight * parts["l1"], parts

    @staticmethod
    def _step(frames: SearchFrames, u: Tensor) -> Tensor:
        """The learnt step z - z_0 [D], mean over the frames."""
        with torch.no_grad():
            return (F.normalize(frames.z_0 + u) - frames.z_0).mean(0)


@dataclass
class SearchFrames:
    """The chosen frames, S images each, frame after frame, n in all.

    kept [n, 3, H, W]: intermediate images of the inversion; t, now, then [n]: the step from each (timestep, alpha_bar, alpha_bar
    there); masks [n, 1, H, W]: 1 in the face; motion [frames, M], z_0 [frames, D]; direction [1, E] of the text.
    source [n, 3, H, W], source_features [n, E]: what the step gives with z_0.
    """

    kept: Tensor
    t: Tensor
    now: Tensor
    then: Tensor
    masks: Tensor
    motion: Tensor
    z_0: Tensor
    direction: Tensor
    source: Any = None
    source_features: Any = None

    def step(self, networks: TextNetworks, z_face: Tensor, part: slice) -> Tensor:
        """One DDIM step (eq. 3) from the kept images of `part` with z_face [n, F]; as `ddim.estimate` and `ddim.step`, a timestep a row."""
        x, now, then = self.kept[part], *(a[part].float()[:, None, None, None] for a in (self.now, self.then))
        eps = networks.predict_noise(x, self.t[part], z_face[part])
        x_0 = image_of(x, eps, now).clamp(-1, 1)
        return combine(x_0, noise_of(x, x_0, now), then)


def intermediate_images(networks: TextNetworks, x_0: Tensor, z_face: Tensor, images: int) -> Tensor:
    """Invert x_0 [f, 3, H, W] with `images` steps and keep the images on the way: [f images, 3, H, W], from image to noise."""
    kept = [x_0.to(z_face.device)]
    ddim.invert(networks, kept[0], z_face, images, callback=lambda done, total, x: kept.append(x))
    return torch.stack(kept, 1).flatten(0, 1)


def settled(history: Sequence[float]) -> bool:
    """Whether the last WINDOW losses are on the average hardly lower than the WINDOW before them."""
    if len(history) < 2 * WINDOW:
        return False
    before, after = np.mean(history[-2 * WINDOW : -WINDOW]), np.mean(history[-WINDOW:])
    return bool(after > (1 - LEAST_GAIN) * before)


def strip(images: np.ndarray) -> np.ndarray:
    """[n, 3, H, W] in [-1, 1] side by side, uint8 [H, n W, 3]."""
    return np.concatenate([as_picture(image) for image in images], 1)
