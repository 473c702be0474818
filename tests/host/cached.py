"""As bare.py: decompositions in ComfyUI's cache, which frees what is heavy when main memory gets short."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from bare import TEMP, load_pack, run
from comfy_execution import caching
from node_runs import tiny
from standin import write_video

from dva_core.edit import apply_attributes, apply_switch
from dva_core.pipeline import encode

cache = load_pack("nodes.cache")

GB, OPEN = 1 << 30, Path("/proc/self/fd")


def decomposition_of(model, frames: int = 3):
    return cache.CachedDecomposition.of(encode(write_video(TEMP / "cached.mkv", frames), model, steps=1, scratch=TEMP))


def weight(output) -> int:
    """Bytes, as the host counts an output: tensors, in lists and tuples too."""
    if isinstance(output, (list, tuple)):
        return sum(map(weight, output))
    return output.numel() * output.element_size() if isinstance(output, torch.Tensor) and output.device.type == "cpu" else 0


def open_files() -> int:
    return len(list(OPEN.iterdir())) if OPEN.is_dir() else 0


def a_decomposition_weighs_what_it_keeps_in_memory() -> None:
    with tiny() as model:
        decomposition = decomposition_of(model)
        arrays = sum(spec.bytes for spec in decomposition.store.specs.values())
        assert arrays <= weight(decomposition) == decomposition.get_ram_usage() < arrays + 1000
        edited = apply_attributes(decomposition, model, {"Young": 0.5})
        assert weight(edited) == weight(decomposition) and edited.is_edited and edited.faces == decomposition.faces
        assert (
            weight(decomposition.without_edits()) == weight(decomposition)
            and bool(decomposition)
            and decomposition == decomposition
            and decomposition != edited
        )
        switched = apply_switch(decomposition, model, decomposition_of(model, 2), motion=True)
        assert weight(switched) > 1.5 * weight(decomposition)
        with patch("dva_core.pipeline.store.IN_MEMORY", 0):
            assert weight(decomposition_of(model)) < 1000


def short_of_memory(entries: dict[str, list], available: int, target: int) -> set[str]:
    """What is left of a cache full of old `entries` after ComfyUI asked for memory, of which each one freed gives its own."""
    cache = caching.RAMPressureCache(None)
    cache.generation, alive = 1, {}
    for key, outputs in entries.items():
        cache.cache[key] = SimpleNamespace(outputs=outputs, ui=None)
        cache.used_generation[key], cache.timestamps[key], cache.children[key] = 0, 0.0, []
        alive[key] = weight(outputs)
    before = sum(alive.values())
    memory = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=available + before - sum(alive[key] for key in cache.cache)))
    with patch.object(caching, "psutil", memory):
        cache.ram_release(target)
    return set(cache.cache)


def a_full_cache_lets_the_heavy_go() -> None:
    with tiny() as model:
        decomposition, picture = decomposition_of(model), torch.zeros(1, 8, 8, 3)
        entries = {"heavy": [[decomposition], [picture]], "small": [[picture]], "text": [["x"]]}
        assert short_of_memory(entries, GB, GB + 1000) == {"small", "text"}
        large = {"large": [[torch.zeros(4, 256, 256, 3)]], **entries}
        assert short_of_memory(large, GB, GB + 1000) == {"heavy", "small", "text"}
        with patch("dva_core.pipeline.store.IN_MEMORY", 0):
            entries = {"heavy": [[decomposition_of(model)], [picture[:0]]], "small": [[torch.zeros(64, 64, 3)]]}
        assert short_of_memory(entries, GB, GB + 1000) == {"heavy"}  # to throw it away would free nothing


def what_is_let_go_is_gone() -> None:
    """Its arrays, and the file without a name that a long video has."""
    with tiny() as model:
        decomposition_of(model)
        for limit in (64_000_000, 0):
            with patch("dva_core.pipeline.store.IN_MEMORY", limit):
                gc.collect()
                files = open_files()
                decomposition = decomposition_of(model)
                edited, store = apply_attributes(decomposition, model, {"Young": 0.5}), weakref.ref(decomposition.store)
                assert open_files() == files + (limit == 0 and OPEN.is_dir())
                del decomposition
                assert store() is not None
                del edited
                gc.collect()
                assert store() is None and open_files() == files


CHECKS = [a_decomposition_weighs_what_it_keeps_in_memory, what_is_let_go_is_gone]
if hasattr(getattr(caching, "RAMPressureCache", None), "ram_release"):  # as newer ComfyUIs do it
    CHECKS.append(a_full_cache_lets_the_heavy_go)

if __name__ == "__main__":
    run(CHECKS)
