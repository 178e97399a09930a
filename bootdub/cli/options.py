"""Options that several commands share, and how what is written in them is read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from common.errors import UserError
from stage2_dubber.dub.presets.names import Preset


class Device(str, Enum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Dtype(str, Enum):
    """What the weights are in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Detector(str, Enum):
    """Who finds the face."""

    mediapipe = "mediapipe"
    insightface = "insightface"
    box = "box"


class Crops(str, Enum):
    """Which squares the editor sees."""

    head = "head"
    frame = "frame"
    release = "release"
    tbdub = "tbdub"


class StartFrom(str, Enum):
    """What sampling starts from."""

    noise = "noise"
    inversion = "inversion"


class Windows(str, Enum):
    """How clips that are longer than the model's are sampled."""

    motion_latents = "motion_latents"
    multidiffusion = "multidiffusion"


class CodecName(str, Enum):
    """What an output's pictures are coded with."""

    h264 = "h264"
    hevc = "hevc"
    vp9 = "vp9"
    av1 = "av1"
    prores = "prores"
    dnxhd = "dnxhd"
    ffv1 = "ffv1"


PresetOption = Annotated[
    Preset | None,
    typer.Option(
        help="Quality: draft (fewer steps, some extrapolated), standard (as the package says) or best (more "
        "steps); other options win. Default: by model, device and free memory; --dry-run tells."
    ),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Bounds for files of strangers: pixels (67108864), hours (12), streams (100); of their decoder: "
        "memory in GB (4), seconds of computing without a result (120).",
    ),
]
ModelOption = Annotated[
    Path | None, typer.Option(help="Model package folder; else $BOOTDUB_MODEL or the installed one.")
]
RefineOption = Annotated[
    Path | None,
    typer.Option(
        help="Package of a model that refines the new lips (docs/edidub.md) or the frames of own mouths "
        "(docs/own_mouths.md).",
        metavar="PACKAGE",
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="auto takes the GPU where there is one.")]


def use_limits(words: list[str] | None) -> None:
    """Set the bounds of ``--limit`` for this process, and start what decodes while libraries are loaded.

    Raises:
        UserError: a word is not understood.
    """
    from common.media.isolation.isolated import start_decoding
    from common.media.isolation.limits import limits, set_limits

    set_limits(limits().with_words(words or ()))
    start_decoding()


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """``x0,y0,x1,y1`` in pixels as four numbers; None where no box is given.

    Raises:
        UserError: something else than four numbers.
    """
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"The box '{text}' is not four numbers: write it as x0,y0,x1,y1.") from error
    return x0, y0, x1, y1


def require_folder(path: Path, what: str) -> None:
    """Tell of a folder that is not there before the libraries that would read it are loaded.

    Raises:
        UserError: it does not exist, or is a file.
    """
    if not path.is_dir():
        raise UserError(f"The {what} '{path}' does not exist or is no folder: check the path.")
