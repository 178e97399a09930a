"""Editing crops with the model, window by window (release R, docs/notation.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from itertools import islice
from threading import Event

import numpy as np
import torch

from common.diffusion.branches import batch_branches
from common.diffusion.options import SamplingOptions, resolve_sampling
from common.diffusion.sampler import EulerSampler, build_sampler
from common.diffusion.windows import Window, plan_windows
from common.geometry import latents_to_frames
from common.models.conditions import ModelConditions
from common.models.conventions import NoiseRule
from common.models.package import ModelPackage
from common.speech.windows import audio_windows
from stage2_dubber.dub.ahead import Ahead
from stage2_dubber.dub.blending import blend_seam
from stage2_dubber.dub.colour import match_colours
from stage2_dubber.dub.edit import Edit

Advance = Callable[[float], None]
"""Called with the number of frames done since the last call; fractions while a window is being sampled."""

Edited = tuple[np.ndarray, np.ndarray | None]
"""A window's edits (valid, S, S, 3) uint8, and float32 changes of that shape where they are wanted."""


class WindowEditor:
    """Makes the lips in crops follow speech; holds one window at a time, whatever the length.

    Neighbouring windows share a few frames. The earlier window's own output for them, colour-corrected, is
    encoded to the clean motion latents from which the later one goes on; in the finished video the shared
    frames pass from the earlier window's pixels to the later one's. Every window is decoded once.

    On a GPU what need not wait for each other runs at once: a window is made while the edits of the one
    before are taken (then two windows of crops are held), and the untouched source is decoded beside the
    sampling. The window's own decode cannot overlap with the next sampling, which starts from its last
    frames.

    Args:
        package: the model (stage 2).
        options: what of the package's sampling is changed, and the seed; every window's noise depends only
            on the seed and on the window's place in the clip.
        advance: told about progress.
        changes: also say what the edit adds; every window is then decoded a second time, unedited.
        sampler: instead of the one that package and options describe.
        overlap: whether work that may overlap does; None: where there is a second stream, on a GPU.
    """

    def __init__(
        self,
        package: ModelPackage,
        options: SamplingOptions | None = None,
        advance: Advance | None = None,
        changes: bool = False,
        sampler: EulerSampler | None = None,
        overlap: bool | None = None,
    ) -> None:
        options = options or SamplingOptions()
        self._package = package
        conventions = package.info.conventions
        self._seed = conventions.seed if options.seed is None else options.seed
        self._noise_rule = conventions.noise
        self._advance = advance
        self._changes = changes
        self._geometry = package.info.geometry
        self._device = package.codec.device
        self._given = sampler
        settings = resolve_sampling(options, package.info.diffusion)
        self._sampler = sampler or build_sampler(
            settings, package.speed, before_step=package.adapter_switch()
        )
        self._overlap = self._device.type == "cuda" if overlap is None else overlap

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
        overlap = latents_to_frames(self._geometry.motion_latents)
        rule = self._package.info.conventions.windows
        return plan_windows(count, self._geometry.clip_frames, overlap, rule)

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        """Edit a run of crops.

        Args:
            crops: ``count`` frames (S, S, 3) uint8 at the model's rate; asked for one window ahead.
            count: frames of the run.
            audio_features: (T, C) float32 speech features at 50 Hz of the whole recording.
            start_frame: position of the run's first frame on the recording's clock, in frames.

        Yields:
            ``count`` edits, in order.
        """
        source, first = np.zeros((0, self.crop_size, self.crop_size, 3), np.uint8), 0
        # The finished window's last frames, which the next window shares.
        tail, tail_changes = source, source.astype(np.float32)
        windows = self.windows(count)

        def begin(window: Window) -> Callable[[], Edited]:
            nonlocal source, first
            fresh = np.stack(list(islice(crops, window.valid - window.new_from)))
            # Mirrored padding shows frames from before the window.
            indices = window.indices()
            earliest = min(int(indices.min()), window.start)
            source, first = np.concatenate([source[earliest - first :], fresh]), earliest
            own, padded = source[window.start - first :], source[indices - first]
            return ahead.start(
                partial(self._edit, window, (own, padded), tail, audio_features, start_frame, ahead.stopping)
            )

        with Ahead(self._overlap, self._device) as ahead:
            pending = begin(windows[0])
            for number, window in enumerate(windows):
                edited, changes = pending()
                if window.new_from:
                    edited[: window.new_from] = blend_seam(tail, edited[: window.new_from])
                    if changes is not None:
                        changes[: window.new_from] = blend_seam(tail_changes, changes[: window.new_from])
                following = windows[number + 1] if number + 1 < len(windows) else None
                done = len(edited) - (following.new_from if following else 0)
                tail = edited[done:]
                tail_changes = tail_changes if changes is None else changes[done:]
                if following and self._overlap:
                    pending = begin(following)
                if changes is None:
                    yield from map(Edit, edited[:done])
                else:
                    yield from map(Edit, edited[:done], changes[:done])
                if following and not self._overlap:
                    pending = begin(following)

    @torch.inference_mode()
    def _edit(
        self,
        window: Window,
        frames: tuple[np.ndarray, np.ndarray],
        tail: np.ndarray,
        audio_features: np.ndarray,
        start_frame: int,
        stopping: Event,
    ) -> Edited:
        """One window, colour-corrected, and the changes where they are wanted.

        ``frames``: those of the window that exist, and all that the model sees.
        """
        codec, info = self._package.codec, self._package.info
        source, padded = frames
        reference = codec.encode_frames(padded[None])
        first = start_frame + window.start
        windows = audio_windows(audio_features, first, window.latent_frames, info.speech.extra_window)
        conditions = ModelConditions(
            audio_features=torch.from_numpy(windows)[None].to(self._device),
            reference=reference,
            text=self._package.context,
            motion=codec.encode_frames(tail[None]) if window.new_from else None,
        )
        with Ahead(self._overlap, self._device) as beside:
            plain = beside.start(partial(codec.decode_frames, reference)) if self._changes else None
            progress = self._progress(window, stopping)
            noise = self._noise(reference, first)
            sampler = self._sampler_for(reference)
            latents = sampler.sample(self._package.transformer, noise, conditions, progress)
            edited = codec.decode_frames(latents)[0][: window.valid]
            if plain is None:
                return match_colours(edited, source), None
            unedited = plain()[0][: window.valid]
        changes = match_colours(edited, unedited).astype(np.float32) - unedited
        return match_colours(edited, source), changes

    def _sampler_for(self, reference: torch.Tensor) -> EulerSampler:
        """Whether branches fit in one batch is asked anew for every window: others take memory meanwhile."""
        if self._given is not None:
            return self._given
        package = self._package
        frames, mode = reference.shape[2], package.speed.guidance_branches
        batched = batch_branches(mode, package.transformer, reference.shape, frames, self._device)
        return replace(self._sampler, batch_branches=batched)

    def _progress(self, window: Window, stopping: Event) -> Callable[[int, int], None]:
        share = (window.valid - window.new_from) / self._sampler.all_steps

        def tell(done: int, total: int) -> None:
            if stopping.is_set():
                raise CancelledError("the edits are not taken any more")
            if self._advance is not None:
                self._advance(share)

        return tell

    def _noise(self, like: torch.Tensor, frame: int) -> torch.Tensor:
        # Drawn on the CPU: the same seed then starts from the same noise on every device.
        state = self._seed
        if self._noise_rule is NoiseRule.frame:
            state = int(np.random.SeedSequence([self._seed, frame]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(state)
        return torch.randn(like.shape, generator=generator).to(self._device)
