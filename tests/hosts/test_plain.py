"""The host of plain torch: modules are moved once, batches that do not fit are halved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dva_core.errors import DVAError
from dva_core.hosts.plain import PlainHost


def test_a_module_is_moved_once():
    class Counted(nn.Linear):
        moves = 0

        def to(self, *args, **kwargs):
            self.moves += 1
            return super().to(*args, **kwargs)

    host, module, other = PlainHost("cpu"), Counted(2, 2), Counted(2, 2)
    assert [host.use("fusion", module, 100) for _ in range(3)] == [torch.device("cpu")] * 3
    assert module.moves == 1
    host.use("fusion", other)
    assert other.moves == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"),
        RuntimeError("Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_else_repeated(error):
    calls = []

    def square(items):
        calls.append(list(items))
        if len(items) > 2:
            raise error
        return [item**2 for item in items]

    parts = list(PlainHost("cpu").run_batched(square, range(7), 5))
    assert [n for part in parts for n in part] == [n**2 for n in range(7)]
    assert calls == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4, 5], [6]]


def test_memory_that_runs_out_later_repeats_only_that_step():
    calls = []

    def late(items):
        calls.append(list(items))
        if items[0] == 4 and len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sum(items)

    assert list(PlainHost("cpu").run_batched(late, range(8), 4)) == [6, 9, 13]
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7]]


def test_one_item_that_does_not_fit_and_other_errors():
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(_):
        raise RuntimeError("shapes differ")

    with pytest.raises(DVAError, match="memory of cpu does not hold even one frame"):
        list(PlainHost("cpu").run_batched(full, range(4), 4))
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(PlainHost("cpu").run_batched(broken, range(4), 4))
    assert list(PlainHost("cpu").run_batched(full, [], 4)) == []


def test_tensors_are_batched_too():
    sums = list(PlainHost("cpu").run_batched(lambda t: t.sum(0), torch.arange(6.0).reshape(3, 2), 2))
    assert [t.tolist() for t in sums] == [[2.0, 4.0], [4.0, 5.0]]
