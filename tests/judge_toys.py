"""Judges small enough for tests: ONNX networks, an insightface pack, vision encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "input.1", "683"  # exporters use names that torch does not allow


def initializers(**values: Any) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def save_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    shape: list[Any],
    opset: int = 13,
) -> Path:
    """A model with the input ``INPUT`` of ``shape`` and the output ``OUTPUT``."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def arcface_onnx(path: Path, seed: int = 0, mxnet: bool = False) -> Path:
    """An ArcFace in small: stem, one block of an IResNet, and the head. ``mxnet``: wants 0 ... 255."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.3) -> np.ndarray:
        return rng.normal(scale=scale, size=shape).astype(np.float32)

    def norm(name: str, channels: int) -> dict[str, np.ndarray]:
        spread = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        return {
            f"{name}_scale": 1 + normal(channels),
            f"{name}_shift": normal(channels),
            f"{name}_mean": normal(channels),
            f"{name}_var": spread,
        }

    def norm_node(name: str, source: str, target: str) -> onnx.NodeProto:
        parts = [f"{name}_{part}" for part in ("scale", "shift", "mean", "var")]
        return helper.make_node("BatchNormalization", [source, *parts], [target], epsilon=2e-5)

    weights = initializers(
        stem=normal(6, 3, 3, 3),
        slope=rng.uniform(0.1, 0.4, (6, 1, 1)).astype(np.float32),
        conv1=normal(6, 6, 3, 3),
        conv2=normal(6, 6, 3, 3),
        bias2=normal(6),
        short=normal(6, 6, 1, 1),
        linear=normal(16, 6 * 7 * 7, scale=0.1),
        offset=normal(16),
        middle=np.float32(127.5),
        unit=np.float32(0.0078125),
        **norm("bn1", 6),
        **norm("bn2", 6),
        **norm("bn3", 16),
    )
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    scaled = [
        helper.make_node("Sub", [INPUT, "middle"], ["minus"], name="_minusscalar0"),
        helper.make_node("Mul", ["minus", "unit"], ["scaled"], name="_mulscalar0"),
    ]
    nodes = [
        *(scaled if mxnet else [helper.make_node("Identity", [INPUT], ["scaled"])]),
        helper.make_node("Conv", ["scaled", "stem"], ["a"], strides=[4, 4], **same),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        norm_node("bn1", "b", "c"),
        helper.make_node("Conv", ["c", "conv1"], ["d"], **same),
        helper.make_node("PRelu", ["d", "slope"], ["e"]),
        helper.make_node("Conv", ["e", "conv2", "bias2"], ["f"], strides=[2, 2], **same),
        helper.make_node("Conv", ["b", "short"], ["g"], strides=[2, 2], kernel_shape=[1, 1]),
        helper.make_node("Add", ["f", "g"], ["h"]),
        norm_node("bn2", "h", "i"),
        helper.make_node("AveragePool", ["i"], ["j"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Dropout", ["k"], ["l"]),
        helper.make_node("Gemm", ["l", "linear", "offset"], ["m"], transB=1),
        norm_node("bn3", "m", OUTPUT),
    ]
    return save_onnx(path, nodes, weights, [None, 3, 112, 112])


def toy_pack(root: Path, name: str = "tiny", **options: Any) -> Path:
    """A root folder with ``models/<name>``: a pack with a recognition model alone."""
    arcface_onnx(root / "models" / name / "w600k_tiny.onnx", **options)
    return root


def toy_clip(folder: Path, kind: str = "clip", side: int = 32, processor: bool = True) -> Path:
    """A saved vision encoder with random weights."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPVisionConfig,
        CLIPVisionModel,
        CLIPVisionModelWithProjection,
        Dinov2Config,
        Dinov2Model,
        SiglipConfig,
        SiglipModel,
    )

    torch.manual_seed(0)
    base = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    seen = {**base, "intermediate_size": 32, "image_size": side, "patch_size": 8, "projection_dim": 8}
    read = {**base, "intermediate_size": 32, "vocab_size": 40, "max_position_embeddings": 8}
    make = {
        "clip": lambda: CLIPModel(CLIPConfig(text_config=read, vision_config=seen, projection_dim=8)),
        "clip-vision": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**seen)),
        "clip-unprojected": lambda: CLIPVisionModel(CLIPVisionConfig(**seen)),
        "siglip": lambda: SiglipModel(SiglipConfig(text_config=read, vision_config=seen)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**base, image_size=side, patch_size=8)),
    }
    make[kind]().save_pretrained(folder)
    if processor:
        values = {
            "size": {"shortest_edge": side + 4},
            "crop_size": {"height": side, "width": side},
            "do_center_crop": True,
            "resample": 3,
            "image_mean": [0.48, 0.46, 0.41],
            "image_std": [0.27, 0.26, 0.28],
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder
