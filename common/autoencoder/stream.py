"""Videos through the autoencoder a few frames at a time, so that memory is that of a tile, not of a window.

The causal autoencoder of Wan works on one latent frame at a time and carries what its convolutions must know
of the frames before. diffusers runs it so, too, but holds the whole video several times over: as floats,
folded into patches, and once more whenever a piece is appended. Here every piece is handed on when it is
made; the arithmetic is the same. Decoding wide pictures is also cut in space, which is *not* exact: tiles
overlap and are cross-faded, because the decoder's attention sees one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, patchify, unpatchify
from torch import Tensor

from common.geometry import TEMPORAL_STRIDE


@dataclass(frozen=True)
class Tiling:
    """Sides in pixels: pictures up to ``whole`` are decoded in one piece, wider ones in tiles of ``tile``.

    Neighbouring tiles share at least ``overlap``. All are multiples of the autoencoder's stride.
    """

    whole: int = 768
    tile: int = 512
    overlap: int = 128


def time_chunks(frames: int) -> list[slice]:
    """The pixel frames of each latent frame: the first alone, then four at a time."""
    later = range(1, frames, TEMPORAL_STRIDE)
    return [slice(0, 1), *(slice(start, start + TEMPORAL_STRIDE) for start in later)]


def encode_stream(vae: Any, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    """Posterior modes (B, C, 1, h, w) of pieces (B, 3, 1 or 4, H, W), as :func:`time_chunks` cuts them."""
    cache: list[Any] = [None] * vae._cached_conv_counts["encoder"]
    for piece in pieces:
        if vae.config.patch_size is not None:
            piece = patchify(piece, patch_size=vae.config.patch_size)
        hidden = vae.encoder(piece, feat_cache=cache, feat_idx=[0])
        yield vae.quant_conv(hidden).chunk(2, dim=1)[0]


def decode_stream(vae: Any, latents: Tensor, tiling: Tiling) -> Iterator[Tensor]:
    """Pieces (B, 3, 1 or 4, H, W) in [-1, 1], in order, of latents (B, C, F, h, w).

    An autoencoder that is no AutoencoderKLWan gives all frames as one piece.
    """
    return StreamDecoder(vae, tiling).decode(latents)


class StreamDecoder:
    """Decodes one video whose latents come in parts, as if they had come at once.

    Between the parts it holds what the causal convolutions must know of the frames before.
    """

    def __init__(self, vae: Any, tiling: Tiling) -> None:
        self._vae, self._tiling = vae, tiling
        self._caches: list[list[Any]] = []

    def fork(self) -> StreamDecoder:
        """Another that goes on from here by itself."""
        other = StreamDecoder(self._vae, self._tiling)
        # What a cache holds is replaced, never changed.
        other._caches = [list(cache) for cache in self._caches]
        return other

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Pieces (B, 3, 1 or 4, H, W) in [-1, 1] of the next latents (B, C, F, h, w) of the video.

        All pieces are to be taken before the next part is decoded.

        Raises:
            ValueError: a second part, of an autoencoder that only decodes whole videos.
        """
        first, vae = not self._caches, self._vae
        if not isinstance(vae, AutoencoderKLWan):
            if not first:
                raise ValueError(f"{type(vae).__name__} decodes whole videos alone")
            self._caches.append([])
            yield vae.decode(latents).sample
            return
        scale = vae.config.scale_factor_spatial
        rows, columns = (_spans(side, scale, self._tiling) for side in latents.shape[3:])
        places = [(y, x) for y in rows for x in columns]
        if first:
            self._caches = [[None] * vae._cached_conv_counts["decoder"] for _ in places]
        streams = [
            _decode_tile(vae, latents[..., slice(*y), slice(*x)], cache, first)
            for (y, x), cache in zip(places, self._caches, strict=True)
        ]
        if len(streams) == 1:
            yield from streams[0]
            return
        weights = [
            _ramp(y, latents.shape[3], scale, latents)[:, None] * _ramp(x, latents.shape[4], scale, latents)
            for y, x in places
        ]
        for parts in zip(*streams, strict=True):
            batch, channels, frames = parts[0].shape[:3]
            size = (batch, channels, frames, latents.shape[3] * scale, latents.shape[4] * scale)
            video, total = parts[0].new_zeros(size), parts[0].new_zeros(size[3:])
            for (y, x), part, weight in zip(places, parts, weights, strict=True):
                where = (slice(y[0] * scale, y[1] * scale), slice(x[0] * scale, x[1] * scale))
                video[..., where[0], where[1]] += part * weight
                total[where] += weight
            yield video.div_(total)


def _decode_tile(vae: Any, latents: Tensor, cache: list[Any], first: bool) -> Iterator[Tensor]:
    """``first``: the video begins here; ``cache`` is changed."""
    for frame in range(latents.shape[2]):
        hidden = vae.post_quant_conv(latents[:, :, frame : frame + 1])
        part = vae.decoder(hidden, feat_cache=cache, feat_idx=[0], first_chunk=first and frame == 0)
        if vae.config.patch_size is not None:
            part = unpatchify(part, patch_size=vae.config.patch_size)
        yield part.clamp(-1.0, 1.0)


def _spans(side: int, scale: int, tiling: Tiling) -> list[tuple[int, int]]:
    """First and last + 1 of each tile along an axis of ``side`` latents; evenly spread, of one size."""
    whole, tile, overlap = (pixels // scale for pixels in (tiling.whole, tiling.tile, tiling.overlap))
    if side <= whole:
        return [(0, side)]
    count = -(-(side - overlap) // (tile - overlap))
    starts = [round(i * (side - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def _ramp(span: tuple[int, int], side: int, scale: int, like: Tensor) -> Tensor:
    """Weights of a tile's pixels along one axis: they rise from the edges that other tiles share."""
    length = (span[1] - span[0]) * scale
    rising = torch.arange(1, length + 1, dtype=torch.float32, device=like.device)
    weight = torch.full_like(rising, float(length))
    if span[0] > 0:
        weight = torch.minimum(weight, rising)
    if span[1] < side:
        weight = torch.minimum(weight, rising.flip(0))
    return (weight / length).to(like.dtype)
