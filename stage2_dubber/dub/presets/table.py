"""Quality presets: what `draft`, `standard` and `best` mean for a package (the table of docs/speed.md).

A preset sets what is not given: options of the command line and fields of a request stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.diffusion.config import DiffusionConfig
from common.diffusion.options import SamplingOptions
from common.diffusion.windows import WindowRule
from common.errors import UserError
from common.models.package_info import PackageInfo, read_info
from common.models.speed import SpeedConfig
from common.own_mouths.config import Renderer
from stage2_dubber.dub.presets.names import Preset
from stage2_dubber.dub.request import DubRequest

LIGHT_BYTES = 2**30
DRAFT_STEPS = 0.4
BEST_STEPS = 5 / 3
"""Shares of the steps of a package with guidance."""
DRAFT_CACHE = {"step_cache": "taylorseer-lite", "cache_interval": 2}


@dataclass(frozen=True)
class PresetSettings:
    """What a preset means for one package; what it leaves out is as the package says.

    Attributes:
        preset: which one.
        reason: why it was taken, for people.
        sampling: fields of ``SamplingOptions``.
        speed: fields of ``SpeedConfig``.
        dtype: of the weights, as ``--dtype``.
        renderer: what draws new mouths; None: what the package says.
    """

    preset: Preset
    reason: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "auto"
    renderer: Renderer | None = None

    def applied(self, request: DubRequest) -> DubRequest:
        """``request`` with the preset where it says nothing."""
        return replace(
            request, sampling=self.sampled(request.sampling), renderer=request.renderer or self.renderer
        )

    def sampled(self, options: SamplingOptions) -> SamplingOptions:
        """``options`` with the preset where they say nothing."""
        unsaid = {name: value for name, value in self.sampling.items() if getattr(options, name) is None}
        return replace(options, **unsaid)

    def with_speed(self, speed: SpeedConfig | None) -> SpeedConfig:
        """The preset's switches below those that ``speed`` has turned on."""
        return replace(SpeedConfig(**self.speed), **(speed.changes() if speed is not None else {}))

    @property
    def changes(self) -> dict[str, Any]:
        """All that is not as the package says."""
        dtype = {} if self.dtype == "auto" else {"dtype": self.dtype}
        renderer = {} if self.renderer is None else {"renderer": self.renderer.value}
        return {**self.sampling, **self.speed, **dtype, **renderer}

    def described(self) -> str:
        """One line: the name, why, and what it changes."""
        listed = ", ".join(f"{name} {value}" for name, value in self.changes.items())
        return f"{self.preset.value} ({self.reason}): {listed or 'as the package says'}"


def preset_settings(preset: Preset, folder: Path, reason: str = "as asked for") -> PresetSettings:
    """What ``preset`` means for the package in ``folder``, of which no weights are read.

    Raises:
        UserError: there is no package, or it knows no such preset.
    """
    info = read_info(folder)
    if info.joint is not None and preset is not Preset.standard:
        raise UserError(
            f"{folder}: a package of LTX-2 knows no preset {preset.value}; leave it out, or give --num-steps."
        )
    if preset is Preset.standard:
        return PresetSettings(preset, reason)
    if preset is Preset.best:
        # Large models run in 16 bits, as they are published: in 32 they take many times as long.
        dtype = "float32" if is_light(folder) else "auto"
        return PresetSettings(preset, reason, _most_steps(info), dtype=dtype)
    speed: dict[str, Any] = {} if info.conventions.windows is WindowRule.fitted else {"short_windows": True}
    # A step cache keeps the steps of one window; several at once would share it.
    if is_guided(info.diffusion) and not info.diffusion.averages_windows:
        speed |= DRAFT_CACHE
    renderer = None if info.renderer is Renderer.editor else Renderer.own_mouths
    return PresetSettings(preset, reason, _fewest_steps(info), speed, renderer=renderer)


def is_guided(diffusion: DiffusionConfig) -> bool:
    """Whether the sampler evaluates more than one branch; a distilled student does not."""
    return (diffusion.reference_scale, diffusion.audio_scale) != (1.0, 1.0)


def is_light(folder: Path) -> bool:
    """Whether the package's transformer is small enough to run anywhere, in any format."""
    return sum(file.stat().st_size for file in (folder / "transformer").glob("*.safetensors")) < LIGHT_BYTES


def _fewest_steps(info: PackageInfo) -> dict[str, int]:
    steps = info.diffusion.num_steps
    if is_guided(info.diffusion):
        return {"num_steps": min(steps, max(4, round(DRAFT_STEPS * steps)))}
    return _changed(info.diffusion, num_steps=min(_distilled(info)), passes=1)


def _most_steps(info: PackageInfo) -> dict[str, int]:
    if is_guided(info.diffusion):
        return {"num_steps": round(BEST_STEPS * info.diffusion.num_steps)}
    return _changed(info.diffusion, num_steps=max(_distilled(info)))


def _distilled(info: PackageInfo) -> list[int]:
    """The numbers of steps that a student has learnt; others are worse, be they more or fewer."""
    made: Any = info.training.get("distill", {})
    return [*made.get("steps", ()), info.diffusion.num_steps]


def _changed(diffusion: DiffusionConfig, **wanted: int) -> dict[str, int]:
    return {name: value for name, value in wanted.items() if value != getattr(diffusion, name)}
