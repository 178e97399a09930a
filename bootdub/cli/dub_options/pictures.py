"""Options about how the output's pictures are coded, as ``bootdub dub`` takes them."""

from __future__ import annotations

from typing import Annotated

from bootdub.cli.dub_options.panel import option_in
from bootdub.cli.options import CodecName

_option = option_in("Coding of the output's pictures")

LosslessOption = Annotated[
    bool, _option("--lossless", help="Write FFV1 in .mkv: every pixel outside the face is kept.")
]
CodecOption = Annotated[
    CodecName | None,
    _option(help="Of the output's pictures. Default: the source's, where it can be had."),
]
CrfOption = Annotated[
    int | None,
    _option(min=0, max=63, help="Quality of lossy codecs, smaller is better (H.264, HEVC to 51)."),
]
PixFmtOption = Annotated[
    str | None, _option(help="Pixel format of the output by FFmpeg's name. Default: the source's.")
]
SmartRenderOption = Annotated[
    bool,
    _option(
        "--smart-render/--no-smart-render",
        help="Copy groups of pictures in which nothing is dubbed as they are coded (H.264, HEVC).",
    ),
]
