"""Evaluations as CUDA graphs: all launches of one evaluation recorded once per batch size and replayed as one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dva_core.hosts.plain import PlainHost
from dva_core.model.evaluation import pad_batch

logger = logging.getLogger(__name__)

WARM_UP = 2  # evaluations before the recording, in which libraries select kernels and allocate workspaces
KEPT = 4  # graphs at the most; they share their memory


class Graph(NamedTuple):
    """A recorded evaluation: `inputs` are read and `output` is written by every replay."""

    replay: Callable[[], None]
    inputs: tuple[Any, ...]
    output: Tensor


class GraphEvaluation:
    """Evaluates a network on NVIDIA GPUs by CUDA graphs, one for each batch size; a smaller batch is padded to a recorded size.

    Launch overhead dominates small networks there (the starter: some 600 launches per evaluation); a replay avoids it. If weights
    move, the graph is recorded again. Where graphs do not apply (other devices, weights that a host streams or casts on use, gradients,
    an operation that cannot be recorded) the network runs without; a warning says so once.
    """

    def __init__(self) -> None:
        self._graphs: dict[Any, Graph] = {}
        self._network: nn.Module | None = None
        self._weights: list[tuple[dict[str, Any], str]] = []
        self._given: dict[int, Tensor] = {}  # by graph input: the tensor last copied into it
        self._pool: Any = None
        self._refusal: str | None = None

    def __deepcopy__(self, memo: dict) -> GraphEvaluation:
        return GraphEvaluation()

    def __call__(self, network: nn.Module, x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
        if torch.is_grad_enabled():
            return network(x_t, t, z_face)
        if network is not self._network:
            self.clear()
            self._network, self._refusal = network, None
            self._weights = [(module._parameters, name) for module in network.modules() for name in module._parameters]
        if self._refusal is None and (reason := self._obstacle(network, x_t.device)) is not None:
            self._refuse(reason)
        if self._refusal is not None:
            return network(x_t, t, z_face)
        addresses = tuple(weights[name].data_ptr() for weights, name in self._weights if weights[name] is not None)
        batch, form = len(x_t), (addresses, t.stride(0), *((x.shape[1:], x.dtype) for x in tree_leaves((x_t, z_face))))
        size = min((other for other, known in self._graphs if known == form and other >= batch), default=batch)
        inputs = tuple(pad_batch(value, size) for value in (x_t, t, z_face))
        if (size, form) not in self._graphs:
            if any(known[0] != addresses for _, known in self._graphs) or len(self._graphs) >= KEPT:
                self.clear()
            try:
                self._graphs[size, form] = self._record(network, inputs)
            except RuntimeError as error:
                self.clear()
                if PlainHost.is_out_of_memory(error):
                    raise
                self._refuse(str(error).strip().splitlines()[0])
                return network(x_t, t, z_face)
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
        logger.warning("CUDA graphs do not apply here and the noise predictor runs as it is (%s).", reason)

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

    def _record(self, network: nn.Module, inputs: tuple[Any, ...]) -> Graph:
        with torch.inference_mode(False), torch.no_grad():  # tensors made in inference mode can only be written in inference mode
            places = tree_map(lambda x: x[:1].clone().expand_as(x) if x.stride(0) == 0 else x.clone(), inputs)
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                network(*places)
        torch.cuda.current_stream().wait_stream(beside)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
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
