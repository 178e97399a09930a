"""Options about how the model samples, as ``bootdub dub`` takes them."""

from __future__ import annotations

from typing import Annotated

from bootdub.cli.dub_options.panel import option_in
from bootdub.cli.options import StartFrom, Windows

_option = option_in("How the model samples")

SeedOption = Annotated[
    int | None,
    _option(
        help="The same seed gives the same video on the same machine. Default: the package's (0; of the "
        "public release 42)."
    ),
]
NumStepsOption = Annotated[int | None, _option(min=1, help="Sampler steps per window and pass.")]
PassesOption = Annotated[
    int | None, _option(min=1, help="How often a window is dubbed, from what the last pass made.")
]
AudioScaleOption = Annotated[float | None, _option(help="How strongly the lips follow the speech.")]
ShiftOption = Annotated[
    float | None, _option(help="Above 1 more of the steps are spent at high noise; 1: evenly.")
]
ReferenceScaleOption = Annotated[float | None, _option(help="How strongly the result keeps to the source.")]
StartFromOption = Annotated[
    StartFrom | None,
    _option(help="noise, or the inversion of the source, which keeps more of it (docs/edidub.md)."),
]
InversionStrengthOption = Annotated[
    float | None, _option(min=0, max=1, help="0: as from noise; 1: all of the inverted source.")
]
InversionStepsOption = Annotated[
    int | None, _option(min=0, help="Steps of the inversion; 0: as many as of the sampler.")
]
WindowsOption = Annotated[
    Windows | None,
    _option(
        help="Of long clips: motion_latents, each goes on from the one before, or multidiffusion, "
        "several overlap and are averaged (docs/edidub.md). Default: what the package says."
    ),
]
WindowFramesOption = Annotated[
    int | None, _option(min=0, help="Of one window of multidiffusion, 4k+1; 0: the model's clip.")
]
WindowStrideOption = Annotated[
    int | None, _option(min=0, help="Frames from one to the next, multiples of 4; 0: about half.")
]
SectionFramesOption = Annotated[
    int | None, _option(min=5, help="Frames that multidiffusion holds at once, 4k+1.")
]
