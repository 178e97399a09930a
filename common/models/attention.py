"""Attention of the dubbing transformer: diffusers' module with a leaner processor."""

from __future__ import annotations

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import nn
from torch.nn import functional as F

from common.models.context_parallel import FrameSplit
from common.models.rope import apply_rotary


class DubbingAttnProcessor:
    """Projections, RMS norm of q and k over the whole width, rotation of adjacent pairs, attention, output.

    The difference to diffusers' own Wan processor is speed on a CPU: rotation by complex multiplication, and
    norms that stay in the dtype of autocast.
    """

    _attention_backend = None

    def __call__(
        self,
        attn: DubbingAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: torch.Tensor | None = None,
        split: FrameSplit | None = None,
    ) -> torch.Tensor:
        attended = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = rms_norm(attn.to_q(hidden_states), attn.norm_q).unflatten(2, (attn.heads, -1))
        key = rms_norm(attn.to_k(attended), attn.norm_k).unflatten(2, (attn.heads, -1))
        value = attn.to_v(attended).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            query = apply_rotary(query, rotary_emb[:, -query.shape[1] :])
            key = apply_rotary(key, rotary_emb)
        if split is not None:
            query, key, value = split.to_heads(query, key, value)
        out = dispatch_attention_fn(
            query, key, value, attn_mask=attention_mask, backend=self._attention_backend
        )
        if split is not None:
            out = split.to_tokens(out)
        return attn.to_out[0](out.flatten(2, 3))


class DubbingAttention(WanAttention):
    """Self- or cross-attention over (batch, tokens, dim); ``encoder_hidden_states`` gives keys and values.

    With ``split`` the tokens are this process' share; it attends to those of the other processes as well.
    ``rotary_emb`` belongs to the keys; fewer queries are the last ones of that sequence.
    """

    _default_processor_cls = DubbingAttnProcessor  # type: ignore[assignment]
    _available_processors = [DubbingAttnProcessor]  # type: ignore[list-item]  # noqa: RUF012
    _supports_qkv_fusion = False

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__(dim, heads=heads, dim_head=dim // heads, eps=eps, processor=DubbingAttnProcessor())


def rms_norm(x: torch.Tensor, norm: nn.RMSNorm) -> torch.Tensor:
    """``norm`` applied in the dtype of ``x``; statistics are float32 inside the kernel."""
    return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)
