"""From OpenAI's key format of a Whisper encoder (R: the speech features) to transformers' WhisperModel."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import WhisperConfig, WhisperModel

from common.errors import UserError

_RENAMED = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_OUTER = {
    "encoder.ln_post.weight": "layer_norm.weight",
    "encoder.ln_post.bias": "layer_norm.bias",
    "encoder.positional_embedding": "embed_positions.weight",
}


def from_openai_whisper(
    state: Mapping[str, torch.Tensor], heads: int | None = None, source: str = "The Whisper file"
) -> WhisperModel:
    """A WhisperModel whose encoder has the weights of ``state``; its decoder is a stub of one small layer.

    Decoder tensors in ``state`` are not used. ``heads`` defaults to 64 channels per head, as in all of
    OpenAI's models. Raises UserError naming the first encoder tensor that is missing, foreign or misshapen.
    """
    ours = {to_transformers_name(name): t for name, t in state.items() if name.startswith("encoder.")}
    for name in ("conv1.weight", "embed_positions.weight", "layers.0.fc1.weight"):
        if name not in ours:
            raise UserError(f"{source} holds no Whisper encoder in OpenAI's format; choose another file.")
    width, bands = ours["conv1.weight"].shape[:2]
    heads = heads or width // 64
    layers = 1 + max(int(match[1]) for name in ours if (match := re.match(r"layers\.(\d+)\.", name)))
    config = WhisperConfig(
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=ours["layers.0.fc1.weight"].shape[0],
        decoder_layers=1,
        decoder_attention_heads=heads,
        decoder_ffn_dim=8,
        max_source_positions=ours["embed_positions.weight"].shape[0],
        max_target_positions=8,
    )
    model = WhisperModel(config)
    encoder = model.get_encoder()
    expected = encoder.state_dict()
    for name in sorted(expected.keys() | ours.keys()):
        if name not in ours:
            raise UserError(f"{source} lacks the encoder tensor {name}; it is incomplete.")
        if name not in expected:
            raise UserError(f"{source} holds the foreign tensor {name}; it is no Whisper encoder.")
        if ours[name].shape != expected[name].shape:
            raise UserError(f"{source}: the tensor {name} is {tuple(ours[name].shape)}; the file is damaged.")
    encoder.load_state_dict(ours)
    return model.eval()


def to_transformers_name(name: str) -> str:
    """Name of an encoder tensor within transformers' Whisper encoder; unknown names come back unchanged."""
    if name in _OUTER:
        return _OUTER[name]
    if match := re.fullmatch(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)", name):
        layer, inner, leaf = match.groups()
        return f"layers.{layer}.{_RENAMED.get(inner, inner)}.{leaf}"
    return name.removeprefix("encoder.")
