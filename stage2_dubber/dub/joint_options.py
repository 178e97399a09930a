"""Options of a dub that a package of LTX-2 does not know, refused by name."""

from __future__ import annotations

from pathlib import Path

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.models.package_info import PackageInfo
from common.models.speed import SpeedConfig

KNOWN = ("num_steps", "audio_scale")
DISTILLED = ("audio_scale",)


def check_joint_options(
    model: Path, info: PackageInfo, sampling: SamplingOptions, speed: SpeedConfig | None = None
) -> None:
    """Pass over packages of the dubbing transformer; for LTX-2 refuse what would change nothing.

    Args:
        model: the package, for messages.
        info: what it says.
        sampling: what is asked of the sampler.
        speed: switches; None: exact.

    Raises:
        UserError: an option or a switch that LTX-2 does not know.
    """
    if info.joint is None:
        return
    known = DISTILLED if info.joint.distilled else KNOWN
    unknown = [_flag(name) for name in sampling.changes() if name not in known]
    if unknown:
        kind = "a distilled package" if info.joint.distilled else "a package"
        raise UserError(
            f"{model}: {kind} of LTX-2 knows no {', '.join(unknown)}; leave it out "
            f"(known: {', '.join(map(_flag, ('seed', *known)))})."
        )
    switches = {} if speed is None else speed.changes()
    if switches:
        raise UserError(
            f"{model}: a package of LTX-2 knows none of the switches for speed ({', '.join(switches)}); "
            "leave them out."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
