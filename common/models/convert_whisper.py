"""From OpenAI's key format of a Whisper encoder (R: the speech features) to transformers' WhisperModel."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import WhisperConfig, WhisperModel

from common.errors import UserError
from common.models.stored import Shaped

HEAD_DIM = 64  # of all of OpenAI's models

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
    """A WhisperModel whose encoder has the weights of ``state``; its decoder has no layers.

    Decoder tensors in ``state`` are not used. ``heads`` defaults to 64 channels per head, as in all of
    OpenAI's models. Raises UserError naming the first encoder tensor that is missing, foreign or misshapen.
    """
    config, originals = map_openai_whisper(state, heads, source)
    model = WhisperModel(config)
    model.get_encoder().load_state_dict({name: state[original] for name, original in originals.items()})
    return model.eval()


def map_openai_whisper(
    state: Mapping[str, Shaped], heads: int | None = None, source: str = "The Whisper file"
) -> tuple[WhisperConfig, dict[str, str]]:
    """(configuration of the model, OpenAI's name by the name within transformers' encoder).

    Looks at shapes only. Raises UserError as :func:`from_openai_whisper` does.
    """
    originals = {to_transformers_name(name): name for name in state if name.startswith("encoder.")}
    for name in ("conv1.weight", "embed_positions.weight", "layers.0.fc1.weight"):
        if name not in originals:
            raise UserError(f"{source} holds no Whisper encoder in OpenAI's format; choose another file.")
    shapes = {name: state[original].shape for name, original in originals.items()}
    width, bands = shapes["conv1.weight"][:2]
    config = WhisperConfig(
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=1
        + max(int(match[1]) for name in shapes if (match := re.match(r"layers\.(\d+)\.", name))),
        encoder_attention_heads=heads or max(width // HEAD_DIM, 1),
        encoder_ffn_dim=shapes["layers.0.fc1.weight"][0],
        decoder_layers=0,
        decoder_attention_heads=1,
        decoder_ffn_dim=8,
        max_source_positions=shapes["embed_positions.weight"][0],
        max_target_positions=8,
    )
    with torch.device("meta"):
        expected = WhisperModel(config).get_encoder().state_dict()
    for name in sorted(expected.keys() | shapes.keys()):
        if name not in shapes:
            raise UserError(f"{source} lacks the encoder tensor {name}; it is incomplete.")
        if name not in expected:
            raise UserError(f"{source} holds the foreign tensor {originals[name]}; it is no Whisper encoder.")
        if shapes[name] != expected[name].shape:
            raise UserError(
                f"{source}: the tensor {originals[name]} is {tuple(shapes[name])}, expected "
                f"{tuple(expected[name].shape)}; the file is damaged."
            )
    return config, originals


def to_transformers_name(name: str) -> str:
    """Name of an encoder tensor within transformers' Whisper encoder; unknown names come back unchanged."""
    if name in _OUTER:
        return _OUTER[name]
    if match := re.fullmatch(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)", name):
        layer, inner, leaf = match.groups()
        return f"layers.{layer}.{_RENAMED.get(inner, inner)}.{leaf}"
    return name.removeprefix("encoder.")
