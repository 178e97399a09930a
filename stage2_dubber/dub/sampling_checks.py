"""What a job asks of the sampler, against what its model, its video and its switches allow."""

from __future__ import annotations

from common.diffusion.multidiffusion import check_multidiffusion
from common.diffusion.options import resolve_sampling
from common.errors import UserError
from common.models.package_info import PackageInfo
from common.models.speed import SpeedConfig
from common.own_mouths.config import Renderer
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.request import DubRequest

# Options that mean something only where another one has this value.
_NEEDS = {
    "inversion_strength": ("start_from", "inversion"),
    "inversion_steps": ("start_from", "inversion"),
    "window_frames": ("windows", "multidiffusion"),
    "window_stride": ("windows", "multidiffusion"),
    "section_frames": ("windows", "multidiffusion"),
}

# How the model's edits are made, with the value that every package can have.
_DRAWS = {"start_from": "noise", "windows": "motion_latents"}


def check_sampling(request: DubRequest, inputs: DubInputs, info: PackageInfo, speed: SpeedConfig) -> None:
    """Refuse what would fail, or change nothing, before the work.

    Raises:
        UserError: an option without the one that it is about, or one about the model's edits where own mouths
            alone are drawn; windows that make no sense, or an inversion of a source that says nothing at
            its frames' times.
    """
    settings = resolve_sampling(request.sampling, info.diffusion)
    for name in request.sampling.changes():
        other, value = _NEEDS.get(name, ("", ""))
        if other and getattr(settings, other) != value:
            raise UserError(f"{_flag(name)} is about {_flag(other)} {value}: give that, or leave it out.")
    own_mouths = (request.renderer or info.renderer) is Renderer.own_mouths
    for name, usual in _DRAWS.items():
        value = getattr(request.sampling, name)
        if own_mouths and value not in (None, usual):
            raise UserError(
                f"{_flag(name)} {value} is about what the model draws, but --renderer own-mouths draws "
                "without it: use --renderer editor, or leave the option out."
            )
    if info.joint is not None or own_mouths:
        return
    check_multidiffusion(settings, info.geometry, speed)
    if settings.inverts and not inputs.info.has_audio:
        raise UserError(
            f"The video '{request.video}' has no sound, but --start-from inversion needs what it says: use "
            "--start-from noise."
        )
    if settings.inverts and inputs.retiming is not None:
        raise UserError(
            f"--length {request.timing.length.value} shows the frames at other times than their sound, which "
            "--start-from inversion needs: use --start-from noise."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
