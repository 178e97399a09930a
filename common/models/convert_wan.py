"""From diffusers' WanTransformer3DModel to a DubbingTransformer whose audio layers are fresh.

The starting point of training (R: the public model was trained from Wan2.2-TI2V-5B). The output layers of the
audio attention are zero, so that at first the model predicts exactly what the video model does.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from common.errors import UserError
from common.models.stored import Shaped
from common.models.transformer import DubbingTransformer

T = TypeVar("T", bound=Shaped)

_RENAMED = (
    (r"condition_embedder\.time_embedder\.(.+)", r"time_embedding.\1"),
    (r"condition_embedder\.time_proj\.(.+)", r"time_projection.\1"),
    (r"condition_embedder\.text_embedder\.(.+)", r"text_embedding.\1"),
    (r"blocks\.(\d+)\.attn1\.(.+)", r"blocks.\1.self_attn.\2"),
    (r"blocks\.(\d+)\.attn2\.(.+)", r"blocks.\1.cross_attn.\2"),
    (r"blocks\.(\d+)\.norm2\.(.+)", r"blocks.\1.norm3.\2"),
    (r"blocks\.(\d+)\.scale_shift_table", r"blocks.\1.modulation"),
    (r"scale_shift_table", r"head.modulation"),
    (r"proj_out\.(.+)", r"head.head.\1"),
)
_FRESH = re.compile(r"audio_embedding\..+|blocks\.\d+\.(?:audio_attn|norm4)\..+")
# Other values mean layers that the dubbing model does not have.
_REQUIRED = {
    "_class_name": "WanTransformer3DModel",
    "qk_norm": "rms_norm_across_heads",
    "cross_attn_norm": True,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}


def to_our_name(name: str) -> str:
    """Our name of a tensor of WanTransformer3DModel; unknown names come back unchanged."""
    for pattern, replacement in _RENAMED:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def from_wan(
    state: Mapping[str, T], wan: Mapping[str, Any], audio: Mapping[str, int], source: str = "The base model"
) -> tuple[dict[str, Any], dict[str, T], dict[str, torch.Size]]:
    """(arguments of DubbingTransformer, its tensors that the base has, shapes of those it has not).

    ``wan`` is the content of the base's ``config.json``; ``audio`` holds ``audio_channels``, ``audio_dim``,
    ``audio_heads`` and ``audio_layers`` of the fresh part. Looks at shapes only. Raises UserError that names
    the first entry or tensor that does not fit.
    """
    for key, value in _REQUIRED.items():
        if wan.get(key, value) != value:
            raise UserError(f"{source}: its config.json has {key} {wan[key]!r}, expected {value!r}; choose a "
                            "Wan model that takes text alone.")  # fmt: skip
    try:
        config: dict[str, Any] = {
            "dim": wan["num_attention_heads"] * wan["attention_head_dim"],
            "num_heads": wan["num_attention_heads"],
            "num_layers": wan["num_layers"],
            "ffn_dim": wan["ffn_dim"],
            "text_dim": wan["text_dim"],
            "freq_dim": wan["freq_dim"],
            "latent_channels": wan["in_channels"],
            "patch_size": tuple(wan["patch_size"]),
            "eps": wan["eps"],
            "text_tokens": 512,
            **audio,
        }
        with torch.device("meta"):
            expected = {name: t.shape for name, t in DubbingTransformer(**config).state_dict().items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{source}: its config.json describes no Wan video model ({error}); fetch it again."
        ) from error
    fresh = {name: shape for name, shape in expected.items() if _FRESH.fullmatch(name)}
    names = {to_our_name(name): name for name in state}
    for name in sorted((expected.keys() - fresh.keys()) | names.keys()):
        if name not in names:
            raise UserError(f"{source} lacks the tensor that is called {name} here; it is incomplete.")
        if name not in expected or name in fresh:
            raise UserError(f"{source} holds the foreign tensor {names[name]}; choose a plain Wan model.")
        if state[names[name]].shape != expected[name]:
            raise UserError(
                f"{source}: the tensor {names[name]} is {tuple(state[names[name]].shape)}, expected "
                f"{tuple(expected[name])} by its config.json; fetch both again."
            )
    return config, {name: state[original] for name, original in names.items()}, fresh


def fresh_tensors(config: Mapping[str, Any], seed: int) -> dict[str, Callable[[], Tensor]]:
    """What makes each audio tensor of a model of ``config``, as ``init_weights(silent_audio=True)`` does.

    Each tensor depends on its name and ``seed`` alone, so that they can be made one at a time.
    """
    with torch.device("meta"):
        model = DubbingTransformer(**config)
    return {
        name: _maker(model.get_submodule(name.rpartition(".")[0]), name, seed)
        for name in model.state_dict()
        if _FRESH.fullmatch(name)
    }


def _maker(module: nn.Module, name: str, seed: int) -> Callable[[], Tensor]:
    leaf = name.rpartition(".")[2]
    shape = module.state_dict()[leaf].shape

    def make() -> Tensor:
        if isinstance(module, SinusoidalPositionalEmbedding):
            return SinusoidalPositionalEmbedding(shape[2], max_seq_length=shape[1]).state_dict()[leaf]
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            return torch.ones(shape) if leaf == "weight" else torch.zeros(shape)
        if not isinstance(module, nn.Linear):
            raise TypeError(f"{name}: no rule how to make a fresh {type(module).__name__}")
        if leaf == "bias" or name.endswith("audio_attn.to_out.0.weight"):
            return torch.zeros(shape)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        return nn.init.xavier_uniform_(torch.empty(shape), generator=generator)

    return make
