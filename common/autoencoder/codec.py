"""The video autoencoder and a codec around it.

It is diffusers' AutoencoderKLWan of either kind (2.1 or 2.2), or the small one of blocks of pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from numpy.typing import NDArray

from common.autoencoder.checkpointing import decode_checkpointed
from common.autoencoder.config import VaeConfig
from common.autoencoder.patch import PatchAutoencoder
from common.autoencoder.pixels import to_frames, to_video
from common.autoencoder.stream import StreamDecoder, Tiling, encode_stream, time_chunks
from common.errors import UserError
from common.files import fingerprint, read_json
from common.geometry import TEMPORAL_STRIDE, frames_to_latents

Autoencoder = AutoencoderKLWan | PatchAutoencoder

_CLASSES: dict[str, type[AutoencoderKLWan] | type[PatchAutoencoder]] = {
    "wan": AutoencoderKLWan,
    "patch": PatchAutoencoder,
}
_PATCH_KEYS = ("width", "encoder_layers", "decoder_layers", "refine_width")
_COMMON_KEYS = ("z_dim", "scale_factor_spatial", "scale_factor_temporal")


def build_vae(config: VaeConfig, dtype: torch.dtype = torch.float32) -> Autoencoder:
    """The autoencoder of ``config``: loaded from ``config.path`` (save_pretrained format), or fresh if empty.

    A fresh one has latent mean 0 and deviation 1 in its config, from where :class:`VideoCodec` reads them.
    Raises UserError where the folder is missing or holds an autoencoder of another geometry.
    """
    if config.kind == "patch":
        return _build_patch(config, dtype)
    arguments = {key: value for key, value in asdict(config).items() if key not in ("kind", *_PATCH_KEYS)}
    path = arguments.pop("path")
    if config.in_channels != 3 * config.patch_size**2 or config.out_channels != config.in_channels:
        raise UserError(
            f"vae.in_channels and vae.out_channels must be {3 * config.patch_size**2} with vae.patch_size "
            f"{config.patch_size}; they are {config.in_channels} and {config.out_channels}."
        )
    spatial = config.patch_size * 2 ** (len(config.dim_mult) - 1)
    if config.scale_factor_spatial != spatial:
        raise UserError(
            f"vae.scale_factor_spatial is {config.scale_factor_spatial}, but vae.patch_size and vae.dim_mult "
            f"make it {spatial}; correct one of them."
        )
    if (
        config.scale_factor_temporal != TEMPORAL_STRIDE
        or 2 ** sum(config.temperal_downsample) != TEMPORAL_STRIDE
    ):
        raise UserError(
            "The autoencoder must shorten time by 4: set two entries of vae.temperal_downsample to true."
        )
    if path:
        return load_vae(path, dtype, expected=arguments, kind=config.kind)
    # diffusers takes patch_size 1 for a patch whose folding it then cannot undo; None is its word for none.
    arguments["patch_size"] = None if config.patch_size == 1 else config.patch_size
    vae = AutoencoderKLWan(**arguments, latents_mean=[0.0] * config.z_dim, latents_std=[1.0] * config.z_dim)
    return vae if dtype == torch.float32 else vae.to(dtype)


def _build_patch(config: VaeConfig, dtype: torch.dtype) -> Autoencoder:
    if config.scale_factor_temporal != TEMPORAL_STRIDE:
        raise UserError(
            f"vae.scale_factor_temporal is {config.scale_factor_temporal}: the autoencoder must shorten time "
            f"by {TEMPORAL_STRIDE}."
        )
    arguments = {key: getattr(config, key) for key in (*_COMMON_KEYS, *_PATCH_KEYS)}
    if config.path:
        return load_vae(config.path, dtype, expected=arguments, kind=config.kind)
    vae = PatchAutoencoder(**arguments, latents_mean=[0.0] * config.z_dim, latents_std=[1.0] * config.z_dim)
    return vae if dtype == torch.float32 else vae.to(dtype)


def load_vae(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    expected: dict[str, Any] | None = None,
    kind: str = "",
) -> Autoencoder:
    """Load a save_pretrained folder.

    Args:
        expected: constructor arguments that its config must agree with.
        kind: that it must be of; empty: whatever it says.

    Raises:
        UserError: there is none, or it does not agree.
    """
    folder = Path(path)
    loaded: Any = _CLASSES[stored_kind(folder, kind)].from_pretrained(
        folder, torch_dtype=dtype, local_files_only=True
    )
    vae: Autoencoder = loaded
    for key, value in (expected or {}).items():
        found = vae.config[key]
        if _plain(found) != _plain(value):
            raise UserError(
                f"{folder}: the autoencoder has {key} {found}, the configuration {value}; make them agree."
            )
    return vae


def hollow_vae(path: str | Path) -> Autoencoder:
    """The autoencoder of a save_pretrained folder without its weights, on PyTorch's "meta" device.

    Raises:
        UserError: there is none.
    """
    folder = Path(path)
    kind: Any = _CLASSES[stored_kind(folder)]
    with torch.device("meta"):
        vae: Autoencoder = kind.from_config(kind.load_config(folder, local_files_only=True))
    return vae


def stored_kind(folder: Path, kind: str = "") -> str:
    """The kind of the autoencoder in a save_pretrained folder.

    Raises:
        UserError: there is none, or it is not of ``kind``.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no autoencoder there (no config.json); check vae.path.")
    stored = read_json(folder / "config.json").get("_class_name")
    found_kind = next((k for k, c in _CLASSES.items() if c.__name__ == stored), None)
    if found_kind is None or (kind or found_kind) != found_kind:
        raise UserError(f"{folder}: holds a {stored}, not an autoencoder of kind '{kind or 'wan or patch'}'.")
    return found_kind


class VideoCodec:
    """Videos (B, 3, N, H, W) in [-1, 1] <-> normalised latents (B, C, F, h, w).

    The autoencoder that it is given gets frozen. ``autocast`` runs the convolutions in that dtype (bfloat16
    pays off on some machines and not on others); latents and videos are returned in float32. Both ways go a
    few frames at a time, decoding also in tiles of ``tiling``, see :mod:`common.autoencoder.stream`.
    """

    def __init__(
        self, vae: Autoencoder, autocast: torch.dtype | None = None, tiling: Tiling | None = None
    ) -> None:
        # Any: diffusers' decorators hide the signatures of encode and decode from type checkers.
        self.vae: Any = vae.eval().requires_grad_(False)
        self.autocast = autocast
        self.tiling = tiling or Tiling()
        self.stride = (TEMPORAL_STRIDE, self.config.scale_factor_spatial, self.config.scale_factor_spatial)
        self.channels: int = self.config.z_dim

    @property
    def config(self) -> Any:
        """The autoencoder's own configuration."""
        return self.vae.config

    @property
    def device(self) -> torch.device:
        # diffusers' own property looks through all modules for offloading, which autoencoders do not use.
        return next(self.vae.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.dtype

    @cached_property
    def fingerprint(self) -> str:
        """Identifies configuration and weights, the same for float32 and bfloat16 copies of one file."""
        tensors = ((name, (tensor.detach(),)) for name, tensor in sorted(self.vae.state_dict().items()))
        return autoencoder_fingerprint(self.config, tensors)

    @torch.no_grad()
    def encode(self, video: torch.Tensor) -> torch.Tensor:
        """Mode of the posterior, normalised: (B, C, F, H / s, W / s) float32.

        Raises UserError where N is not 4k + 1 (diffusers would silently drop the rest) or a side is no
        multiple of the spatial stride.
        """
        return self._encode(video.shape[2:], lambda span: video[:, :, span])

    @torch.no_grad()
    def encode_frames(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """As :meth:`encode`, of pictures (B, N, H, W, 3) uint8: they become floats a few at a time."""
        return self._encode(frames.shape[1:4], lambda span: to_video(frames[:, span]))

    def _encode(self, size: Sequence[int], piece: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """Latents of a video of ``size`` (N, H, W), of which ``piece`` gives the frames of a span."""
        length, height, width = size
        frames_to_latents(length)
        if height % self.stride[1] or width % self.stride[2]:
            raise UserError(
                f"A video of {width}x{height} pixels cannot be encoded; both sides must be "
                f"multiples of {self.stride[1]}."
            )
        with self._precision():
            if isinstance(self.vae, AutoencoderKLWan):
                pieces = (piece(span).to(self.device, self.dtype) for span in time_chunks(length))
                latents = torch.cat(list(encode_stream(self.vae, pieces)), dim=2)
            else:
                whole = piece(slice(None)).to(self.device, self.dtype)
                latents = self.vae.encode(whole).latent_dist.mode()
        mean, std = self._statistics()
        return (latents.float() - mean) / std

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Video (B, 3, 4 (F - 1) + 1, h s, w s) float32, clamped to [-1, 1]."""
        return torch.cat(list(self.decode_pieces(latents)), dim=2)

    @torch.no_grad()
    def decode_pieces(
        self, latents: torch.Tensor, decoder: StreamDecoder | None = None
    ) -> Iterator[torch.Tensor]:
        """The frames of :meth:`decode`, in order, in pieces (B, 3, n, H, W); each is made when asked for.

        ``decoder``: of :meth:`decoder`, for a video whose latents come in parts.
        """
        for piece in self._pieces(latents, decoder or self.decoder()):
            yield piece.float()

    @torch.no_grad()
    def decode_frames(self, latents: torch.Tensor, decoder: StreamDecoder | None = None) -> NDArray[np.uint8]:
        """Pictures (B, N, H, W, 3) uint8; nothing of the window's length is ever held as floats.

        Args:
            latents: (B, C, F, h, w).
            decoder: as in :meth:`decode_pieces`.
        """
        return np.concatenate([to_frames(piece) for piece in self.decode_pieces(latents, decoder)], axis=1)

    def decoder(self) -> StreamDecoder:
        """What decodes one video part by part: each call of a decoding method with it goes on where the one
        before stopped, so that N latents in parts are the 4 (N - 1) + 1 frames that they are at once."""
        return StreamDecoder(self.vae, self.tiling)

    def _pieces(self, latents: torch.Tensor, decoder: StreamDecoder) -> Iterator[torch.Tensor]:
        mean, std = self._statistics()
        raw = latents.to(self.device, torch.float32) * std + mean
        pieces = decoder.decode(raw.to(self.dtype))
        while True:  # autocast must be off for the caller's code between the pieces
            with self._precision():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def decode_with_grad(self, latents: torch.Tensor, checkpointing: bool = False) -> torch.Tensor:
        """As :meth:`decode`, differentiable in the latents (pixel losses of stage 2, P §5).

        ``checkpointing``: sample by sample, with activations computed again in the backward pass, see
        :mod:`common.autoencoder.checkpointing`.
        """
        mean, std = self._statistics()
        raw = latents.to(self.device, torch.float32) * std + mean
        with self._precision():
            raw = raw.to(self.dtype)
            video = decode_checkpointed(self.vae, raw) if checkpointing else self.vae.decode(raw).sample
            return video.float()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> VideoCodec:
        if device is not None:
            self.vae.to(device=device)
        if dtype is not None and dtype != self.dtype:
            self.vae.to(dtype=dtype)
        return self

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(self.config.latents_mean, device=self.device, dtype=torch.float32)
        std = torch.tensor(self.config.latents_std, device=self.device, dtype=torch.float32)
        return mean.view(shape), std.view(shape)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def autoencoder_fingerprint(
    config: Mapping[str, Any], tensors: Iterable[tuple[str, Iterable[torch.Tensor]]]
) -> str:
    """:attr:`VideoCodec.fingerprint` of ``config`` and of (name, consecutive pieces), sorted by name."""
    digest = hashlib.sha256()
    for name, pieces in tensors:
        digest.update(name.encode())
        for piece in pieces:
            narrow = piece.to("cpu", torch.bfloat16).contiguous().reshape(-1)
            digest.update(narrow.view(torch.uint8).numpy().data)
    plain = {key: _plain(config[key]) for key in sorted(config) if not key.startswith("_")}
    return fingerprint({"config": plain, "weights": digest.hexdigest()})


def _plain(value: Any) -> Any:
    """JSON's view of a config value: tuples are lists, a missing patch is a patch of 1."""
    if value is None:
        return 1
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
