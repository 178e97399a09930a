"""Options about lengths, as ``bootdub dub`` takes them."""

from __future__ import annotations

from typing import Annotated

from bootdub.cli.dub_options.panel import option_in
from stage2_dubber.dub.length.options import Length, Outside

_option = option_in("Times and lengths (docs/footage.md)")

LengthOption = Annotated[
    Length,
    _option(
        help="Where video and speech are not of one length: silence cuts and repeats nothing, cut-off cuts "
        "the longer, bounce plays the video forward and backward until the speech ends, loop again and "
        "again, remap slower or faster (docs/footage.md)."
    ),
]
StartOption = Annotated[
    float | None, _option(help="Dub from this second of the video on; what is before stays.")
]
EndOption = Annotated[float | None, _option(help="Dub to this second of the video; what is after stays.")]
OffsetOption = Annotated[
    float,
    _option(help="Seconds from the start to the beginning of the speech; negative: cut so much of it."),
]
OutsideOption = Annotated[
    Outside,
    _option(help="What is heard before --start and after --end: the video's own sound, or none."),
]
