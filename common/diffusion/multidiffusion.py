"""Clips that are longer than the model's, in one piece: MultiDiffusion (Bar-Tal et al. 2023; EdiDub §3.1).

    section    |==============================|   what is sampled at once; bounds the memory
    windows    |===========|                      what the model is called with
                     |===========|                at every step the velocities of all windows are
                           |===========|          averaged where they overlap
                              |===========|

Sections follow each other as windows do otherwise (common/diffusion/windows.py): by clean motion latents.

A window from within a section begins with a latent frame of four pictures. The first one of a clip, which the
model has learnt, is a single picture; motion latents that are the last ones of a window before are alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, GeometryConfig, frames_to_latents, latents_to_frames
from common.models.speed import SpeedConfig

if TYPE_CHECKING:  # settings are checked without the libraries of the model
    import torch

    from common.diffusion.sampler import Model
    from common.models.conditions import ModelConditions


@dataclass(frozen=True)
class MultiDiffusion:
    """Attributes: size, stride: of windows, in latent frames. section: frames that are sampled at once."""

    size: int
    stride: int
    section: int

    @classmethod
    def of(cls, config: DiffusionConfig, geometry: GeometryConfig) -> MultiDiffusion | None:
        """What a ``diffusion`` section says for clips of a geometry; None: windows by motion latents.

        Raises:
            UserError: the stride leaves frames out, or sections are shorter than windows.
        """
        if not config.averages_windows:
            return None
        size = frames_to_latents(config.window_frames or geometry.clip_frames)
        stride = config.window_stride // TEMPORAL_STRIDE or max(size // 2, 1)
        if stride > size:
            raise UserError(
                f"diffusion.window_stride is {config.window_stride} frames, but windows have "
                f"{latents_to_frames(size)}: frames between them would be left out."
            )
        if config.section_frames < latents_to_frames(size):
            raise UserError(
                f"diffusion.section_frames is {config.section_frames}, less than one window of "
                f"{latents_to_frames(size)} frames."
            )
        return cls(size, stride, config.section_frames)

    def starts(self, frames: int) -> list[int]:
        """First latent frames of the windows of a section of so many; the last one is moved back to fit."""
        last = max(frames - self.size, 0)
        return [*range(0, last, self.stride), last]

    def over(self, model: Model, stills: bool = False) -> Model:
        """``model`` for sections: called alike, its velocity is the mean of those of all windows.

        ``stills``: its reference is no clip, of which each window sees a part, but pictures for all of them.
        """

        def averaged(
            latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions
        ) -> torch.Tensor:
            total, seen = latents.new_zeros(latents.shape), latents.new_zeros(latents.shape[2])
            for start in self.starts(latents.shape[2]):
                part = slice(start, start + self.size)
                velocity = model(
                    latents=latents[:, :, part],
                    timestep=timestep,
                    conditions=_window_of(conditions, part, stills),
                )
                total[:, :, part] += velocity.to(total)
                seen[part] += 1
            return total / seen[:, None, None]

        return averaged


def check_multidiffusion(config: DiffusionConfig, geometry: GeometryConfig, speed: SpeedConfig) -> None:
    """Refuse settings of windows that make no sense, or change nothing.

    Raises:
        UserError: as :meth:`MultiDiffusion.of`, or what a step cache has kept of one window would be taken
            for another one's.
    """
    averages = MultiDiffusion.of(config, geometry) is not None
    if averages and speed.step_cache != "none":
        raise UserError(
            f"speed.step_cache={speed.step_cache} keeps the steps of one window, but with "
            "windows=multidiffusion there are several at once: give --cache none, or "
            "--windows motion_latents."
        )


def _window_of(conditions: ModelConditions, part: slice, stills: bool) -> ModelConditions:
    """The conditions of the latent frames ``part``."""
    reference, planes, motion = conditions.reference, conditions.condition_planes, conditions.motion
    given = None if motion is None else motion[:, :, part]
    return replace(
        conditions,
        audio_features=conditions.audio_features[:, part],
        reference=reference if stills or reference is None else reference[:, :, part],
        condition_planes=None if planes is None else planes[:, :, part],
        motion=None if given is None or not given.shape[2] else given,
    )
