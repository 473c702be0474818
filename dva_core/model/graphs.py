"""Evaluations as CUDA graphs: all launches of one evaluation recorded once per batch size and replayed as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dva_core.hosts.plain import PlainHost
from dva_core.model.break_even import BreakEven, milliseconds
from dva_core.model.evaluation import ThreadedEvaluation, pad_batch, padded_size

logger = logging.getLogger(__name__)

WARM_UP = 2  # evaluations before the recording, in which libraries select kernels and allocate workspaces
PADDING = 1.5  # times the images of a batch up to which it is padded: a recording costs less than a few evaluations
KEPT = 4  # graphs at the most; they share their memory
LARGEST_ERROR = 0.05  # ||replayed - plain|| / ||plain||; in half precision two ways to sum differ by about 0.005


class Graph(NamedTuple):
    """A recorded evaluation: `inputs` are read and `output` is written by every replay."""

    replay: Callable[[], None]
    inputs: tuple[Any, ...]
    output: Tensor


class GraphEvaluation:
    """Evaluates a network on NVIDIA GPUs by CUDA graphs, one for each batch size; a slightly smaller batch is padded to a recorded size.

    Launch overhead dominates small networks there (the starter: some 600 launches per evaluation); a replay avoids it. If weights
    move, the graph is recorded again. Where graphs do not apply (other devices, weights that a host streams or casts on use, gradients,
    an operation that cannot be recorded, a replay that gives other numbers) the network runs without; a warning says so once.

    automatic: record a batch size only once it pays (`BreakEven`), and keep only graphs that are faster; else every size at first use.
    """

    def __init__(self, automatic: bool = False) -> None:
        self.break_even = BreakEven() if automatic else None
        self._graphs: dict[Any, Graph] = {}
        self._network: nn.Module | None = None
        self._weights: list[tuple[dict[str, Any], str]] = []
        self._given: dict[int, Tensor] = {}  # by graph input: the tensor last copied into it
        self._pool: Any = None
        self._device: torch.device | None = None
        self._refusal: str | None = None
        self._otherwise = ThreadedEvaluation()

    def __deepcopy__(self, memo: dict) -> GraphEvaluation:
        return GraphEvaluation(self.break_even is not None)

    def __call__(self, network: nn.Module, x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
        if torch.is_grad_enabled():
            return network(x_t, t, z_face)
        if network is not self._network or x_t.device != self._device:
            self.clear()
            self._network, self._device, self._refusal = network, x_t.device, None
            self._weights = [(module._parameters, name) for module in network.modules() for name in module._parameters]
        if self._refusal is None and (reason := self._obstacle(network, x_t.device)) is not None:
            self._refuse(reason)
        if self._refusal is not None:
            return self._otherwise(network, x_t, t, z_face)
        with torch.cuda.device(x_t.device):  # streams and events are those of the current device
            return self._evaluate(network, x_t, t, z_face)

    def _evaluate(self, network: nn.Module, x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
        addresses = tuple(weights[name].data_ptr() for weights, name in self._weights if weights[name] is not None)
        batch, form = len(x_t), (addresses, t.stride(0), *((x.shape[1:], x.dtype) for x in tree_leaves((x_t, z_face))))
        size = padded_size(batch, [other for other, known in self._graphs if known == form], PADDING)
        inputs = tuple(pad_batch(value, size) for value in (x_t, t, z_face))
        if (size, form) not in self._graphs:
            if any(known[0] != addresses for _, known in self._graphs) or len(self._graphs) >= KEPT:
                self.clear()
            if self.break_even is not None and not self.break_even.is_due(size):
                return self.break_even.timed(size, lambda: network(*inputs))[:batch]
            graph = self._try(network, inputs)
            if graph is None:
                return network(*inputs)[:batch]
            self._graphs[size, form] = graph
        graph = self._graphs[size, form]
        self._fill(graph.inputs, inputs)
        graph.replay()
        return graph.output[:batch].clone()

    def clear(self) -> None:
        """Drop all graphs and the memory of their activations."""
        self._graphs.clear()
        self._given.clear()
        self._pool = None

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        level = logging.WARNING if self.break_even is None else logging.INFO  # nobody asked for it
        logger.log(level, "CUDA graphs do not apply here and the noise predictor runs as it is (%s).", reason)

    def _obstacle(self, network: nn.Module, device: torch.device) -> str | None:
        """The reason why this network cannot be recorded on `device`; None if it can."""
        if device.type != "cuda":
            return f"the device is {device.type}"
        if torch.version.hip is not None:
            return "this is an AMD card"
        if any(getattr(module, "comfy_cast_weights", False) for module in network.modules()):
            return "ComfyUI loads the weights layer by layer"
        if any(weights[name] is not None and weights[name].device != device for weights, name in self._weights):
            return "some weights are not on the device"
        return None

    def _try(self, network: nn.Module, inputs: tuple[Any, ...]) -> Graph | None:
        """Record an evaluation of `inputs`; None if that fails, gives other numbers, or (automatic) is not faster.

        Raises the error if memory runs out, unless nobody asked for the recording.
        """
        automatic, size = self.break_even is not None, len(inputs[0])
        try:
            before = milliseconds(lambda: network(*inputs)) if automatic else 0.0
            expected = network(*inputs)  # before the recording, which needs this memory too
            torch.cuda.synchronize()
            started = time.perf_counter()
            graph = self._record(network, inputs)
            torch.cuda.synchronize()
            cost = time.perf_counter() - started
            self._fill(graph.inputs, inputs)
            graph.replay()
            if (graph.output - expected).float().norm() > LARGEST_ERROR * expected.float().norm():  # not so of nan
                raise RuntimeError("a replay gives other numbers")
            return None if automatic and not self._is_faster(graph, cost, before) else graph
        except RuntimeError as error:
            self.clear()
            if not PlainHost.is_out_of_memory(error):
                self._refuse(str(error).strip().splitlines()[0])
            elif automatic:
                self.break_even.decline(size)
            else:
                raise
            return None

    def _is_faster(self, graph: Graph, cost: float, before: float) -> bool:
        """Whether the replay is faster than the evaluation, which took `before` ms; `cost`: seconds of the recording."""
        after, frames = milliseconds(graph.replay), len(graph.output)
        keep = self.break_even.note(frames, cost, before, after)
        use = f"which {cost * 1e3 / (before - after):.0f} evaluations make up for" if keep else "and not used"
        logger.info("A CUDA graph of %d frames takes %.2f ms, not %.2f; recorded in %.2f s, %s.", frames, after, before, cost, use)
        return keep

    def _record(self, network: nn.Module, inputs: tuple[Any, ...]) -> Graph:
        with torch.inference_mode(False), torch.no_grad():  # tensors made in inference mode can only be written in inference mode
            places = tree_map(lambda x: x[:1].clone().expand_as(x) if x.stride(0) == 0 else x.clone(), inputs)
        beside = torch.cuda.Stream()  # of this device; torch's own for recordings is of the device that recorded first
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                network(*places)
        torch.cuda.current_stream().wait_stream(beside)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # what other threads do on the device meanwhile, such as another program's preview, does not spoil the recording
        with torch.cuda.graph(graph, pool=self._pool, stream=beside, capture_error_mode="thread_local"):
            output = network(*places)
        logger.info("Recorded an evaluation of %d frames as a CUDA graph.", len(output))
        return Graph(graph.replay, places, output)

    def _fill(self, places: tuple[Any, ...], inputs: tuple[Any, ...]) -> None:
        """Copy the inputs to where the graph reads them, except those unchanged since the last call, such as the conditions."""
        with torch.inference_mode(False), torch.no_grad():
            for i, (place, value) in enumerate(zip(tree_leaves(places), tree_leaves(inputs))):
                if i > 1 and self._given.get(id(place)) is value:
                    continue
                if place.stride(0) == 0:
                    place[:1].copy_(value[:1], non_blocking=True)
                else:
                    place.copy_(value, non_blocking=True)
                self._given[id(place)] = value
