"""ONNX graphs in torch: the values are onnxruntime's, the gradients are true, strangers are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from judge_toys import INPUT, OUTPUT, arcface_onnx, initializers, save_onnx
from onnx import helper

from common.errors import UserError
from common.models.onnx_torch import OnnxNetwork

node = helper.make_node
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 9, 8)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def runtime(path: Path, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: values})[0])


def one(op: str, *inputs: str, **attributes: Any) -> list[onnx.NodeProto]:
    return [node(op, [INPUT, *inputs], [OUTPUT], **attributes)]


# name -> (nodes, weights, opset); the input is (2, 3, 9, 8).
CASES: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto], int]] = {
    "conv, grouped, dilated, lopsided padding": (
        one("Conv", "w", "b", group=3, dilations=[2, 1], pads=[2, 0, 1, 1], strides=[2, 1]),
        initializers(w=normal(6, 1, 3, 2), b=normal(6)),
        13,
    ),
    "average pool, padding left out": (
        one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
        [],
        13,
    ),
    "average pool, padding counted": (
        one("AveragePool", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1),
        [],
        13,
    ),
    "max pool": (one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]), [], 13),
    "prelu per channel": (one("PRelu", "s"), initializers(s=normal(3, 1, 1)), 13),
    "prelu per place": (one("PRelu", "s"), initializers(s=normal(3, 9, 8)), 13),
    "prelu, one slope": (one("PRelu", "s"), initializers(s=normal(1)), 13),
    "clip with limits as inputs": (
        one("Clip", "low", "high"),
        initializers(low=np.float32(-0.3), high=np.float32(0.5)),
        13,
    ),
    "clip with an upper limit alone": (one("Clip", "", "high"), initializers(high=np.float32(0.5)), 13),
    "clip with limits as attributes": (one("Clip", min=-0.3, max=0.5), [], 7),
    "leaky relu": (one("LeakyRelu", alpha=0.2), [], 13),
    "relu": (one("Relu"), [], 13),
    "sigmoid": (one("Sigmoid"), [], 13),
    "global average": (one("GlobalAveragePool"), [], 13),
    "padding": (
        one("Pad", "pads", "value"),
        initializers(pads=np.array([0, 1, 2, 0, 0, 0, 1, 3]), value=np.float32(0.7)),
        13,
    ),
    "padding as attributes": (one("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5), [], 7),
    "transpose": (one("Transpose", perm=[0, 2, 3, 1]), [], 13),
    "transpose, reversed": (one("Transpose"), [], 13),
    "flatten": (one("Flatten", axis=2), [], 13),
    "flatten from the end": (one("Flatten", axis=-1), [], 13),
    "gather": (one("Gather", "i", axis=2), initializers(i=np.array([[1, -1], [0, 3]])), 13),
    "squeeze and unsqueeze, axes as inputs": (
        [node("Unsqueeze", [INPUT, "axes"], ["a"]), node("Squeeze", ["a", "first"], [OUTPUT])],
        initializers(axes=np.array([0, -1]), first=np.array([0])),
        13,
    ),
    "squeeze and unsqueeze, axes as attributes": (
        [node("Unsqueeze", [INPUT], ["a"], axes=[1, 3]), node("Squeeze", ["a"], [OUTPUT], axes=[1])],
        [],
        9,
    ),
    "arithmetic with broadcasting": (
        [
            node("Sub", [INPUT, "c"], ["a"]),
            node("Div", ["a", "d"], ["b"]),
            node("Mul", ["b", "c"], ["e"]),
            node("Add", ["e", INPUT], [OUTPUT]),
        ],
        initializers(c=normal(3, 1, 1), d=np.abs(normal(8)) + 0.5),
        13,
    ),
    "gemm with all options": (
        [
            node("Flatten", [INPUT], ["a"]),
            node("Gemm", ["a", "w", "b"], [OUTPUT], alpha=0.5, beta=2.0, transB=1),
        ],
        initializers(w=normal(5, 216), b=normal(1, 5)),
        13,
    ),
    "a product per matrix": (one("MatMul", "w"), initializers(w=normal(8, 4)), 13),
    "a shape that is computed": (
        [
            node("Shape", [INPUT], ["shape"]),
            node("Gather", ["shape", "zero"], ["batch"], axis=0),
            node("Unsqueeze", ["batch", "axis"], ["batch1"]),
            node("Constant", [], ["rest"], value_ints=[-1, 8]),
            node("Cast", ["rest"], ["rest64"], to=onnx.TensorProto.INT64),
            node("Concat", ["batch1", "rest64"], ["wanted"], axis=0),
            node("Reshape", [INPUT, "wanted"], ["r"]),
            node("Div", ["rest64", "three"], ["small"]),  # towards zero: [0, 2]
            node("Sub", ["small", "ends"], ["back"]),
            node("Reshape", ["r", "back"], [OUTPUT]),
        ],
        initializers(zero=np.array(0), axis=np.array([0]), three=np.array([3]), ends=np.array([0, 3])),
        13,
    ),
    "dropout and identity": (
        [node("Dropout", [INPUT], ["a", "mask"]), node("Identity", ["a"], [OUTPUT])],
        [],
        13,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_operation_gives_what_onnxruntime_gives(tmp_path: Path, name: str) -> None:
    nodes, weights, opset = CASES[name]
    path = save_onnx(tmp_path / "model.onnx", nodes, weights, list(SHAPE), opset)
    values = normal(*SHAPE)
    ours = OnnxNetwork(path)(torch.from_numpy(values))
    np.testing.assert_allclose(ours.numpy(), runtime(path, values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mxnet", [False, True])
def test_a_small_arcface_is_the_same_network(tmp_path: Path, mxnet: bool) -> None:
    path = arcface_onnx(tmp_path / "face.onnx", mxnet=mxnet)
    network = OnnxNetwork(path)
    faces = normal(3, 3, 112, 112) * (127 if mxnet else 1)
    np.testing.assert_allclose(
        network(torch.from_numpy(faces)).numpy(), runtime(path, faces), rtol=1e-4, atol=1e-4
    )
    assert not list(network.parameters()) and network.state_dict() == {}


def test_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    path = arcface_onnx(tmp_path / "face.onnx")
    network = OnnxNetwork(path).double()
    torch.manual_seed(0)
    faces = torch.randn(1, 3, 112, 112, dtype=torch.float64, requires_grad=True)
    weights, direction = torch.randn(16, dtype=torch.float64), torch.randn_like(faces)
    (network(faces) @ weights).sum().backward()
    assert faces.grad is not None
    step = 1e-6 * direction
    with torch.no_grad():
        slope = ((network(faces + step) - network(faces - step)) @ weights).sum() / 2e-6
    torch.testing.assert_close((faces.grad * direction).sum(), slope, rtol=1e-5, atol=1e-6)


def test_what_is_not_understood_is_refused_by_name(tmp_path: Path) -> None:
    weights = initializers(w=normal(3, 3, 3, 3))
    cases = (
        (one("Softmax"), [], 13, "Softmax"),
        ([node("Relu", [INPUT], [OUTPUT], domain="com.microsoft")], [], 13, r"com\.microsoft\.Relu"),
        (one("Conv", "w", auto_pad="SAME_UPPER"), weights, 13, "auto_pad"),
        (one("AveragePool", kernel_shape=[2, 2], ceil_mode=1), [], 13, "ceil_mode"),
        (one("Relu"), [], 6, "opset 6"),
    )
    for nodes, given, opset, message in cases:
        path = save_onnx(tmp_path / "strange.onnx", nodes, given, list(SHAPE), opset)
        with pytest.raises(UserError, match=message) as error:
            OnnxNetwork(path)
        assert str(path) in str(error.value)
    with pytest.raises(UserError, match="no such ONNX model"):
        OnnxNetwork(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model at all, but some text")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        OnnxNetwork(tmp_path / "bad.onnx")
