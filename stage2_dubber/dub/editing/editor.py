"""Editing crops with the dubbing transformer (release R, docs/notation.md §6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.diffusion.branches import batch_branches
from common.diffusion.inversion import Inversion
from common.diffusion.multidiffusion import MultiDiffusion, check_multidiffusion
from common.diffusion.options import SamplingOptions, resolve_sampling
from common.diffusion.sampler import EulerSampler, Model, build_sampler
from common.diffusion.windows import Window, plan_windows
from common.geometry import latents_to_frames
from common.models.conditions import ModelConditions
from common.models.package import ModelPackage
from common.speech.windows import audio_windows
from stage2_dubber.dub.editing.seams import Seams, build_seams
from stage2_dubber.dub.editing.windowed import Advance, Watch, WindowedEditor, WindowPart


class WindowEditor(WindowedEditor):
    """Makes the lips in crops follow speech, with the dubbing transformer.

    Args:
        package: the model (stage 2).
        options: what of the package's sampling is changed, and the seed; a window's noise depends on the seed
            and on what the package's conventions say, its place in the clip at most.
        advance, changes, overlap, kept: as in :class:`Watch`.
        sampler: instead of the one that package and options describe.
        own_speech: (T, C) features of what the source says, where its inversion is started from.

    Raises:
        ValueError: the source shall be inverted, and there is no speech of its own.
        UserError: settings of windows that make no sense with this package.
    """

    def __init__(
        self,
        package: ModelPackage,
        options: SamplingOptions | None = None,
        advance: Advance | None = None,
        changes: bool = False,
        sampler: EulerSampler | None = None,
        overlap: bool | None = None,
        kept: Callable[[str], Path] | None = None,
        own_speech: np.ndarray | None = None,
    ) -> None:
        options = options or SamplingOptions()
        watch = Watch(advance, changes, overlap, kept)
        super().__init__(package.info, package.codec, package.codec.device, options, watch)
        self._package, self._given = package, sampler
        settings = resolve_sampling(options, package.info.diffusion)
        self._sampler = sampler or build_sampler(
            settings, package.speed, before_step=package.adapter_switch()
        )
        check_multidiffusion(settings, self._geometry, package.speed)
        self._averages = MultiDiffusion.of(settings, self._geometry)
        self._inversion, self._own_speech = Inversion.of(settings), own_speech
        if self._inversion is not None and own_speech is None:
            raise ValueError("an inversion of the source needs what the source says")

    @property
    def all_steps(self) -> int:
        return self._sampler.all_steps + (0 if self._inversion is None else self._inversion.steps)

    def windows(self, count: int) -> list[Window]:
        overlap = latents_to_frames(self._geometry.motion_latents)
        short, averages = self._package.speed.short_windows, self._averages
        longest = self._geometry.clip_frames if averages is None else averages.section
        return plan_windows(count, longest, overlap, self._conventions.windows, short)

    def _seams(self) -> Seams:
        return build_seams(self._conventions, self._package.codec)

    def _speech_of(self, window: Window, audio_features: np.ndarray, start_frame: int) -> np.ndarray:
        """(F, W, C)."""
        extra = self._info.speech.extra_window
        return audio_windows(audio_features, start_frame + window.start, window.latent_frames, extra)

    def _sampled(
        self,
        part: WindowPart,
        reference: torch.Tensor,
        motion: torch.Tensor | None,
        progress: Callable[[int, int], None],
    ) -> torch.Tensor:
        conditions = self._conditions(part, reference, motion)
        sampler, model = self._sampler_for(reference), self._model
        noise = self._noise(reference, part)
        if self._inversion is not None:
            noise = self._inversion.invert(sampler, model, noise, self._own(part, conditions), progress)
        return sampler.sample(model, noise, conditions, progress)

    def _conditions(
        self, part: WindowPart, reference: torch.Tensor, motion: torch.Tensor | None
    ) -> ModelConditions:
        """What the model is told of a window; arguments as of :meth:`_sampled`."""
        return ModelConditions(
            audio_features=torch.from_numpy(part.audio_features)[None].to(self._device),
            reference=reference,
            text=self._package.context,
            motion=motion,
        )

    @property
    def _model(self) -> Model:
        return (
            self._package.transformer
            if self._averages is None
            else self._averages.over(self._package.transformer)
        )

    def _own(self, part: WindowPart, conditions: ModelConditions) -> ModelConditions:
        """The conditions of the source as it is: its own speech, and no frames of an edit."""
        assert self._own_speech is not None
        speech = self._speech_of(part.window, self._own_speech, part.first_frame - part.window.start)
        own = torch.from_numpy(speech)[None].to(self._device)
        return replace(conditions, audio_features=own, motion=None)

    def _sampler_for(self, reference: torch.Tensor) -> EulerSampler:
        """Whether branches fit in one batch is asked anew for every window: others take memory meanwhile."""
        if self._given is not None:
            return self._given
        package = self._package
        shape, mode = list(reference.shape), package.speed.guidance_branches
        if self._averages is not None:
            shape[2] = min(shape[2], self._averages.size)
        batched = batch_branches(mode, package.transformer, shape, shape[2], self._device)
        return replace(self._sampler, batch_branches=batched)
