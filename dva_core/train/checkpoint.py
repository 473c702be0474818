"""The state of a stopped training run, resumed exactly: weights, optimiser moments, random states, counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from dva_core.errors import DVAError
from dva_core.train import processes
from dva_core.train.state import open_tensors, read_state, write_state

if TYPE_CHECKING:
    from dva_core.train.diffusion import DiffusionTraining

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
OTHER_STEPS = 1_000_003  # seeds of processes that the stopped run did not have


def save_run(training: DiffusionTraining) -> None:
    """Write the state of the run to state.safetensors in its folder; the first process writes the random states of all."""
    cuda = torch.cuda.get_rng_state(training.device) if training.device.type == "cuda" else None
    draws = processes.gather((training.rng.bit_generator.state, training.generator.get_state(), torch.get_rng_state(), cuda))
    if training.rank:
        return
    tensors = {f"model.{k}": v for k, v in training.parameters.items()} | {f"ema.{k}": v for k, v in training.ema.values.items()}
    for key, parameter in training.parameters.items():
        for name, value in training.optimiser.state[parameter].items():
            if training.settings.half_moments and name in MOMENTS:
                tensors[f"optimiser.{key}.{name}"] = value.bfloat16()
                value.copy_(tensors[f"optimiser.{key}.{name}"])
            else:
                tensors[f"optimiser.{key}.{name}"] = value
    for rank, (_, generator, torch_rng, cuda) in enumerate(draws):
        end = f".{rank}" if rank else ""
        tensors |= {f"generator{end}": generator, f"torch_rng{end}": torch_rng} | ({} if cuda is None else {f"cuda_rng{end}": cuda})
    state = {
        "step": training.step,
        "seconds": training.seconds,
        "pictures": training.pictures,
        "rng": draws[0][0],
        "other_rngs": [rng for rng, *_ in draws[1:]],
        "scaler": training.scaler.state_dict(),
        "settings": asdict(training.settings),
        "figures": training.figures,
        "encoders": training.encoders,
        "encoders_from": str(training.encoders_from),
    }
    write_state(training.out / "state.safetensors", tensors, state, training.config)


def resume_run(training: DiffusionTraining) -> None:
    """Load the state of the run in its folder. DVAError if there is none, or it has another configuration or other encoders."""
    path = training.out / "state.safetensors"
    state, tensors = read_state(path)
    if state.get("encoders", training.encoders) != training.encoders:
        raise DVAError(f"{path} is of a run with other encoders ({state['encoders_from']}); resume with those, by --encoders.")
    if any(f"model.{k}" not in tensors or tensors[f"model.{k}"].shape != v.shape for k, v in training.parameters.items()):
        raise DVAError(f"{path} is of a run with another configuration; resume with the one it was begun with.")
    training.load_parameters({k: tensors[f"model.{k}"] for k in training.parameters})
    take_scaling(training)
    training.figures = state.get("figures", {})
    training.ema.values = {k: tensors[f"ema.{k}"].to(training.device) for k in training.parameters}
    for key, parameter in training.parameters.items():
        names = {name: f"optimiser.{key}.{name}" for name in ("step", *MOMENTS)}
        moments = {name: tensors[place].float() for name, place in names.items() if place in tensors}
        training.optimiser.state[parameter] = {name: v if name == "step" else v.to(training.device) for name, v in moments.items()}
    training.step, training.seconds = state["step"], state["seconds"]
    training.pictures = state.get("pictures", training.step * training.pictures_per_step)
    if state.get("scaler") and training.scaler.is_enabled():
        training.scaler.load_state_dict(state["scaler"])
    end, rngs = f".{training.rank}" if training.rank else "", [state["rng"], *state.get("other_rngs", ())]
    if f"generator{end}" not in tensors:
        training.seed_draws(training.settings.seed + training.rank + OTHER_STEPS * training.step)
        return
    training.rng.bit_generator.state = rngs[training.rank]
    training.generator.set_state(tensors[f"generator{end}"])
    torch.set_rng_state(tensors[f"torch_rng{end}"])
    if training.device.type == "cuda" and f"cuda_rng{end}" in tensors:
        torch.cuda.set_rng_state(tensors[f"cuda_rng{end}"], training.device)


@torch.no_grad()
def take_scaling(training: DiffusionTraining) -> None:
    """Load the scaling stored by the run, as the pictures may have changed. DVAError if it is missing or damaged."""
    path = training.out / "scaling.safetensors"
    with open_tensors(path) as file:
        for name in ("centre", "gain"):
            getattr(training.conditioner, name).copy_(file.get_tensor(name))
