"""ONNX graphs of convolutional networks as torch modules, so that gradients pass through them.

Networks that others publish as ONNX (ArcFace in insightface's packs) run in onnxruntime without gradients.
Here the graph is walked node by node with torch operations; the semantics are those of the ONNX operator
specification. Tensors of integers (shapes and what is computed from them) stay on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.files import PathLike

_OLDEST_OPSET = 7  # since then all axes broadcast as in numpy


@dataclass(frozen=True)
class _Node:
    """One operation of the graph; an empty input name is an optional input that is left out."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


class OnnxNetwork(nn.Module):
    """A network with one input and one output, (B, ...) -> (B, ...), in inference mode.

    Its float weights are buffers: they move with the module and are never trained. It keeps nothing of the
    file. Frozen weights only: running statistics of normalisations are constants of the graph.
    """

    def __init__(self, path: PathLike) -> None:
        """
        Args:
            path: .onnx file of opset 7 or newer.

        Raises:
            UserError: no such model, or it needs an operation that is not known here.
        """
        super().__init__()
        graph = _load(Path(path))
        self._constants: dict[str, Tensor] = {}
        self._weights: dict[str, str] = {}  # name in the graph -> name of the buffer
        for number, tensor in enumerate(graph.initializer):
            self._keep(tensor.name, f"weight_{number}", _tensor(tensor))
        # Old exporters list weights among the inputs as well.
        inputs = [i.name for i in graph.input if i.name not in self._weights | self._constants.keys()]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UserError(
                f"{path}: has {len(inputs)} inputs and {len(graph.output)} outputs, not one each: this is no "
                "network that embeds pictures."
            )
        self._input, self._output = inputs[0], graph.output[0].name
        nodes = []
        for number, proto in enumerate(graph.node):
            node = _node(proto, path)
            if node.op == "Constant":
                self._keep(node.output, f"constant_{number}", _constant(node, path))
            else:
                nodes.append(node)
        self._nodes = tuple(nodes)
        self._last_use = _last_uses(self._nodes)

    def forward(self, values: Tensor) -> Tensor:
        known: dict[str, Tensor] = {**self._constants, self._input: values}
        known |= {name: getattr(self, buffer) for name, buffer in self._weights.items()}
        for position, node in enumerate(self._nodes):
            arguments = [known[name] if name else None for name in node.inputs]
            known[node.output] = _OPERATIONS[node.op](node, *arguments)
            for name in self._last_use.get(position, ()):
                if name != self._output:
                    del known[name]
        return known[self._output]

    def _keep(self, name: str, buffer: str, value: Tensor) -> None:
        if value.is_floating_point():
            self.register_buffer(buffer, value, persistent=False)
            self._weights[name] = buffer
        else:
            self._constants[name] = value


def _load(path: Path) -> onnx.GraphProto:
    if not path.is_file():
        raise UserError(f"{path}: no such ONNX model.")
    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise UserError(f"{path}: is no ONNX model, or is damaged: install it again.") from error
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset < _OLDEST_OPSET:
        raise UserError(
            f"{path}: is written in ONNX opset {opset}, whose operations mean other things than those of "
            f"opset {_OLDEST_OPSET} and newer: convert it with onnx.version_converter."
        )
    return model.graph


def _node(proto: onnx.NodeProto, path: PathLike) -> _Node:
    known = proto.domain in ("", "ai.onnx") and (proto.op_type in _OPERATIONS or proto.op_type == "Constant")
    # Second outputs of Dropout and MaxPool, which no embedding uses.
    if not known or (any(proto.output[1:]) and proto.op_type != "Dropout"):
        raise UserError(
            f"{path}: uses the operation {proto.domain or 'ai.onnx'}.{proto.op_type}, which has no gradient "
            "here: choose another model."
        )
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    node = _Node(proto.op_type, tuple(proto.input), proto.output[0], attributes)
    for name, allowed in _ONLY.get(node.op, {}).items():
        if node.get(name, allowed[0]) not in allowed:
            raise UserError(f"{path}: uses {node.op} with {name}={node.get(name)}: choose another model.")
    return node


def _constant(node: _Node, path: PathLike) -> Tensor:
    if "value" in node.attributes:
        return _tensor(node.attributes["value"])
    for name, dtype in (("float", torch.float32), ("int", torch.int64)):
        for suffix in ("", "s"):
            if f"value_{name}{suffix}" in node.attributes:
                return torch.tensor(node.attributes[f"value_{name}{suffix}"], dtype=dtype)
    raise UserError(f"{path}: has a constant that is no number: choose another model.")


def _tensor(proto: onnx.TensorProto) -> Tensor:
    # A copy: the protobuf's memory is not writable, and 0-d arrays come as scalars.
    value = torch.from_numpy(np.array(numpy_helper.to_array(proto)))
    return value.float() if value.is_floating_point() else value


def _last_uses(nodes: Sequence[_Node]) -> dict[int, list[str]]:
    """Which computed values nobody needs after each node: without gradients their memory is free then."""
    made = {node.output for node in nodes}
    last = {name: i for i, node in enumerate(nodes) for name in node.inputs if name in made}
    uses: dict[int, list[str]] = {}
    for name, position in last.items():
        uses.setdefault(position, []).append(name)
    return uses


# ------------------------------------------------------------------------------------------- operations


def _ints(value: Tensor | Sequence[int] | None) -> list[int]:
    if value is None:
        return []
    return [int(i) for i in (value.tolist() if isinstance(value, Tensor) else value)]


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """ONNX pads (begin of each axis, then ends) on the last axes of ``x``."""
    half = len(pads) // 2
    if not any(pads):
        return x
    pairs = [side for axis in reversed(range(half)) for side in (pads[axis], pads[axis + half])]
    return functional.pad(x, pairs, value=value)


def _spatial(node: _Node, name: str, axes: int, default: int) -> list[int]:
    return list(node.get(name, [default] * axes))


def _conv(node: _Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = x.ndim - 2
    convolve: Callable[..., Tensor] = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    stride, dilation = _spatial(node, "strides", axes, 1), _spatial(node, "dilations", axes, 1)
    padded = _padded(x, _spatial(node, "pads", 2 * axes, 0))
    return convolve(padded, weight, bias, stride=stride, dilation=dilation, groups=node.get("group", 1))


def _batch_norm(node: _Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, shift, training=False, eps=node.get("epsilon", 1e-5))


def _prelu(node: _Node, x: Tensor, slope: Tensor) -> Tensor:
    per_channel = slope.ndim == x.ndim - 1 and slope.shape[0] == x.shape[1] == slope.numel()
    if slope.numel() == 1 or per_channel:
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x >= 0, x, x * slope)


def _clip(node: _Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    # Limits are attributes up to opset 10, inputs from 11.
    least, most = (node.get("min") if low is None else low), (node.get("max") if high is None else high)
    return x if least is None and most is None else x.clamp(least, most)


def _gemm(node: _Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (a.T if node.get("transA", 0) else a), (b.T if node.get("transB", 0) else b)
    product = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


def _flatten(node: _Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)


def _reshape(node: _Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _ints(shape)
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(wanted)])


def _transpose(node: _Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", list(reversed(range(x.ndim)))))


def _axes(node: _Node, given: Tensor | None) -> list[int]:
    """Axes come as an attribute up to opset 12, as an input from 13."""
    return _ints(node.get("axes") if given is None else given)


def _unsqueeze(node: _Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    wanted = _axes(node, axes)
    for axis in sorted(axis % (x.ndim + len(wanted)) for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _squeeze(node: _Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    wanted = _axes(node, axes)
    return x.squeeze(tuple(wanted)) if wanted else x.squeeze()


def _gather(node: _Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    flat = indices.reshape(-1).to(x.device) % x.shape[axis]
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _average_pool(node: _Node, x: Tensor) -> Tensor:
    axes = x.ndim - 2
    kernel, strides = list(node.get("kernel_shape")), _spatial(node, "strides", axes, 1)
    pads = _spatial(node, "pads", 2 * axes, 0)
    pool: Callable[..., Tensor] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[
        axes - 1
    ]
    pooled = pool(_padded(x, pads), kernel, strides)
    if not any(pads) or node.get("count_include_pad", 0):
        return pooled
    # Padding does not count: divide by the share of each window that lies inside.
    inside = _padded(torch.ones_like(x[:1, :1]), pads)
    return pooled / pool(inside, kernel, strides)


def _max_pool(node: _Node, x: Tensor) -> Tensor:
    axes = x.ndim - 2
    kernel, strides = list(node.get("kernel_shape")), _spatial(node, "strides", axes, 1)
    dilations = _spatial(node, "dilations", axes, 1)
    pool: Callable[..., Tensor] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[
        axes - 1
    ]
    padded = _padded(x, _spatial(node, "pads", 2 * axes, 0), value=-torch.inf)
    return pool(padded, kernel, strides, dilation=dilations)


def _pad(node: _Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None) -> Tensor:
    wanted = _ints(node.get("pads") if pads is None else pads)
    return _padded(x, wanted, float(value) if value is not None else node.get("value", 0.0))


def _cast(node: _Node, x: Tensor) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(node.get("to"))
    return x.to(torch.from_numpy(np.zeros(0, kind)).dtype)


def _divide(node: _Node, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda node, *parts: torch.cat(parts, dim=node.get("axis")),
    "Conv": _conv,
    "Div": _divide,
    "Dropout": lambda node, x, *ratio_and_mode: x,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda node, x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "Identity": lambda node, x: x,
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)),
    "MatMul": lambda node, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda node, a, b: a * b,
    "PRelu": _prelu,
    "Pad": _pad,
    "Relu": lambda node, x: x.relu(),
    "Reshape": _reshape,
    "Shape": lambda node, x: torch.tensor(x.shape),
    "Sigmoid": lambda node, x: x.sigmoid(),
    "Squeeze": _squeeze,
    "Sub": lambda node, a, b: a - b,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

# Attributes that are understood with these values alone; the first is the specification's default.
_ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
    "AveragePool": {"auto_pad": (b"NOTSET", b"VALID"), "ceil_mode": (0,), "dilations": (None, [1], [1, 1])},
    "BatchNormalization": {"spatial": (1,), "training_mode": (0,)},
    "Conv": {"auto_pad": (b"NOTSET", b"VALID")},
    "MaxPool": {"auto_pad": (b"NOTSET", b"VALID"), "ceil_mode": (0,), "storage_order": (0,)},
    "Pad": {"mode": (b"constant",)},
    "Reshape": {"allowzero": (0,)},
    "Shape": {"start": (0,), "end": (None,)},
}
