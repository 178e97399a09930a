"""The same transformer and autoencoder, computed the way the public release computes them. A baseline only.

What differs from the product, all of it known from the release (docs/notation.md §2, §7) and none of it in
the weights: every token has a timestep, a time embedding and six modulation rows of its own; queries and keys
are rotated as complex128; the guidance branches form one batch, and each embeds the text and the speech for
itself, at every step; each window is decoded twice, and whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from dub_measure import Parts, Tape
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_frames, to_video
from common.autoencoder.stream import StreamDecoder
from common.models.conditions import ModelConditions
from common.models.modulation import timestep_sinusoid
from common.models.rope import rotary_table
from common.models.transformer import DubbingTransformer


class PerTokenTransformer:
    """Called as a DubbingTransformer is; holds one and uses its weights."""

    def __init__(self, model: DubbingTransformer) -> None:
        self.model: Any = model
        self.config: Any = model.config

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        conditions: ModelConditions,
    ) -> Tensor:
        reference, text, motion_frames = conditions.reference, conditions.text, conditions.motion_frames
        assert reference is not None
        model, dtype = self.model, self.model.patch_embedding.weight.dtype
        frames, height, width = latents.shape[2:]
        grid = (frames, height // model.patch[1], width // model.patch[2])
        per_frame = grid[1] * grid[2]
        clean = reference.shape[2] * per_frame
        x = model.patch_embedding(torch.cat((reference, latents), dim=2).to(dtype))
        x = x.flatten(2).transpose(1, 2)

        each = timestep[:, None].repeat(1, x.shape[1])
        each[:, : clean + motion_frames * per_frame] = 0
        sinusoid = timestep_sinusoid(each.flatten(), model.freq_dim)
        embedded = model.time_embedding(sinusoid.to(model.time_embedding.linear_1.weight.dtype))
        embedded = embedded.unflatten(0, each.shape)  # batch tokens D
        rows = model.time_projection(F.silu(embedded)).unflatten(2, (6, -1)).to(dtype)  # batch tokens 6 D

        turns = rotary_table(model.head_dim, grid, reference.shape[2], model.reference_layout, x.device)
        turns = torch.view_as_complex(turns.double())
        audio_features = model.audio_embedding(conditions.audio_features.to(dtype))
        if text is not None:
            text = model.text_embedding(text.to(dtype).expand(len(x), -1, -1))
        for block in model.blocks:
            x = self._block(block, x, rows, turns, text, audio_features, clean)
        shift, scale = (model.head.modulation[:, None] + embedded[:, :, None]).to(dtype).unbind(2)
        x = self._modulated(x, shift, scale)[:, clean:]
        return model._unpatchify(model.head.head(x), grid)

    def _block(
        self,
        block: Any,
        x: Tensor,
        rows: Tensor,
        turns: Tensor,
        text: Tensor | None,
        audio_features: Tensor,
        clean: int,
    ) -> Tensor:
        parts = (block.modulation[:, None].to(rows.dtype) + rows).chunk(6, dim=2)
        shift, scale, gate, shift_ffn, scale_ffn, gate_ffn = (part.squeeze(2) for part in parts)
        y = self._modulated(x, shift, scale)
        x = (x + gate * self._attention(block.self_attn, y, y, turns)).to(x.dtype)
        reference, target = x[:, :clean], x[:, clean:]
        if text is not None:
            target = target + self._attention(block.cross_attn, block.norm3(target), text)
        queries = block.norm4(target).unflatten(1, (audio_features.shape[1], -1)).flatten(0, 1)
        keys = audio_features.flatten(0, 1)
        target = target + self._attention(block.audio_attn, queries, keys).view_as(target)
        x = torch.cat((reference, target), dim=1)
        y = block.ffn(self._modulated(x, shift_ffn, scale_ffn))
        return (x + gate_ffn * y).to(x.dtype)

    def _modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        normed = F.layer_norm(x, (x.shape[-1],), eps=self.config.eps)
        return (normed * (1 + scale) + shift).to(x.dtype)

    def _attention(self, layer: Any, x: Tensor, source: Tensor, turns: Tensor | None = None) -> Tensor:
        query, key = self._normed(layer.to_q(x), layer.norm_q), self._normed(layer.to_k(source), layer.norm_k)
        query, key, value = (y.unflatten(2, (layer.heads, -1)) for y in (query, key, layer.to_v(source)))
        if turns is not None:
            query, key = self._rotated(query, turns), self._rotated(key, turns)
        query, key, value = (y.transpose(1, 2) for y in (query, key, value))
        out = F.scaled_dot_product_attention(query, key, value)
        return layer.to_out[0](out.transpose(1, 2).flatten(2))

    @staticmethod
    def _normed(x: Tensor, norm: nn.RMSNorm) -> Tensor:
        wide = x.float()
        assert norm.eps is not None
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)).to(x.dtype) * norm.weight

    @staticmethod
    def _rotated(x: Tensor, turns: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class TwiceDecodedCodec(VideoCodec):
    """Whole windows in and out; every one decoded once for the next window and once for the result."""

    def __init__(self, vae: Any, parts: Parts, tape: Tape) -> None:
        super().__init__(vae)
        self.parts, self.tape = parts, tape

    @torch.no_grad()
    def encode_frames(self, frames: NDArray[np.uint8]) -> Tensor:
        self.parts.start("encode")
        mean, std = self._statistics()
        video = to_video(frames).to(self.device, self.dtype)
        latents = (self.vae.encode(video).latent_dist.mode().float() - mean) / std
        self.parts.start("step")
        return latents

    @torch.no_grad()
    def decode_frames(self, latents: Tensor, decoder: StreamDecoder | None = None) -> NDArray[np.uint8]:
        assert decoder is None, "whole windows alone"
        self.parts.start("decode")
        with self.parts.apart():
            self.tape.latents(latents)
        mean, std = self._statistics()
        raw = (latents.float() * std + mean).to(self.dtype)
        to_frames(self.vae.decode(raw).sample.float())
        video = self.vae.decode(raw).sample.float()
        with self.parts.apart():
            self.tape.video(video)
        frames = to_frames(video)
        self.parts.start("composite")
        return frames
