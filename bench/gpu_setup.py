"""What bench/gpu_check.py works with: its report, and models, inputs and clocks on the device."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from timing import median

from dva_core.hosts.devices import PRECISIONS
from dva_core.hosts.plain import PlainHost
from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.convert import published_config
from dva_core.model.loader import load_model

# relative errors ||actual - expected|| / ||expected|| of one evaluation
EVALUATION_BOUNDS = {"fp32 without TF32": 1e-4, "fp32": 2e-3, "bf16": 3e-2, "fp16": 5e-3}


class Report:
    """Results by section; written to FOLDER after every line."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.end, self.failed = folder, time.monotonic() + seconds, False
        self.sections: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def add(self, section: str, name: str, value: Any) -> None:
        self.sections.setdefault(section, {})[name] = value
        print(f"{section} | {name}: {value}", flush=True)
        (self.folder / "report.json").write_text(json.dumps(self.sections, indent=1, default=str), encoding="utf-8")
        lines = [f"## {title}\n\n" + "\n".join(f"- {key}: {text}" for key, text in parts.items()) for title, parts in self.sections.items()]
        (self.folder / "report.md").write_text("# On the device\n\n" + "\n\n".join(lines) + "\n", encoding="utf-8")

    def check(self, section: str, name: str, holds: bool, value: Any) -> None:
        self.failed |= not holds
        self.add(section, name, f"{'ok' if holds else 'OUT OF BOUNDS'} {value}")


class Setup:
    """The device, the sizes and the models that the checks work with, from the command's arguments."""

    def __init__(self, args: argparse.Namespace, report: Report) -> None:
        self.args, self.report, self.device = args, report, torch.device(args.device)
        self.frames, self.steps = (2, 4) if args.tiny else (16, 10)
        self.full_config = published_config()
        if args.tiny:
            small = {"image_size": 64, "base_channels": 16, "channel_multipliers": [1, 2], "attention_resolutions": [32]}
            self.full_config["noise_predictor"] |= small | {"num_res_blocks": 1}
            self.full_config["image_size"] = 64

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Median seconds of `work`, warmed up once."""
        work()
        times: list[float] = []
        while len(times) < (1 if self.args.tiny else 5):
            self.synchronize()
            start = time.perf_counter()
            work()
            self.synchronize()
            times.append(time.perf_counter() - start)
        return median(times)

    def starter(self, precision: str = "fp32") -> DiffusionVideoAutoencoder:
        return load_model("starter", device=self.device, dtype=precision)

    def full_size(self, precision: str) -> DiffusionVideoAutoencoder:
        """The published configuration with seeded weights, none of them zero."""
        torch.manual_seed(0)
        model = DiffusionVideoAutoencoder(self.full_config).eval().requires_grad_(False)
        for name, weight in model.noise_predictor.named_parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=(0.5 / weight[0].numel()) ** 0.5)
            elif "weight" in name:
                torch.nn.init.ones_(weight)
        model.host = PlainHost(self.device, PRECISIONS[precision])
        model.noise_predictor.to(self.device, PRECISIONS[precision], memory_format=torch.channels_last)
        return model

    def inputs(self, model, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x_t [B, 3, S, S], one timestep [B], z_face [B, F], on the CPU."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, 3, model.image_size, model.image_size, generator=generator)
        return x, torch.full((1,), 500).expand(batch), torch.randn(batch, model.face_dim, generator=generator)

    def precisions(self) -> Iterator[tuple[str, str]]:
        """Label and name of each precision; float32 without and with TF32 in convolutions."""
        before = torch.backends.cudnn.allow_tf32
        try:
            for label in EVALUATION_BOUNDS:
                torch.backends.cudnn.allow_tf32 = label != "fp32 without TF32"
                yield label, label.split()[0]
        finally:
            torch.backends.cudnn.allow_tf32 = before
