"""Options about lengths, as ``bootdub dub`` takes them."""

from __future__ import annotations

from typing import Annotated

import typer

from stage2_dubber.dub.length.options import Length, Outside

LengthOption = Annotated[
    Length,
    typer.Option(
        help="Where video and speech are not of one length: silence cuts and repeats nothing, cut-off cuts "
        "the longer, bounce plays the video forward and backward until the speech ends, loop again and "
        "again, remap slower or faster (docs/footage.md)."
    ),
]
StartOption = Annotated[
    float | None, typer.Option(help="Dub from this second of the video on; what is before stays.")
]
EndOption = Annotated[
    float | None, typer.Option(help="Dub to this second of the video; what is after stays.")
]
OffsetOption = Annotated[
    float,
    typer.Option(help="Seconds from the start to the beginning of the speech; negative: cut so much of it."),
]
OutsideOption = Annotated[
    Outside,
    typer.Option(help="What is heard before --start and after --end: the video's own sound, or none."),
]
