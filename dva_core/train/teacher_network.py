"""A teacher network (ONNX) as a differentiable torch module, for the operations that the teachers have; and its crop. Needs onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.errors import MissingDependencyError
from dva_core.train.teachers import EXPRESSION_WINDOW, teacher_file

SIZE = 112  # pixels that a teacher sees each way

Node = tuple[str, list[str], list[str], dict[str, Any]]  # operation, names of the inputs and of the outputs, attributes


def read_graph(path: Path) -> tuple[list[Node], dict[str, np.ndarray], list[str]]:
    """Read the nodes in order, the weights, and the names of the outputs. MissingDependencyError without onnx."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("Gradients of the teachers need onnx: pip install onnx.") from error
    graph = onnx.load(path).graph

    def plain(attribute) -> Any:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            return onnx.numpy_helper.to_array(value)
        return value.decode() if isinstance(value, bytes) else list(value) if hasattr(value, "__len__") else value

    nodes = [(node.op_type, list(node.input), list(node.output), {a.name: plain(a) for a in node.attribute}) for node in graph.node]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return nodes, weights, [output.name for output in graph.output]


def widths(pads: list[int]) -> list[int]:
    """Convert ONNX padding [begin of each axis, end of each axis] to torch's: last axis first, (begin, end)."""
    half = len(pads) // 2
    return [pads[axis + end] for axis in reversed(range(half)) for end in (0, half)]


def slice_tensor(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor) -> Tensor:
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist()):
        rows = range(x.shape[axis])[slice(start, end if end > -(1 << 62) else None, step)]
        x = x.index_select(axis, torch.tensor(list(rows)))
    return x


TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 11: torch.float64}  # as ONNX numbers them
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
    "Cast": lambda a, x: x.to(TYPES[a["to"]]),
    "Unsqueeze": lambda a, x, axes: x.reshape([1] * len(axes) + list(x.shape)) if axes.tolist() == [0] else x.unsqueeze(int(axes[0])),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Reshape": lambda a, x, shape: x.reshape(shape.tolist()),
    "Gather": lambda a, x, i: x.select(a["axis"], int(i)),
    "Slice": lambda a, *args: slice_tensor(*args),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "ConstantOfShape": lambda a, shape: torch.from_numpy(a["value"].copy()).expand(shape.tolist()),
    "Pad": lambda a, x, pads, value=None, *_: F.pad(x, widths(pads.tolist()), value=0.0 if value is None else float(value)),
    "Conv": lambda a, x, w, b=None: F.conv2d(x, w, b, a["strides"], a["pads"][:2], a["dilations"], a["group"]),
    "MaxPool": lambda a, x: F.max_pool2d(x, a["kernel_shape"], a["strides"]),
    "AveragePool": lambda a, x: F.avg_pool2d(x, a["kernel_shape"], a["strides"]),
}


class TeacherNetwork(nn.Module):
    """The teacher `name` of a folder: images float [n, 3, 112, 112] RGB in 0..255 -> its outputs.

    Raises DVAError where the file is missing, MissingDependencyError without onnx.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        self.nodes, weights, self.outputs = read_graph(teacher_file(folder, name))
        self.weights = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}

    def forward(self, images: Tensor) -> list[Tensor]:
        values: dict[str, Any] = {"rgb": images, "": None, **self.weights}
        for operation, inputs, outputs, attributes in self.nodes:
            if operation == "Constant":
                values[outputs[0]] = torch.from_numpy(attributes["value"].copy())
            else:
                values[outputs[0]] = OPERATIONS[operation](attributes, *(values[name] for name in inputs))
        return [values[name] for name in self.outputs]


def crop_window(images: Tensor) -> Tensor:
    """Crop face squares [n, 3, H, W] in [-1, 1] for the teachers of age, sex and expression: [n, 3, 112, 112] in 0..255."""
    left, top, side = EXPRESSION_WINDOW
    place = torch.tensor([[[side, 0, 2 * left + side - 1], [0, side, 2 * top + side - 1]]], dtype=images.dtype)
    grid = F.affine_grid(place.expand(len(images), -1, -1), (len(images), 3, SIZE, SIZE), align_corners=False)
    return 127.5 * (F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False) + 1)


def log_odds(p: Tensor) -> Tensor:
    return torch.logit(p, eps=1e-4)


class AgeAndSex(nn.Module):
    """Differentiable age and sex of face squares: images [n, 3, H, W] in [-1, 1] -> [n, 2], as in NAMES.

    Male is the log-odds of a man; Young is the number of years below 40, divided by eight so that both have similar ranges.
    """

    NAMES = ("Male", "Young")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.network = TeacherNetwork(folder, "age_gender")

    def forward(self, images: Tensor) -> Tensor:
        age, male = self.network(crop_window(images))
        return torch.stack([log_odds(male), (40 - age) / 8], 1)
