"""A teacher network (ONNX) as a torch module with gradients, for the few operations that the teachers have.

Reads the file itself: ONNX is protocol buffers, of which only the graph's nodes, their attributes and the weights are wanted
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: the field numbers below).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}


def fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: numbers, or bytes as a memoryview."""
    at = 0

    def number() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value - (1 << 64) if value >> 63 else value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
        else:
            length = {1: 8, 5: 4}.get(kind) or number()
            yield key >> 3, data[at : at + length]
            at += length


def grouped(data: memoryview) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for name, value in fields(data):
        found[name].append(value)
    return found


def integers(entries: list[Any]) -> list[int]:
    """Repeated integers, packed into bytes or not."""
    return [n for e in entries for n in ([e] if isinstance(e, int) else [v for _, v in fields(packed(e))])]


def packed(data: memoryview) -> memoryview:
    """Packed integers as if each had a field number (1) of its own."""
    out, start = bytearray(), True
    for byte in data:
        if start:
            out.append(8)
        out.append(byte)
        start = byte < 128
    return memoryview(bytes(out))


def tensor(data: memoryview) -> tuple[str, np.ndarray]:
    """TensorProto: its name and values."""
    f = grouped(data)
    shape, dtype = integers(f[1]), TYPES[f[2][0]]
    if f[9]:
        values = np.frombuffer(f[9][0], dtype)
    elif f[4]:
        values = np.concatenate([np.frombuffer(e, np.float32) for e in f[4]])
    else:
        values = np.array(integers(f[7] or f[5]), dtype)
    return text(f[8]), values.reshape(shape)


def text(entries: list[Any]) -> str:
    return bytes(entries[0]).decode() if entries else ""


def attribute(data: memoryview) -> tuple[str, Any]:
    """AttributeProto: its name and value."""
    f = grouped(data)
    kind = f[20][0] if f[20] else 0
    value = {
        1: lambda: struct.unpack("<f", f[2][0])[0],
        2: lambda: f[3][0] if f[3] else 0,
        3: lambda: text(f[4]),
        4: lambda: tensor(f[5][0])[1],
        7: lambda: integers(f[8]),
    }[kind]()
    return text(f[1]), value


def read_graph(path: Path) -> tuple[list[tuple[str, list[str], list[str], dict[str, Any]]], dict[str, np.ndarray], list[str]]:
    """(operation, inputs, outputs, attributes) of each node in order; the weights; the names of the outputs."""
    graph = grouped(grouped(memoryview(path.read_bytes()))[7][0])
    nodes = []
    for data in graph[1]:
        f = grouped(data)
        nodes.append((text(f[4]), [bytes(n).decode() for n in f[1]], [bytes(n).decode() for n in f[2]], dict(map(attribute, f[5]))))
    return nodes, dict(map(tensor, graph[5])), [text(grouped(data)[1]) for data in graph[12]]


def widths(pads: list[int]) -> list[int]:
    """ONNX's [begin of each axis, end of each axis] as torch wants it: last axis first, (begin, end)."""
    half = len(pads) // 2
    return [pads[axis + end] for axis in reversed(range(half)) for end in (0, half)]


def sliced(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor) -> Tensor:
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist()):
        rows = range(x.shape[axis])[slice(start, end if end > -(1 << 62) else None, step)]
        x = x.index_select(axis, torch.tensor(list(rows)))
    return x


OPERATIONS = {
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="floor"),
    "Neg": lambda a, x: -x,
    "Relu": lambda a, x: x.relu(),
    "MatMul": lambda a, x, y: x @ y,
    "Softmax": lambda a, x: x.softmax(a["axis"]),
    "Flatten": lambda a, x: x.flatten(a["axis"]),
    "Shape": lambda a, x: torch.tensor(x.shape),
    "Cast": lambda a, x: x.to(torch.from_numpy(np.zeros(0, TYPES[a["to"]])).dtype),
    "Unsqueeze": lambda a, x, axes: x.reshape([1] * len(axes) + list(x.shape)) if axes.tolist() == [0] else x.unsqueeze(int(axes[0])),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Reshape": lambda a, x, shape: x.reshape(shape.tolist()),
    "Gather": lambda a, x, i: x.select(a["axis"], int(i)),
    "Slice": lambda a, *given: sliced(*given),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "ConstantOfShape": lambda a, shape: torch.from_numpy(a["value"].copy()).expand(shape.tolist()),
    "Pad": lambda a, x, pads, value=None, *_: F.pad(x, widths(pads.tolist()), value=0.0 if value is None else float(value)),
    "Conv": lambda a, x, w, b=None: F.conv2d(x, w, b, a["strides"], a["pads"][:2], a["dilations"], a["group"]),
    "MaxPool": lambda a, x: F.max_pool2d(x, a["kernel_shape"], a["strides"]),
    "AveragePool": lambda a, x: F.avg_pool2d(x, a["kernel_shape"], a["strides"]),
}


class TeacherNetwork(nn.Module):
    """images float [n, 3, 112, 112] RGB in 0..255 -> what the outputs, and any other value of the graph, are called."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.nodes, weights, self.outputs = read_graph(path)
        self.weights = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}

    def forward(self, images: Tensor, wanted: list[str] | None = None) -> list[Tensor]:
        values: dict[str, Any] = {"rgb": images, "": None, **self.weights}
        for operation, inputs, outputs, attributes in self.nodes:
            if operation == "Constant":
                values[outputs[0]] = torch.from_numpy(attributes["value"].copy())
            else:
                values[outputs[0]] = OPERATIONS[operation](attributes, *(values[name] for name in inputs))
        return [values[name] for name in wanted or self.outputs]
