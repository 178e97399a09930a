"""Editing crops with the model, window by window (release R, spec of the method §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from common.config import DiffusionConfig
from common.diffusion.branches import batch_branches
from common.diffusion.sampler import Conditions, build_sampler
from common.diffusion.windows import Window, plan_windows
from common.geometry import latents_to_frames
from common.models.package import ModelPackage
from common.models.pixels import to_frames, to_video
from common.speech.windows import audio_windows
from stage2_dubber.colour import match_colours
from stage2_dubber.composite import blend_seam

Advance = Callable[[float], None]
"""Called with the number of frames done since the last call; fractions while a window is being sampled."""


@dataclass(frozen=True)
class Edit:
    """One edited crop.

    Attributes:
        image: (S, S, 3) uint8.
        change: (S, S, 3) float32 in 8-bit steps, what the edit adds to its source: the decoded edit less what
            the autoencoder makes of the untouched source, so that its losses cancel; None where nobody asked.
    """

    image: np.ndarray
    change: np.ndarray | None = None


class WindowEditor:
    """Makes the lips in crops follow speech; holds one window at a time, whatever the length.

    Neighbouring windows share a few frames. The earlier window's own output for them, colour-corrected, is
    encoded to the clean motion latents from which the later one goes on; in the finished video the shared
    frames pass from the earlier window's pixels to the later one's. Every window is decoded once.

    Args:
        package: the model (stage 2).
        sampling: steps, scales, shift, schedule and border.
        seed: of the noise; every window's noise depends only on it and on the window's place in the clip.
        advance: told about progress.
        changes: also say what the edit adds; every window is then decoded a second time, unedited.
    """

    def __init__(
        self,
        package: ModelPackage,
        sampling: DiffusionConfig,
        seed: int = 0,
        advance: Advance | None = None,
        changes: bool = False,
    ) -> None:
        self._package = package
        self._sampling = sampling
        self._seed = seed
        self._advance = advance
        self._changes = changes
        self._geometry = package.info.geometry
        self._device = package.codec.device
        self._sampler = build_sampler(sampling, package.speed, before_step=package.adapter_switch())

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels."""
        return self._geometry.crop_size

    @property
    def fps(self) -> float:
        """Crops per second."""
        return self._geometry.fps

    def windows(self, count: int) -> list[Window]:
        """How a run of ``count`` crops is cut."""
        return plan_windows(
            count, self._geometry.clip_frames, latents_to_frames(self._geometry.motion_latents)
        )

    def stream(
        self, crops: Iterator[np.ndarray], count: int, features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        """Edit a run of crops.

        Args:
            crops: ``count`` frames (S, S, 3) uint8 at the model's rate; asked for one window ahead.
            count: frames of the run.
            features: (T, C) float32 speech features at 50 Hz of the whole recording.
            start_frame: position of the run's first frame on the recording's clock, in frames.

        Yields:
            ``count`` edits, in order.
        """
        source = np.zeros((0, self.crop_size, self.crop_size, 3), np.uint8)
        # The finished window's last frames, which the next window shares.
        tail, tail_changes = source, source.astype(np.float32)
        windows = self.windows(count)
        for number, window in enumerate(windows):
            fresh = list(islice(crops, window.valid - window.new_from))
            source = np.concatenate([source[len(source) - window.new_from :], np.stack(fresh)])
            edited, changes = self._edit(window, source, tail, features, start_frame)
            if window.new_from:
                edited[: window.new_from] = blend_seam(tail, edited[: window.new_from])
                if changes is not None:
                    changes[: window.new_from] = blend_seam(tail_changes, changes[: window.new_from])
            shared = windows[number + 1].new_from if number + 1 < len(windows) else 0
            done = len(edited) - shared
            tail = edited[done:]
            if changes is None:
                yield from map(Edit, edited[:done])
            else:
                tail_changes = changes[done:]
                yield from map(Edit, edited[:done], changes[:done])

    def _edit(
        self, window: Window, source: np.ndarray, tail: np.ndarray, features: np.ndarray, start_frame: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(valid, S, S, 3) uint8 of one window, colour-corrected, and the changes where they are wanted."""
        codec, info = self._package.codec, self._package.info
        padded = source[window.indices() - window.start]
        reference = codec.encode(to_video(padded[None]))
        first = start_frame + window.start
        heard = audio_windows(features, first, window.latent_frames, info.speech.extra_window)
        conditions = Conditions(
            reference=reference,
            audio_features=torch.from_numpy(heard)[None].to(self._device),
            context=self._package.context,
            motion=codec.encode(to_video(tail[None])) if window.new_from else None,
        )
        transformer, mode = self._package.transformer, self._package.speed.guidance_branches
        batched = batch_branches(mode, transformer, reference.shape, reference.shape[2], self._device)
        latents = replace(self._sampler, batch_branches=batched).sample(
            transformer, self._noise(reference, first), conditions, self._progress(window)
        )
        edited = to_frames(codec.decode(latents))[0][: window.valid]
        changes = None
        if self._changes:
            plain = to_frames(codec.decode(reference))[0][: window.valid]
            changes = match_colours(edited, plain).astype(np.float32) - plain
        return match_colours(edited, source), changes

    def _progress(self, window: Window) -> Callable[[int, int], None] | None:
        advance = self._advance
        if advance is None:
            return None
        share = (window.valid - window.new_from) / self._sampling.num_steps
        return lambda done, total: advance(share)

    def _noise(self, like: torch.Tensor, frame: int) -> torch.Tensor:
        # Drawn on the CPU: the same seed then starts from the same noise on every device.
        state = np.random.SeedSequence([self._seed, frame]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state))
        return torch.randn(like.shape, generator=generator).to(self._device)
