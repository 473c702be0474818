"""Training of fusion layer and noise predictor: L = L_simple + L_reg (Kim et al. 2023, sec. 3.3; spec, system.md 6).

A batch item is one person with several frames: z_id is the mean over the frames, z_motion each frame's own,
so that what changes between the frames comes from the motion vector and what stays from the identity vector.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from dva_core.errors import DVAError
from dva_core.model.arrays import to_images
from dva_core.train import processes
from dva_core.train.augment import reframe, relight
from dva_core.train.board import Board, sample_grids
from dva_core.train.checkpoint import resume_run, save_run
from dva_core.train.conditioner import Conditioner
from dva_core.train.fit_texture import fit_texture
from dva_core.train.frames import TrainingFrames
from dva_core.train.grow import fit_detail_head
from dva_core.train.looks import load_looks
from dva_core.train.objective import Draw, Objective
from dva_core.train.pair_objective import PairObjective
from dva_core.train.pair_steps import PairedSteps, load_steps
from dva_core.train.pairs import Pairs
from dva_core.train.path_objective import PathObjective
from dva_core.train.settings import DiffusionSettings
from dva_core.train.state import Ema, export, write_tensors

__all__ = ["Conditioner", "DiffusionSettings", "DiffusionTraining", "Draw", "Ema", "export"]

log = logging.getLogger(__name__)

HEAD_PICTURES = 48  # pictures to which a new detail head is fitted
VALIDATION = 48  # pictures
GRID_PEOPLE = 4
NOT_FINITE = 20  # steps in a row without a finite gradient, after which a run is given up


class DiffusionTraining(Objective):
    """A training run that can be stopped and resumed, by one process or, under torchrun, by several that average each step's gradient.

    Args:
        config: the bundle's configuration (noise_predictor, image_size, face_dim, ...).
        encoders: bundle, or folder with identity.safetensors and landmarks.safetensors, as written by the distillation.
        frames: pictures in groups of one person.
        held_out: bool [n], frames for validation only.
        out: folder for state.safetensors and scaling.safetensors.
        device: where to train; None: the CPU.
        pairs: with settings.pairs, training data of the response to edits; their steps are in steps.safetensors beside `out`.
    Raises DVAError if the encoders do not fit, or no group has as many frames as a batch item needs.
    """

    def __init__(
        self,
        config: dict,
        encoders: Path,
        frames: TrainingFrames,
        held_out: np.ndarray,
        out: Path,
        settings: DiffusionSettings,
        device: torch.device | None = None,
        pairs: Pairs | None = None,
    ):
        torch.manual_seed(settings.seed)
        super().__init__(config, Path(encoders), frames, settings, device or torch.device("cpu"))
        self.rank, self.world = processes.rank_and_world()
        self.encoders_from, self.figures, self.skipped = Path(encoders).resolve(), {}, 0
        self.frames, self.out, self.board = frames, out, None
        processes.from_first([*self.parameters.values(), self.conditioner.centre, self.conditioner.gain])
        betas = settings.beta_1, settings.beta_2
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), settings.learning_rate, betas=betas, weight_decay=settings.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.ema = Ema(self.parameters, settings.ema)
        self.step, self.seconds, self.pictures = 0, 0.0, 0
        self.seed_draws(settings.seed + self.rank)
        rows = np.flatnonzero(~held_out)
        self.groups = [g for g in np.split(rows, np.flatnonzero(np.diff(frames.group[rows])) + 1) if len(g) >= settings.frames]
        if not self.groups:
            raise DVAError(f"No group has {settings.frames} frames to train on; prepare longer videos, or set frames to fewer.")
        self.pair_objective = self.make_pair_objective(pairs) if pairs is not None and settings.pairs else None
        self.path_objective = PathObjective(self.pair_objective) if self.pair_objective and settings.paths else None
        candidates = np.flatnonzero(held_out) if held_out.any() else rows
        self.validation = candidates[:: max(1, len(candidates) // VALIDATION)][:VALIDATION]

    def make_pair_objective(self, pairs: Pairs) -> PairObjective:
        """Make the objective on pairs from the steps in the run's folder, or in the folder of its encoders."""
        path = self.out.parent / "steps.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            PairedSteps.fit(self.conditioner.identity, self.conditioner.landmarks, pairs).save(path)
        steps = load_steps(path.parent)
        moves = None if steps.moves is None or self.unet.retouch is None else torch.from_numpy(steps.moves)
        return PairObjective(self, pairs, steps.of_kinds(), self.settings.pair_from_after, moves)

    def seed_draws(self, seed: int) -> None:
        """Seed the generators of this process, for pictures, timesteps and noises."""
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        if self.rank:  # the first process continues the generator of the initial weights
            torch.manual_seed(seed)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw x_0 [B, 3, S, S], z_face [B, F] and face masks [B, 1, S, S] of random people; with few groups a person may occur twice."""
        s, count = self.settings, len(self.groups)
        rows = [
            self.rng.choice(self.groups[g], s.frames, replace=False) for g in self.rng.choice(count, s.people, replace=count < s.people)
        ]
        images = to_images(self.frames.read(np.concatenate(rows)), self.device)
        nowhere = torch.zeros(len(images), 68, 2)  # landmarks are found in the augmented picture, so none are transformed
        images, _ = reframe(images, nowhere, self.generator, turn=s.turn, zoom=s.zoom, shift=s.shift)
        # the same light for all frames of a person, as in a video: they are augmented side by side as one picture
        wide = rearrange(images, "(people frames) c h w -> people c (frames h) w", people=s.people)
        images = rearrange(relight(wide, self.generator, s.light), "people c (frames h) w -> people frames c h w", frames=s.frames)
        return self.condition(images)

    def start_from(self, bundle: Path) -> None:
        super().start_from(bundle)
        if self.unet.detail is not None and not self.unet.detail.proj_out.weight.any():  # the bundle had none
            batches = [self.batch()[:2] for _ in range(-(-HEAD_PICTURES // (self.settings.people * self.settings.frames)))]
            fit_detail_head(self.unet, self.schedule, *(torch.cat(parts) for parts in zip(*batches)), self.generator)
            processes.from_first([*self.unet.detail.parameters()])  # each process has fitted it to its own pictures
        self.ema = Ema(self.parameters, self.settings.ema)

    @property
    def pictures_per_step(self) -> int:
        """Number of pictures per step over all processes."""
        s = self.settings
        return (s.people * s.frames + s.pairs + s.paths) * s.accumulate * self.world

    def progress(self) -> float:
        """Fraction of the run that is done, 0..1."""
        return self.step / self.settings.steps if self.settings.steps else self.seconds / (60 * self.settings.minutes)

    def learning_rate(self, progress: float) -> float:
        """Rise linearly for warm_up steps, stay constant, and fall to 0 over the last cool_down of the run."""
        s = self.settings
        fall = (1 - progress) / s.cool_down if s.cool_down else 1
        return s.learning_rate * min(1, (self.step + 1) / max(1, s.warm_up), fall)

    def gradient(self) -> tuple[float, ...]:
        """Accumulate the mean gradient of `accumulate` new batches; returns the means of L_simple, L_reg and both losses on pairs."""
        self.optimiser.zero_grad()
        figures = []
        for _ in range(self.settings.accumulate):
            x_0, z_face, mask = self.batch()
            loss, simple, reg = self.losses(x_0, z_face, mask, self.draw(x_0, self.generator))
            self.scaler.scale(loss / self.settings.accumulate).backward()
            pair, path = self.pair_gradient(), self.path_gradient()
            figures.append(torch.stack([simple.detach(), reg.detach(), pair.to(simple), path.to(simple)]))
        return tuple(np.mean(torch.stack(figures).tolist(), 0).tolist())  # one synchronisation

    def pair_gradient(self) -> Tensor:
        """Add the gradient of a batch of pairs; returns their mean error, 0 without pairs."""
        if self.pair_objective is None:
            return torch.zeros((), device=self.device)
        loss, _, answer = self.pair_objective.loss(self.settings.pairs, self.rng, self.generator)
        self.scaler.scale(loss / self.settings.accumulate).backward()
        return answer.detach()

    def path_gradient(self) -> Tensor:
        """Add the gradient of a batch of decode states; returns their mean error, 0 without."""
        if self.path_objective is None:
            return torch.zeros((), device=self.device)
        loss = self.path_objective.loss(self.settings.paths, self.rng, self.generator)
        self.scaler.scale(self.settings.path_weight * loss / self.settings.accumulate).backward()
        return loss.detach()

    def update(self) -> float:
        """Average the gradient over the processes, clip it and take one step; returns its norm before clipping."""
        processes.average([p.grad for p in self.parameters.values() if p.requires_grad])
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.gradient_clip).item()
        self.step += 1
        self.pictures += self.pictures_per_step
        if np.isfinite(norm):
            self.scaler.step(self.optimiser)
            self.ema.update(self.parameters, self.step)
            self.skipped = 0
        else:
            self.skip_step()
        self.scaler.update()
        return norm

    def skip_step(self) -> None:
        """Skip the update of a step whose gradient is not finite. DVAError after NOT_FINITE such steps in a row."""
        self.skipped += 1
        if self.skipped >= NOT_FINITE:
            raise DVAError(
                f"The gradient was not finite in {NOT_FINITE} steps in a row, up to step {self.step}: lower the learning rate or train "
                "in another precision; what was saved before is whole."
            )
        if not self.scaler.is_enabled():  # in fp16 this is how the loss scale is adjusted
            log.warning("diffusion: the gradient of step %d is not finite; the step is passed over", self.step)

    def prepare_texture(self) -> None:
        """Fit the texture unless it is, and let pairs ask for what it shows."""
        if not self.unet.texture.patterns.weight.any():
            fit_texture(self.unet, self.pair_objective, load_looks(self.out.parent), self.rng, self.generator)
            parts = ("unet.texture", "unet.retouch")  # gates and remainder too
            fitted = [values for key, values in self.parameters.items() if key.startswith(parts)]
            processes.from_first(fitted)  # each process has fitted them to its own pairs
            self.ema = Ema(self.parameters, self.settings.ema)
        self.pair_objective.textured = self.unet

    def run(self, tensorboard: bool = False) -> dict:
        """Train until the steps or minutes are used up; returns the last validation figures. `tensorboard` logs to out/tensorboard.

        Raises DVAError if the gradient is not finite any more.
        """
        s, start = self.settings, time.monotonic() - self.seconds
        if self.unet.texture is not None and self.pair_objective:
            self.prepare_texture()
        last_save, recent = self.seconds, []
        if self.rank == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            scaling = {"centre": self.conditioner.centre, "gain": self.conditioner.gain}
            write_tensors(self.out / "scaling.safetensors", scaling)
            self.board = Board(self.out / "tensorboard", self.step) if tensorboard else None
        self.unet.train()
        while (progress := self.progress()) < 1:
            rate = self.optimiser.param_groups[0]["lr"] = self.learning_rate(progress)
            recent.append(self.gradient())
            norm = self.update()
            self.seconds = processes.broadcast(time.monotonic() - start, self.device)
            self._report(recent, rate, norm)
            due = self.seconds - last_save > s.save_every * 60 or self.progress() >= 1
            if due or (s.validate_every and self.step % s.validate_every == 0):
                self.figures = self.validate()
            if due:
                last_save = self.seconds
                self.save()
        if self.board:
            self.board.close()
        return self.figures

    def _report(self, recent: Sequence[tuple[float, ...]], rate: float, norm: float) -> None:
        """Log the figures of the last step to TensorBoard, and the means of fifty steps as text."""
        if self.board:
            simple, reg, answer, path = recent[-1]
            self.board.figures(
                self.step,
                train__simple=simple,
                train__reg=reg,
                train__answer=answer,
                train__path=path,
                train__learning_rate=rate,
                train__gradient_norm=norm,
            )
        if self.step % 50 == 0:
            s = self.settings
            length = f"{s.steps} steps" if s.steps else f"{s.minutes:g} min"
            log.info(
                "diffusion: step %d, %.1f min of %s, L_simple %.4f, L_reg %.4f, answer %.4f, path %.4f",
                *(self.step, self.seconds / 60, length, *np.nanmean(recent[-50:], 0)),
            )

    @torch.no_grad()
    def validate(self) -> dict:
        """Measure L_simple and L_reg of the averaged weights on held-out people with fixed noises, and log grids to the board."""
        current = {k: v.detach().clone() for k, v in self.parameters.items()}
        self.load_parameters(self.ema.values)
        self.unet.eval()
        generator, sums = torch.Generator().manual_seed(1), []
        for part in np.array_split(self.validation, max(1, len(self.validation) // 16)):
            batch = self.condition(to_images(self.frames.read(part), self.device)[:, None])
            sums.append([v.item() for v in self.losses(*batch, self.draw(batch[0], generator))[1:]])
        simple, reg = np.mean(sums, 0).tolist()
        if self.board:
            self.board.figures(self.step, validation__simple=simple, validation__reg=reg)
            self.board.pictures(self.step, sample_grids(self, self.frames.read(self.grid_rows()), self.settings.grid_steps))
        figures = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "pictures": self.pictures,
            "simple": round(simple, 5),
            "reg": round(reg, 5),
        }
        if self.pair_objective is not None:
            figures["answers"] = self.pair_objective.answers()
        if self.path_objective is not None:
            figures["decodes"] = self.path_objective.errors()
        self.load_parameters(current)
        self.unet.train()
        log.info("diffusion: validation %s", figures)
        return figures

    def grid_rows(self) -> np.ndarray:
        """Choose frames of different people for the grids, held-out ones first."""
        _, first = np.unique(self.frames.group[self.validation], return_index=True)
        unseen, trained = self.validation[np.sort(first)], np.array([group[0] for group in self.groups[:GRID_PEOPLE]])
        return np.concatenate([unseen, trained[~np.isin(self.frames.group[trained], self.frames.group[unseen])]])[:GRID_PEOPLE]

    @torch.no_grad()
    def load_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Copy values, one for each of `parameters`, into the network."""
        for key, parameter in self.parameters.items():
            parameter.copy_(values[key])

    def save(self) -> None:
        """Write everything a resumed run needs to one safetensors file; the first process writes the random states of all."""
        save_run(self)

    def resume(self) -> None:
        """Load the run in `out`. DVAError if there is none, or it has another configuration or other encoders."""
        resume_run(self)
