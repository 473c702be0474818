"""Run by torchrun in test_train_processes: one step with every second picture of a batch, then the command itself.

Arguments: a folder with encoders, and the command's words. Writes `gradient<rank>.safetensors`: shared gradients, weights after the step;
`fitted<rank>.safetensors`: weights that began with start.safetensors and a new detail head.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from dva_core.commands import train as cli
from dva_core.train import processes
from dva_core.train.diffusion import Draw


def backward_of(run, rows: slice) -> dict[str, torch.Tensor]:
    """The gradient, shared by all processes, of those of eight fixed pictures with fixed timesteps and noises."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand((8, 1, 3, 32, 32), generator=generator) * 2 - 1
    drawn = run.draw(torch.zeros(8, 3, 16, 16), generator)
    run.losses(*run.condition(images[rows]), Draw(*(part[rows] for part in drawn)))[0].backward()
    processes.average([p.grad for p in run.parameters.values()])
    return {k: v.grad.clone() for k, v in run.parameters.items()}


def main() -> None:
    from train.runs import CONFIG, training

    folder = Path(sys.argv[1])
    with processes.process_group(torch.device("cpu")):
        rank, _ = processes.rank_and_world()
        run = training(folder, folder / "one_step", 10)
        gradients = {f"gradient.{k}": v for k, v in backward_of(run, slice(rank, None, 2)).items()}
        run.update()
        weights = {k: v.detach().contiguous() for k, v in run.parameters.items()}
        save_file({k: v.contiguous() for k, v in gradients.items()} | weights, str(folder / f"gradient{rank}.safetensors"))
        config = CONFIG | {"noise_predictor": CONFIG["noise_predictor"] | {"detail_channels": 4}}
        fitted = training(folder, folder / "fitted", 1, config=config, other_encoders=True)
        fitted.seed_draws(rank)  # each process draws its own pictures
        fitted.start_from(folder / "start.safetensors")
        save_file({k: v.detach().contiguous() for k, v in fitted.parameters.items()}, str(folder / f"fitted{rank}.safetensors"))
        cli.main(sys.argv[2:])


if __name__ == "__main__":
    main()
