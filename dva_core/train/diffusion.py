"""Training of fusion layer and noise predictor: L = L_simple + L_reg (Kim et al. 2023, sec. 3.3, system: spec 6).

One person is one batch item, with several frames of that person: z_id is the mean over the frames, z_motion each frame's own,
so what changes within a clip must come from the motion vector and what stays from the identity vector.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dva_core.autoencoder import HULL_GROWTH, JAW
from dva_core.bundle import read_bundle
from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.finder import to_images
from dva_core.networks import build_network
from dva_core.networks.hull import hull_mask
from dva_core.train.augment import reframe, relight
from dva_core.train.encoders import encode_faces
from dva_core.train.losses import training_losses
from dva_core.train.synthesis import Variants

log = logging.getLogger(__name__)

FOCUS = (200, 850)  # timesteps: where the face takes shape, and z_face says most about it


@dataclass(frozen=True)
class DiffusionSettings:
    """What a run is made of. Its length is `minutes`, or, where it must be repeatable to the bit, `steps` (0: by the clock).

    people x frames pictures a step and process, each with two noises. reg_weight scales L_reg. The paper adds L_simple and L_reg
    as they are (simple_cap = reg_cap = 0). A short run learns what z_face is for much sooner when errors of the noise count as errors
    of the image, by sigma / alpha = sqrt((1 - alpha_bar) / alpha_bar), from 1 up to simple_cap; and L_reg, which is of the image and so
    ruled by the noisiest timesteps, is bounded to reg_cap alpha / sigma. `focus` is the share of the timesteps drawn from FOCUS, where
    a face takes shape; the paper's is 0. The learning rate stays until the last quarter of the run and then falls to 0.
    """

    minutes: float = 60
    steps: int = 0
    people: int = 4
    frames: int = 2
    learning_rate: float = 8e-4
    warm_up: int = 200
    ema: float = 0.999
    simple_cap: float = 12.0
    reg_weight: float = 1.0
    reg_cap: float = 4.0
    focus: float = 0.6
    gradient_clip: float = 1.0
    turn: float = 3.0
    zoom: float = 0.07
    shift: float = 0.03
    light: float = 0.5
    seed: int = 0
    save_every: float = 5.0


class Conditioner(nn.Module):
    """Frozen encoders and the trained fusion layer: pictures of one person -> z_face.

    The fusion layer is trained on centred, scaled inputs (`gain`, `centre`), which suits the optimiser, and exported as the
    plain linear layer of the method by `folded`.
    """

    def __init__(self, identity: nn.Module, landmarks: nn.Module, face_dim: int, centre: Tensor, gain: Tensor):
        super().__init__()
        self.identity, self.landmarks = identity.eval().requires_grad_(False), landmarks.eval().requires_grad_(False)
        self.fusion = nn.Linear(len(centre), face_dim)
        self.register_buffer("centre", centre)
        self.register_buffer("gain", gain)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[P, F, 3, S, S] in [-1, 1] -> z_id [P, D], the mean over the F frames, and landmarks [P, F, 68, 2] in 0..1."""
        flat = images.flatten(0, 1)
        z_id = self.identity(flat).unflatten(0, images.shape[:2]).mean(1)
        return z_id, self.landmarks(flat).clamp(0, 1).unflatten(0, images.shape[:2])

    def fuse(self, z_id: Tensor, z_motion: Tensor) -> Tensor:
        return self.fusion((torch.cat([z_id, z_motion], 1) - self.centre) * self.gain)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the same map on the raw vectors."""
        weight = self.fusion.weight * self.gain
        return weight.detach(), (self.fusion.bias - weight @ self.centre).detach()


class Ema:
    """Exponential moving average of parameters, its decay rising to `decay` as steps go by."""

    def __init__(self, parameters: dict[str, Tensor], decay: float):
        self.values, self.decay = {k: v.detach().clone() for k, v in parameters.items()}, decay

    @torch.no_grad()
    def update(self, parameters: dict[str, Tensor], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in parameters.items():
            self.values[key].lerp_(value, 1 - decay)


class DiffusionTraining:
    """A run that can be stopped and taken up again, by one process or, under torchrun, by several that share each step's gradient.

    Args:
        config: the bundle's configuration (noise_predictor, image_size, face_dim, ...).
        encoders: folder with identity.safetensors and landmarks.safetensors, as the distillation wrote them.
        variants: pictures in groups of one person.
        held_out: bool [n], rows that only validate.
        out: folder for state.safetensors and log.csv.
    """

    def __init__(self, config: dict, encoders: Path, variants: Variants, held_out: np.ndarray, out: Path, settings: DiffusionSettings):
        torch.manual_seed(settings.seed)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.config, self.variants, self.out, self.settings = config, variants, out, settings
        self.schedule = Schedule(**config["diffusion"])
        identity, landmarks = build_network(config["identity_encoder"]), build_network(config["motion_encoder"])
        for network, name in ((identity, "identity"), (landmarks, "landmarks")):
            network.load_state_dict(load_file(str(encoders / f"{name}.safetensors")))
        self.conditioner = Conditioner(identity, landmarks, config["face_dim"], *self.scaling(identity, landmarks))
        self.unet = build_network(config["noise_predictor"]).to(memory_format=torch.channels_last)
        self.parameters = {f"unet.{k}": v for k, v in self.unet.named_parameters()}
        self.parameters |= {f"fusion.{k}": v for k, v in self.conditioner.fusion.named_parameters()}
        self.optimiser = torch.optim.AdamW(self.parameters.values(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
        self.ema = Ema(self.parameters, settings.ema)
        self.step, self.seconds = 0, 0.0
        self.seed_draws(settings.seed + self.rank)
        rows = np.flatnonzero(~held_out)
        self.groups = [g for g in np.split(rows, np.flatnonzero(np.diff(variants.group[rows])) + 1) if len(g) >= settings.frames]
        self.validation = np.flatnonzero(held_out)[:: max(1, held_out.sum() // 48)][:48]

    def seed_draws(self, seed: int) -> None:
        """What this process draws pictures, timesteps and noises from."""
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def share_gradients(self) -> None:
        """The mean gradient of all processes, in every process."""
        if self.world > 1:
            gradients = [p.grad for p in self.parameters.values()]
            flat = torch.cat([g.reshape(-1) for g in gradients])
            dist.all_reduce(flat)
            for gradient, mean in zip(gradients, (flat / self.world).split([g.numel() for g in gradients])):
                gradient.copy_(mean.view_as(gradient))

    def agree(self, value: float) -> float:
        """The first process's value, in every process: clocks differ, and all must stop at the same step."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return shared.item()

    def scaling(self, identity: nn.Module, landmarks: nn.Module, samples: int = 512) -> tuple[Tensor, Tensor]:
        """Mean of [z_id ; z_motion] over some of the pictures, and one gain a space that gives each unit variance on average."""
        rows = np.linspace(0, len(self.variants.pictures) - 1, min(samples, len(self.variants.pictures))).astype(int)
        z_id, motion = (torch.from_numpy(part) for part in encode_faces(identity.eval(), landmarks.eval(), self.variants.pictures[rows]))
        gains = [torch.full((part.shape[1],), 1 / part.std(0).square().mean().sqrt().item()) for part in (z_id, motion)]
        return torch.cat([z_id, motion], 1).mean(0), torch.cat(gains)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """x_0 [B, 3, S, S], z_face [B, F] and face mask [B, 1, S, S] of fresh people."""
        s = self.settings
        chosen = [
            self.rng.choice(self.groups[g], s.frames, replace=False) for g in self.rng.choice(len(self.groups), s.people, replace=False)
        ]
        rows = np.concatenate(chosen)
        images, points = to_images(self.variants.pictures[rows]), torch.from_numpy(self.variants.landmarks[rows])
        images, _ = reframe(images, points / images.shape[-1], self.generator, turn=s.turn, zoom=s.zoom, shift=s.shift)
        # one light a person, as in a clip: frames side by side are lit as one picture
        wide = images.unflatten(0, (s.people, s.frames)).transpose(1, 2).flatten(2, 3)
        images = relight(wide, self.generator, s.light).unflatten(2, (s.frames, -1)).transpose(1, 2)
        return self.condition(images)

    def condition(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z_id, points = self.conditioner.encode(images)
        z_face = self.conditioner.fuse(z_id.repeat_interleave(images.shape[1], 0), points[:, :, JAW:].flatten(0, 1).flatten(1))
        size = self.config["image_size"]
        x_0 = F.interpolate(images.flatten(0, 1), (size, size), mode="area")
        return x_0.contiguous(memory_format=torch.channels_last), z_face, hull_mask(points.flatten(0, 1), size, HULL_GROWTH)

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor:
        """eps_theta, whichever way the configuration predicts it."""
        return self.schedule.as_noise(self.unet(x_t, t, z_face), x_t, t)

    @torch.no_grad()
    def start_from(self, bundle: Path) -> None:
        """Begin with the fusion layer and noise predictor of a bundle of the same configuration, such as published weights to fine-tune.

        One that predicts something else (epsilon, v) starts with its last layer at zero. Raises DVAError where the networks differ.
        """
        made = read_bundle(bundle)
        tensors = made.tensors
        weight, bias = tensors["fusion.weight"].float(), tensors["fusion.bias"].float()
        state = {k.removeprefix("noise_predictor."): v.float() for k, v in tensors.items() if k.startswith("noise_predictor.")}
        shapes = {k: v.shape for k, v in self.unet.state_dict().items()}
        if {k: v.shape for k, v in state.items()} != shapes or weight.shape != self.conditioner.fusion.weight.shape:
            raise DVAError(f"{bundle} has a noise predictor of another shape than the configuration; start from a bundle that fits it.")
        self.unet.load_state_dict(state)
        if Schedule(**made.config["diffusion"]).prediction != self.schedule.prediction:
            log.info("diffusion: %s predicts something else, so the last layer starts at zero", bundle)
            for parameter in self.unet.out[-1].parameters():
                parameter.zero_()
        self.conditioner.fusion.weight.copy_(weight / self.conditioner.gain)
        self.conditioner.fusion.bias.copy_(bias + weight @ self.conditioner.centre)
        self.ema = Ema(self.parameters, self.settings.ema)

    def losses(self, x_0: Tensor, z_face: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of one batch with random timesteps and noises: what is minimised, and the plain means of L_simple (of one noise) and L_reg."""
        s = self.settings
        t = torch.randint(0, self.schedule.train_steps, (len(x_0),), generator=generator)
        if self.unet.training and s.focus:
            chosen = torch.rand(len(t), generator=generator) < s.focus
            t = torch.where(chosen, torch.randint(*FOCUS, t.shape, generator=generator), t)
        noises = torch.randn((2, *x_0.shape), generator=generator)
        simple, reg = training_losses(self.predict_noise, x_0, z_face, t, noises[0], noises[1], mask, self.schedule)
        a = self.schedule.alphas_cumprod[t].float()
        noisiness = ((1 - a) / a).sqrt()
        simple_weight = noisiness.clamp(1, s.simple_cap) if s.simple_cap else torch.ones_like(a)
        reg_weight = s.reg_weight * ((s.reg_cap / noisiness).clamp(max=1) if s.reg_cap else torch.ones_like(a))
        return (simple_weight * simple + reg_weight * reg).mean(), simple.mean() / 2, reg.mean()

    def used(self) -> float:
        """Share of the run that is done, 0..1."""
        return self.step / self.settings.steps if self.settings.steps else self.seconds / (60 * self.settings.minutes)

    def run(self) -> dict:
        """Train until the minutes are used up; returns the last validation figures."""
        s, start = self.settings, time.monotonic() - self.seconds
        saved, figures, recent = self.seconds, {}, []
        self.out.mkdir(parents=True, exist_ok=True)
        save_file({"centre": self.conditioner.centre, "gain": self.conditioner.gain}, str(self.out / "scaling.safetensors"))
        self.unet.train()
        while (used := self.used()) < 1:
            self.optimiser.param_groups[0]["lr"] = s.learning_rate * min(1, (self.step + 1) / s.warm_up, 4 * (1 - used))
            loss, simple, reg = self.losses(*self.batch(), self.generator)
            self.optimiser.zero_grad()
            loss.backward()
            self.share_gradients()
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), s.gradient_clip)
            self.optimiser.step()
            self.step += 1
            self.ema.update(self.parameters, self.step)
            self.seconds = self.agree(time.monotonic() - start)
            recent.append((simple.item(), reg.item()))
            if self.step % 50 == 0:
                log.info(
                    "diffusion: step %d, %.1f of %.0f min, L_simple %.4f, L_reg %.4f",
                    self.step,
                    self.seconds / 60,
                    s.minutes,
                    *np.mean(recent[-50:], 0),
                )
            if self.seconds - saved > s.save_every * 60 or self.used() >= 1:
                saved = self.seconds
                figures = self.validate()
                if self.rank == 0:
                    self.save(figures)
        return figures

    @torch.no_grad()
    def validate(self) -> dict:
        """L_simple and L_reg of the averaged weights on held-out people, with the same noises every time."""
        current = {k: v.detach().clone() for k, v in self.parameters.items()}
        self._put(self.ema.values)
        self.unet.eval()
        generator, sums = torch.Generator().manual_seed(1), []
        for part in np.array_split(self.validation, max(1, len(self.validation) // 16)):
            sums.append([v.item() for v in self.losses(*self.condition(to_images(self.variants.pictures[part])[:, None]), generator)[1:]])
        self._put(current)
        self.unet.train()
        simple, reg = np.mean(sums, 0)
        pictures = self.step * self.settings.people * self.settings.frames * self.world
        figures = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "pictures": pictures,
            "simple": round(float(simple), 5),
            "reg": round(float(reg), 5),
        }
        log.info("diffusion: validation %s", figures)
        return figures

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for key, parameter in self.parameters.items():
            parameter.copy_(values[key])

    def save(self, figures: dict) -> None:
        """Everything a resumed run needs, in one safetensors file, replaced whole."""
        tensors = {f"model.{k}": v.detach() for k, v in self.parameters.items()} | {f"ema.{k}": v for k, v in self.ema.values.items()}
        for key, parameter in self.parameters.items():
            for name, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{key}.{name}"] = value
        tensors["generator"] = self.generator.get_state()
        tensors["torch_rng"] = torch.get_rng_state()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "rng": self.rng.bit_generator.state,
            "settings": asdict(self.settings),
            "figures": figures,
        }
        partial = self.out / "state.partial"
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, str(partial), {"state": json.dumps(state), "config": json.dumps(self.config)}
        )
        partial.replace(self.out / "state.safetensors")

    def resume(self) -> None:
        """Take up the run that `out` holds. Raises DVAError where there is none."""
        path = self.out / "state.safetensors"
        if not path.is_file():
            raise DVAError(f"{path} is not there, so no run can be resumed: leave out --resume to start one.")
        with safe_open(str(path), "pt") as file:
            state, tensors = json.loads(file.metadata()["state"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        self._put({k: tensors[f"model.{k}"] for k in self.parameters})
        self.ema.values = {k: tensors[f"ema.{k}"] for k in self.parameters}
        for key, parameter in self.parameters.items():
            self.optimiser.state[parameter] = {
                name: tensors[f"optimiser.{key}.{name}"]
                for name in ("step", "exp_avg", "exp_avg_sq")
                if f"optimiser.{key}.{name}" in tensors
            }
        self.step, self.seconds = state["step"], state["seconds"]
        if self.rank == 0:
            self.generator.set_state(tensors["generator"])
            torch.set_rng_state(tensors["torch_rng"])
            self.rng.bit_generator.state = state["rng"]
        else:
            self.seed_draws(self.settings.seed + self.rank + 1_000_003 * self.step)


def export(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Configuration and the averaged tensors (noise_predictor.*, fusion.*) of a run's state file, without its optimiser."""
    with safe_open(str(path), "pt") as file:
        return json.loads(file.metadata()["config"]), {k[4:]: file.get_tensor(k) for k in file.keys() if k.startswith("ema.")}  # noqa: SIM118
