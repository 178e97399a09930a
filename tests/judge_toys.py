"""Judges small enough for tests: ONNX networks, an insightface pack, vision encoders, judges of sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

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


def toy_speaker(folder: Path) -> Path:
    """A speaker encoder as transformers saves it, with random weights."""
    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(80, 4),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(16, 16, 32),
        tdnn_kernel=(5, 3, 1),
        tdnn_dilation=(1, 2, 1),
        xvector_output_dim=12,
    )
    WavLMForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def toy_whisper(folder: Path, only: str) -> Path:
    """A Whisper that can say nothing but the letter ``only``."""
    alphabet = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    special = [
        "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|fr|>", "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    tokenizer = WhisperTokenizer(vocab=alphabet, merges=[])
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in special}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=20,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={token: ids[token] for token in ("<|en|>", "<|fr|>")},
        task_to_id={name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        max_length=10,
        suppress_tokens=[i for i in range(len(tokenizer)) if i != alphabet[only]],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder
