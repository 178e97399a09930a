"""The batch that training sees: one frozen object with documented shapes for both stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from common.data.schema import LIP_SHAPES, RELIABILITY, Sample
from common.errors import UserError
from common.geometry import frames_to_latents
from common.speech.windows import audio_windows, stored_margin


@dataclass(frozen=True)
class DubBatch:
    """B samples. Latents are normalised; F latent frames of h x w; all but landmarks share a dtype."""

    keys: tuple[str, ...]
    target_latents: Tensor
    """(B, C, F, h, w): the real clip, which the model learns to make."""
    reference_latents: Tensor
    """Stage 2: (B, C, F, h, w), the companion. Stage 1: (B, C, M, h, w), M stills of the same person."""
    audio_features: Tensor
    """(B, F, W, A): W = 8 + 2 * extra features of the target's own sound per latent frame."""
    lip_mask: Tensor
    """(B, F, h, w) of 0 and 1: latent cells that the lips touch."""
    face_mask: Tensor
    """(B, F, h, w) of 0 and 1."""
    masked_latents: Tensor | None = None
    """Stage 1: (B, K, F, h, w), further channels of the target, the masked video's latents; else None."""
    lower_face_mask: Tensor | None = None
    """(B, F, h, w) of 0 and 1: the region that stage 1 inpaints, where the samples have it."""
    landmarks: Tensor | None = None
    """(B, N, 68, 3) float32 in crop pixels of N = 4 (F - 1) + 1 frames of the target, where all have it."""
    reliability: Tensor | None = None
    """(B, F, h, w) in 255ths: how far the companion can be relied on, where own mouths have drawn all."""
    lip_shapes: Tensor | None = None
    """(B, N, 7) that they have drawn it with."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(
        self, device: torch.device | str, dtype: torch.dtype | None = None, non_blocking: bool = False
    ) -> DubBatch:
        """The same batch on ``device``; ``dtype`` applies to every tensor but the landmarks.

        Half precision would move those by pixels.
        """
        moved: dict[str, Any] = {
            field.name: value.to(
                device=device, dtype=None if field.name == "landmarks" else dtype, non_blocking=non_blocking
            )
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def collate(
    samples: Sequence[Sample],
    extra_window: int = 0,
    dtype: torch.dtype = torch.float32,
    frames: int = 0,
    speech: Callable[[int, Tensor], Tensor] | None = None,
) -> DubBatch:
    """Stack cached samples of equal geometry; only their arrays and caches are read.

    The references are ``source_latents`` (pairs) or else ``reference_latents`` (stage 1); ``masked_latents``
    are wanted by stage 1 alone.

    A longer clip is used from its beginning: the causal autoencoder makes the first latents of a clip the
    same whatever follows, but a window from its middle would have other ones.

    Args:
        samples: with a cache; see docs/data.md.
        extra_window: feature frames on each side of the eight of a latent frame (``speech.extra_window``).
        dtype: of every tensor of the batch but the landmarks.
        frames: of each clip, 4k+1; 0: clips are taken whole and must be of one length.
        speech: changes the features (T, A) of the sample at a place of ``samples``.

    Raises:
        UserError: a sample lacks what a batch needs or is shorter, or samples differ in shape.
    """
    first = samples[0]
    latents = None
    if frames:
        _check_lengths(samples, frames)
        latents = frames_to_latents(frames)
    paired = "source_latents" in first.cache
    if paired:
        reference = _stack(samples, "source_latents", dtype, latents)
    else:
        # (M, C, 1, h, w) each: the still frames become the frame axis.
        reference = _stack(samples, "reference_latents", dtype).squeeze(3).transpose(1, 2)
    windows = [
        _windows(sample, extra_window, latents, number, speech) for number, sample in enumerate(samples)
    ]
    has_lower = "lower_face_mask" in first.arrays
    has_landmarks, own_mouths = (
        all(name in sample.arrays for sample in samples for name in names)
        for names in (("landmarks",), (RELIABILITY, LIP_SHAPES))
    )
    return DubBatch(
        keys=tuple(sample.key for sample in samples),
        target_latents=_stack(samples, "target_latents", dtype, latents),
        reference_latents=reference,
        audio_features=torch.stack(windows).to(dtype),
        lip_mask=_stack_pooled(samples, "lip_mask", dtype, latents),
        face_mask=_stack_pooled(samples, "face_mask", dtype, latents),
        masked_latents=None if paired else _stack(samples, "masked_latents", dtype, latents),
        lower_face_mask=_stack_pooled(samples, "lower_face_mask", dtype, latents) if has_lower else None,
        landmarks=_stack_frames(samples, "landmarks", frames) if has_landmarks else None,
        reliability=_stack_pooled(samples, RELIABILITY, dtype, latents) if own_mouths else None,
        lip_shapes=_stack_frames(samples, LIP_SHAPES, frames).to(dtype) if own_mouths else None,
    )


def _check_lengths(samples: Sequence[Sample], frames: int) -> None:
    for sample in samples:
        if int(sample.meta["frames"]) < frames:
            raise UserError(
                f"The sample {sample.key} has {sample.meta['frames']} frames, fewer than the {frames} of "
                "this batch: make the shards again, or set geometry.clip_frames or data.buckets lower."
            )


def _stack(samples: Sequence[Sample], name: str, dtype: torch.dtype, latents: int | None = None) -> Tensor:
    """(B, C, F, h, w) of the first ``latents`` frames, or of what is stored, whole."""
    values = [_part(sample, sample.cache, name) for sample in samples]
    return _stack_alike(samples, name, [value[:, :latents] for value in values], dtype)


def _stack_pooled(samples: Sequence[Sample], name: str, dtype: torch.dtype, latents: int | None) -> Tensor:
    values = [_part(sample, sample.arrays, name)[:latents] for sample in samples]
    return _stack_alike(samples, name, values, dtype)


def _stack_frames(samples: Sequence[Sample], name: str, frames: int) -> Tensor:
    values = [sample.arrays[name][: frames or None] for sample in samples]
    return _stack_alike(samples, name, values, torch.float32)


def _part(sample: Sample, parts: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in parts:
        raise UserError(f"The sample {sample.key} has no {name}: run the encode step again.")
    return parts[name]


def _stack_alike(
    samples: Sequence[Sample], name: str, values: Sequence[Tensor], dtype: torch.dtype
) -> Tensor:
    for sample, value in zip(samples, values, strict=True):
        if value.shape != values[0].shape:
            raise UserError(
                f"The samples {samples[0].key} and {sample.key} have {name} of different shapes, "
                f"{tuple(values[0].shape)} and {tuple(value.shape)}: they cannot share a batch. Samples of "
                "several sizes want data.buckets."
            )
    return torch.stack([value.to(dtype) for value in values])


def _windows(
    sample: Sample,
    extra: int,
    latents: int | None,
    number: int,
    speech: Callable[[int, Tensor], Tensor] | None,
) -> Tensor:
    features = _part(sample, sample.cache, "audio_features")
    if speech is not None:
        features = speech(number, features)
    frames = int(sample.meta["frames"])
    margin = stored_margin(features.shape[0], frames)
    return audio_windows(features, margin, latents or frames_to_latents(frames), extra)
