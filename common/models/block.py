"""What the dubbing transformer repeats, and its output head (R; docs/notation.md §2).

Shapes as in common/models/conditions.py; D is the width of the model.
"""

from __future__ import annotations

import torch
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.attention import FeedForward
from torch import nn

from common.models.attention import DubbingAttention
from common.models.config import CROSS_ATTENTION
from common.models.context_parallel import FrameSplit
from common.models.modulation import Segments, accumulate, gated_add, modulated_norm, works_in_place
from common.models.speech_adain import SpeechAdaIN

# Groups in DubbingBlock.modulation, in the order of the public checkpoint.
ATTN_SHIFT, ATTN_SCALE, ATTN_GATE, FFN_SHIFT, FFN_SCALE, FFN_GATE = range(6)
HEAD_SHIFT, HEAD_SCALE = range(2)


class DubbingBlock(nn.Module):
    """Self-attention over all tokens -> text -> audio (both on target tokens only) -> FFN over all tokens.

    ``injection``: a value of ``model.speech_injection``.
    """

    def __init__(self, dim: int, heads: int, ffn_dim: int, eps: float, text: bool, injection: str) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.self_attn = DubbingAttention(dim, heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps) if text else None
        self.cross_attn = DubbingAttention(dim, heads, eps) if text else None
        attends = injection == CROSS_ATTENTION
        self.norm4 = nn.LayerNorm(dim, eps) if attends else None
        self.audio_attn = DubbingAttention(dim, heads, eps) if attends else None
        self.audio_adain = None if attends else SpeechAdaIN(dim, eps)
        self.ffn = FeedForward(dim, inner_dim=ffn_dim, activation_fn="gelu-approximate")

    def forward(
        self,
        hidden_states: torch.Tensor,
        text: torch.Tensor | None,
        audio_features: torch.Tensor,
        segments: Segments,
        reference_tokens: int,
        rotary: torch.Tensor,
        split: FrameSplit | None = None,
        target_only: bool = False,
    ) -> torch.Tensor:
        """hidden_states (B, reference + target tokens, D), text (B, L, D), audio_features (B, F, W, D).

        With ``target_only`` the target attends to the reference tokens, which are returned as they came.
        """
        x, segments = hidden_states, segments.plus(self.modulation)
        y = modulated_norm(x, segments, ATTN_SHIFT, ATTN_SCALE, self.eps)
        if target_only:
            y = self.self_attn(y[:, reference_tokens:], y, rotary_emb=rotary)
            x, segments = x[:, reference_tokens:], segments.after(reference_tokens)
        else:
            y = self.self_attn(y, rotary_emb=rotary, split=split)
        x = gated_add(x, y, segments, ATTN_GATE)
        del y

        untouched = 0 if target_only else reference_tokens
        reference, target = x.split((untouched, x.shape[1] - untouched), dim=1)
        if self.cross_attn is not None and self.norm3 is not None:
            target = accumulate(target, self.cross_attn(self.norm3(target), text))
        target = accumulate(target, self._spoken(target, audio_features))
        if not works_in_place():  # else it was done within x
            x = torch.cat((reference, target), dim=1) if untouched else target

        y = self.ffn(modulated_norm(x, segments, FFN_SHIFT, FFN_SCALE, self.eps))
        x = gated_add(x, y, segments, FFN_GATE)
        return torch.cat((hidden_states[:, :reference_tokens], x), dim=1) if target_only else x

    def _spoken(self, target: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """What the speech adds to the target's tokens (B, F * N, D)."""
        shape = (-1, target.shape[1] // audio_features.shape[1], target.shape[2])
        windows = audio_features.flatten(0, 1)
        if self.audio_adain is not None:
            return self.audio_adain(target.reshape(shape), windows).view_as(target)
        assert self.audio_attn is not None and self.norm4 is not None
        return self.audio_attn(self.norm4(target).reshape(shape), windows).view_as(target)


# Step caches of diffusers (enable_cache) ask here what a block returns.
TransformerBlockRegistry.register(
    DubbingBlock,
    TransformerBlockMetadata(
        return_hidden_states_index=0,
        return_encoder_hidden_states_index=None,  # type: ignore[arg-type]  # as diffusers itself does for Wan
    ),
)


class OutputHead(nn.Module):
    """Modulated norm and projection from tokens to latent patches; modulated by the time embedding itself."""

    def __init__(self, dim: int, out_features: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.head = nn.Linear(dim, out_features)

    def forward(self, x: torch.Tensor, segments: Segments) -> torch.Tensor:
        return self.head(modulated_norm(x, segments.plus(self.modulation), HEAD_SHIFT, HEAD_SCALE, self.eps))
