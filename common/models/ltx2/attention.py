"""Attention between video and audio in which only some tokens take part."""

from __future__ import annotations

from typing import Any, NamedTuple

from diffusers.models.transformers.transformer_ltx2 import LTX2Attention, LTX2AudioVideoAttnProcessor
from torch import Tensor

Rotary = tuple[Tensor, Tensor]


class Crossing(NamedTuple):
    """Indices of the queries and of the keys that take part; None: all of them."""

    queries: Tensor | None
    keys: Tensor | None


class CrossModalProcessor(LTX2AudioVideoAttnProcessor):
    """Attends among the chosen tokens alone.

    Others attend to nothing: their attention is zero, and the bias of ``to_out`` is all that they get. That
    is what a mask of minus infinity with zeroed rows means, without the work. The choice comes in as
    ``attention_mask``, an argument of the block, so gradient checkpointing computes the same again.
    """

    def __call__(  # type: ignore[override]
        self,
        attn: LTX2Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Crossing | None = None,
        query_rotary_emb: Rotary | None = None,
        key_rotary_emb: Rotary | None = None,
    ) -> Tensor:
        attend: Any = super().__call__
        if attention_mask is None:
            return attend(attn, hidden_states, encoder_hidden_states, None, query_rotary_emb, key_rotary_emb)
        assert (
            encoder_hidden_states is not None and query_rotary_emb is not None and key_rotary_emb is not None
        )
        queries, keys = attention_mask
        nothing = hidden_states.new_zeros(len(hidden_states), 1, attn.inner_dim)
        unseen = attn.to_out[0](nothing).expand(-1, hidden_states.shape[1], -1)
        if any(chosen is not None and len(chosen) == 0 for chosen in attention_mask):
            return unseen
        attended = attend(
            attn,
            _chosen(hidden_states, queries, 1),
            _chosen(encoder_hidden_states, keys, 1),
            None,
            _chosen_rotary(query_rotary_emb, queries),
            _chosen_rotary(key_rotary_emb, keys),
        )
        if queries is None:
            return attended
        return unseen.index_copy(1, queries, attended.to(unseen.dtype))


def _chosen(tensor: Tensor, indices: Tensor | None, dim: int) -> Tensor:
    return tensor if indices is None else tensor.index_select(dim, indices)


def _chosen_rotary(rotary: Rotary, indices: Tensor | None) -> Rotary:
    """Tables are (B, heads, N, channels) or (B, N, channels)."""
    cosine, sine = rotary
    return _chosen(cosine, indices, -2), _chosen(sine, indices, -2)
