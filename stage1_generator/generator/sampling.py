"""The trained inpainting model at work: clips in, clips with other lips out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.codec import VideoCodec
from common.diffusion.config import DiffusionConfig
from common.diffusion.multidiffusion import MultiDiffusion
from common.diffusion.sampler import build_sampler
from common.diffusion.windows import Window, plan_windows
from common.geometry import GeometryConfig, latents_to_frames
from common.models.conditions import ModelConditions
from common.speech.windows import audio_windows
from stage1_generator.companions.masks import hide
from stage1_generator.companions.paste import put_back
from stage1_generator.companions.plan import clip_seed
from stage1_generator.encode import encode_stills


@dataclass(frozen=True)
class GenerationJob:
    """One clip to be given other lips.

    Attributes:
        frames: (L, S, S, 3) uint8, the original crop.
        inpaint: (L, S, S) bool, the region to make.
        references: (M, S, S, 3) uint8 stills of the person (P: from the clip itself at inference).
        audio_features: (T, C) speech features at 50 Hz of the track that shall be spoken.
        speech_start: video frame of that track which the clip's first frame shall say.
    """

    key: str
    frames: NDArray[np.uint8]
    inpaint: NDArray[np.bool_]
    references: NDArray[np.uint8]
    audio_features: NDArray[np.float32]
    speech_start: int


class CompanionGenerator:
    """Runs several clips of one length at once, window after window.

    Windows have at most `geometry.clip_frames` frames, sections of MultiDiffusion more; each begins with the
    last frames of the one before, as clean motion latents. Those frames are the blended ones, generated lips
    over original pixels, so that the surroundings do not drift from window to window.

    A clip's noise depends on the seed and its key alone, never on the batch that it is in.
    """

    def __init__(
        self,
        model: Callable[..., torch.Tensor],
        codec: VideoCodec,
        diffusion: DiffusionConfig,
        geometry: GeometryConfig,
        *,
        extra_window: int,
        seed: int,
        feather: float,
        text: torch.Tensor | None = None,
    ) -> None:
        self._model, self._codec, self._geometry, self._text = model, codec, geometry, text
        self._extra, self._seed, self._feather = extra_window, seed, feather
        # The masked video's surroundings are a condition already; its references are stills without a border.
        self._sampler = build_sampler(diffusion, border=0)
        self._averages = MultiDiffusion.of(diffusion, geometry)
        if self._averages is not None:
            self._model = self._averages.over(model, stills=True)

    def windows(self, length: int) -> list[Window]:
        overlap = latents_to_frames(self._geometry.motion_latents)
        longest = self._geometry.clip_frames if self._averages is None else self._averages.section
        return plan_windows(length, longest, overlap)

    @torch.no_grad()
    def generate(
        self, jobs: Sequence[GenerationJob], progress: Callable[[int], None] | None = None
    ) -> list[NDArray[np.uint8]]:
        """The generator's raw output per job, (L, S, S, 3) uint8.

        Args:
            jobs: clips of one length.
            progress: called with the new frames of all jobs after every window.

        Raises:
            ValueError: lengths differ.
        """
        length = len(jobs[0].frames)
        if any(len(job.frames) != length for job in jobs):
            raise ValueError("clips of one batch must have one length")
        references = torch.cat(
            [encode_stills(self._codec, job.references).transpose(0, 2) for job in jobs]
        )  # (M, C, 1, h, w) -> (1, C, M, h, w) each
        results = [np.empty_like(job.frames) for job in jobs]
        blended: list[NDArray[np.uint8]] = []
        for window in self.windows(length):
            videos = self._generate_window(jobs, window, references, blended)
            blended = []
            for job, result, video in zip(jobs, results, videos, strict=True):
                span = slice(window.start, window.start + window.valid)
                made = video[: window.valid]
                result[window.start + window.new_from : span.stop] = made[window.new]
                feather = self._feather * made.shape[1]
                blended.append(put_back(job.frames[span], made, job.inpaint[span], feather))
            if progress is not None:
                progress(len(jobs) * (window.valid - window.new_from))
        return results

    def _generate_window(
        self,
        jobs: Sequence[GenerationJob],
        window: Window,
        references: torch.Tensor,
        blended: Sequence[NDArray[np.uint8]],
    ) -> NDArray[np.uint8]:
        """(B, window.length, S, S, 3) uint8; `blended` is what the window before became."""
        shown = window.indices()
        masked = np.stack([hide(job.frames[shown], job.inpaint[shown]) for job in jobs])
        masked_latents = self._codec.encode_frames(masked)
        motion = None
        if window.new_from:
            overlap = np.stack([frames[-window.new_from :] for frames in blended])
            motion = self._codec.encode_frames(overlap)
        audio_features = [
            audio_windows(
                job.audio_features, job.speech_start + window.start, window.latent_frames, self._extra
            )
            for job in jobs
        ]
        conditions = ModelConditions(
            audio_features=torch.from_numpy(np.stack(audio_features)).to(masked_latents.device),
            reference=references,
            text=self._text,
            condition_planes=masked_latents,
            motion=motion,
        )
        noise = torch.stack([self._noise(job.key, window, masked_latents.shape[1:]) for job in jobs])
        latents = self._sampler.sample(self._model, noise.to(masked_latents.device), conditions)
        return self._codec.decode_frames(latents)

    def _noise(self, key: str, window: Window, shape: Sequence[int]) -> torch.Tensor:
        # Always on the CPU: the same noise on every device.
        generator = torch.Generator().manual_seed(clip_seed(self._seed, key, f"noise {window.start}"))
        return torch.randn(tuple(shape), generator=generator)


def in_precision(model: Any, dtype: torch.dtype, device: torch.device) -> Callable[..., torch.Tensor]:
    """The model, computing in `dtype` (weights stay as they were loaded)."""
    if dtype == torch.float32:
        return model  # type: ignore[no-any-return]
    return partial(_autocast, model, dtype, device.type)


def _autocast(model: Any, dtype: torch.dtype, device: str, **arguments: Any) -> torch.Tensor:
    with torch.autocast(device, dtype=dtype):
        output: torch.Tensor = model(**arguments)
    return output
