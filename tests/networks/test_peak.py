"""The memory that an evaluation is foreseen to take, against what torch's allocator gives out on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from bundles import tiny_config, tiny_tensors

from dva_core.diffusion import solvers
from dva_core.diffusion.guidance import Guidance
from dva_core.model.build import build_empty
from dva_core.model.evaluation import batch_within
from dva_core.networks import unet
from dva_core.networks.normalisation import prefers_channels_last
from dva_core.networks.peak import kind_of, planned_for
from dva_core.networks.unet import UNet
from dva_core.pipeline.solving import solve

PLAIN = {"image_size": 64, "base_channels": 16, "channel_multipliers": (1, 2, 3), "num_res_blocks": 1, "attention_resolutions": (16,),
         "embedding_channels": 32, "condition_channels": 24}  # fmt: skip
LIKE_THE_STARTER = PLAIN | {"patch_size": 4, "base_channels": 32, "spatial_channels": 8, "spatial_size": 8, "attention_resolutions": (8,)}
NETWORKS = {
    "plain": PLAIN,
    "with a face map": LIKE_THE_STARTER,
    "with a detail head": LIKE_THE_STARTER | {"detail_channels": 64},
    "with a texture": LIKE_THE_STARTER | {"detail_channels": 64, "texture_rank": 15, "texture_size": 192},
    "small maps": PLAIN | {"image_size": 16, "channel_multipliers": (1, 2), "attention_resolutions": ()},
}
WHOLE, HALF = torch.float32, torch.bfloat16


def allocated(work: Callable[[], object]) -> int:
    """The most bytes that `work` has of torch's allocator at once, as the profiler is told of each piece."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    used = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        used += event.nbytes()
        peak = max(peak, used)
    return peak


CASES = [("plain", 16, WHOLE), ("plain", 4, HALF), ("with a face map", 4, WHOLE), ("with a detail head", 16, HALF),
         ("with a detail head", 4, WHOLE), ("with a texture", 16, HALF), ("with a texture", 2, WHOLE),
         ("small maps", 16, WHOLE)]  # fmt: skip


@pytest.mark.parametrize(("name", "frames", "dtype"), CASES)
def test_an_evaluation_takes_what_was_counted(name, frames, dtype):
    network = UNet(**NETWORKS[name]).eval().to(dtype, memory_format=torch.channels_last)
    x, t, z = torch.randn(frames, 3, network.image_size, network.image_size), torch.tensor([500]).expand(frames), torch.randn(frames, 24)

    def evaluate() -> None:
        whole = x.clone()  # as the solver has them
        network(whole.to(dtype), t, z.to(dtype))

    with torch.no_grad():
        taken = allocated(evaluate)
    foreseen = network.peak_bytes(frames, dtype, "cpu")
    assert abs(foreseen - taken) < 0.2 * taken, (foreseen, taken)


@pytest.mark.parametrize(("guided", "dtype"), [(False, WHOLE), (True, HALF)])
def test_a_whole_batch_of_steps_takes_what_was_counted(guided, dtype, one_thread):
    config = tiny_config(noise_predictor={"type": "unet", **NETWORKS["with a detail head"]}, image_size=64)
    model = build_empty(config).eval()
    model.load_state_dict(tiny_tensors(config), assign=True)
    model.to(dtype).noise_predictor.to(memory_format=torch.channels_last)
    x, z = torch.randn(8, 3, 64, 64), torch.randn(8, 24)
    info = SimpleNamespace(steps=2, solver="ddim", clamp=True, power=1.0)
    guidance = (Guidance.from_config(model.config, 2.0), z) if guided else ()
    with torch.no_grad():
        taken = allocated(lambda: solve(solvers.sample, model, x, z, info, lambda *_: None, *guidance))
    foreseen = model.noise_predictor.peak_bytes(8 * (1 + guided), dtype, "cpu")
    assert abs(foreseen - taken) < 0.2 * taken, (foreseen, taken)


def test_counts_follow_batch_precision_and_device(monkeypatch):
    network = UNet(**PLAIN)
    half, whole = (network.peak_bytes(8, dtype, "cuda") for dtype in (torch.float16, torch.float32))
    assert 1.8 < whole / half < 2.0  # the frames themselves come in float32 in both
    assert network.peak_bytes(6, torch.float16, "cuda") == 6 * half // 8
    assert network.peak_bytes(8, torch.float32, "cpu") < whole  # no norm copies there
    monkeypatch.setattr(unet, "peak_bytes", None)  # not counted again
    assert network.peak_bytes(5, torch.float16, "cuda") == 5 * half // 8


def test_the_batch_is_the_largest_that_fits():
    network, device = UNet(**NETWORKS["small maps"]), torch.device("cuda")
    needed = [network.peak_bytes(frames, torch.float16, "cuda") for frames in range(1, 65)]
    for room in (0, needed[0] - 1, needed[0], needed[6], needed[6] - 1, needed[40], needed[63], 10**12):
        expected = max((frames for frames, size in enumerate(needed, 1) if size <= room), default=1)
        assert batch_within(room, network, torch.float16, device) == expected


def test_a_plan_is_for_tensors_without_data():
    with planned_for("cuda"):
        assert kind_of(torch.empty(1, device="meta")) == "cuda" and kind_of(torch.empty(1)) == "cpu"
    assert kind_of(torch.empty(1, device="meta")) == "meta" and prefers_channels_last("cuda") and not prefers_channels_last("cpu")
