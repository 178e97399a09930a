"""Between the public checkpoint's key format and ours (R: the keys of X-Dub_model.safetensors).

The public names are those of the original Wan code; ours follow diffusers, so that its LoRA and attention
tools apply. The tensors are the same, none is reshaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from common.errors import UserError
from common.models.stored import Shaped
from common.models.transformer import DubbingTransformer

T = TypeVar("T", bound=Shaped)

# (public name, our name); words in braces stand for the same text on both sides. All other names are equal.
_RENAMED = (
    ("blocks.{n}.{kind}_attn.{qkv}.{leaf}", "blocks.{n}.{kind}_attn.to_{qkv}.{leaf}"),
    ("blocks.{n}.{kind}_attn.o.{leaf}", "blocks.{n}.{kind}_attn.to_out.0.{leaf}"),
    ("blocks.{n}.ffn.0.{leaf}", "blocks.{n}.ffn.net.0.proj.{leaf}"),
    ("blocks.{n}.ffn.2.{leaf}", "blocks.{n}.ffn.net.2.{leaf}"),
    ("{embedding}_embedding.0.{leaf}", "{embedding}_embedding.linear_1.{leaf}"),
    ("{embedding}_embedding.2.{leaf}", "{embedding}_embedding.linear_2.{leaf}"),
    ("time_projection.1.{leaf}", "time_projection.{leaf}"),
)
_WORDS = {
    "n": r"\d+",
    "kind": "self|cross|audio",
    "qkv": "[qkv]",
    "embedding": "time|text",
    "leaf": r"weight|bias|lora_[AB]\.weight",
}

HEAD_DIM = 128  # of the public model; the number of heads leaves no trace in the weights
AUDIO_HEAD_DIM = 64


def from_public_state_dict(
    state: Mapping[str, T],
    *,
    num_heads: int | None = None,
    audio_heads: int | None = None,
    source: str = "The checkpoint",
    **overrides: Any,
) -> tuple[dict[str, Any], dict[str, T]]:
    """(arguments of DubbingTransformer, its state dict) from a checkpoint in the public key format.

    The geometry is read off the tensors. Head counts cannot be: they default to 128 and 64 channels per head.
    Only shapes are looked at: the tensors may also be ones that are still in their file. ``overrides``
    replace inferred arguments (such as ``reference_layout``); ``source`` names the file in errors. Raises
    UserError that names the first tensor that is missing, foreign or of a wrong shape.
    """
    ours = {to_our_name(name): tensor for name, tensor in state.items()}
    config = infer_config(ours, num_heads, audio_heads, source) | overrides
    check_state_dict(config, ours, source)
    return config, ours


def to_public_state_dict(state: Mapping[str, T]) -> dict[str, T]:
    """The state dict of a DubbingTransformer under the public names."""
    return {to_public_name(name): tensor for name, tensor in state.items()}


def to_our_name(name: str) -> str:
    return _rename(name, 0)


def to_public_name(name: str) -> str:
    return _rename(name, 1)


def infer_config(
    state: Mapping[str, Shaped], num_heads: int | None, audio_heads: int | None, source: str
) -> dict[str, Any]:
    """Constructor arguments that fit the tensors of ``state`` (our names)."""

    def shape(name: str, axes: int = 2) -> torch.Size:
        if name not in state:
            raise UserError(f"{source} lacks the tensor {to_public_name(name)}; it is no dubbing model.")
        if len(state[name].shape) != axes or 0 in state[name].shape:
            raise UserError(
                f"{source}: the tensor {to_public_name(name)} is {tuple(state[name].shape)}, expected "
                f"{axes} axes; it is no dubbing model."
            )
        return state[name].shape

    dim, in_channels, *patch = shape("patch_embedding.weight", 5)
    latent_channels = shape("head.head.weight")[0] // math.prod(patch)
    audio_dim, audio_channels = shape("audio_embedding.proj_in.weight")
    has_text = any(".cross_attn." in name for name in state)
    return {
        "dim": dim,
        "num_heads": num_heads or max(dim // HEAD_DIM, 1),
        "num_layers": _count(state, "blocks"),
        "ffn_dim": shape("blocks.0.ffn.net.0.proj.weight")[0],
        "text_dim": shape("text_embedding.linear_1.weight")[1] if has_text else 0,
        "freq_dim": shape("time_embedding.linear_1.weight")[1],
        "latent_channels": latent_channels,
        "condition_channels": in_channels - latent_channels,
        "patch_size": tuple(patch),
        "audio_channels": audio_channels,
        "audio_dim": audio_dim,
        "audio_heads": audio_heads or max(audio_dim // AUDIO_HEAD_DIM, 1),
        "audio_layers": _count(state, "audio_embedding.layers"),
        "text_tokens": 512 if has_text else 0,
    }


def check_state_dict(config: Mapping[str, Any], state: Mapping[str, Shaped], source: str) -> None:
    """Raise UserError unless ``state`` (our names) fits a DubbingTransformer made with ``config`` exactly."""
    with torch.device("meta"):
        expected = DubbingTransformer(**config).state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise UserError(f"{source} lacks the tensor {to_public_name(name)}; it is incomplete.")
        if name not in expected:
            raise UserError(
                f"{source} holds the foreign tensor {to_public_name(name)}; it is not a dubbing model."
            )
        if state[name].shape != expected[name].shape:
            raise UserError(
                f"{source}: the tensor {to_public_name(name)} is {tuple(state[name].shape)}, "
                f"expected {tuple(expected[name].shape)}; the checkpoint contradicts its own geometry."
            )


def _count(state: Mapping[str, Shaped], prefix: str) -> int:
    found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _rename(name: str, side: int) -> str:
    for pattern, template in _PATTERNS[side]:
        if match := pattern.fullmatch(name):
            return template.format(**match.groupdict())
    return name


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(f"(?P<{p}>{_WORDS[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    )


_PATTERNS = (
    [(_pattern(public), ours) for public, ours in _RENAMED],
    [(_pattern(ours), public) for public, ours in _RENAMED],
)
