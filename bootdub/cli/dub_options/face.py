"""Options about whose face is dubbed and where it is, as ``bootdub dub`` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bootdub.cli.dub_options.panel import option_in
from bootdub.cli.options import Detector

_option = option_in("Whose face is dubbed (docs/faces.md)")

DetectorOption = Annotated[
    Detector, _option(help="Face detector; --box and --track set 'box' by themselves.")
]
FaceOption = Annotated[
    str,
    _option(
        help="Which face is dubbed: auto (whose lips agree with the video's sound), largest, a number or "
        "the .json file of 'bootdub faces', or a place x,y in pixels."
    ),
]
BoxOption = Annotated[str | None, _option(help="Where the face is in every frame, in pixels: x0,y0,x1,y1.")]
FollowBoxOption = Annotated[
    bool,
    _option(
        "--follow-box", help="--box is the place in the first frame and is carried along by optical flow."
    ),
]
CuesOption = Annotated[
    Path | None,
    _option(help="Several speakers: a CSV with start,end,face,audio (docs/faces.md)."),
]
TrackOption = Annotated[
    Path | None, _option(help="File with a box or landmarks per frame (JSON or safetensors).")
]
