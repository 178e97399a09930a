"""``bootdub faces``: which faces a video shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import Detector, LimitOption, use_limits
from common.files import require_file


def faces(
    video: Annotated[Path, typer.Argument(help="The video to look at.")],
    output: Annotated[
        Path | None, typer.Option(help="The .json file to write; default: beside the video, .faces.json.")
    ] = None,
    face: Annotated[
        str, typer.Option(help="Which faces are marked as to be dubbed, as in 'bootdub dub'.")
    ] = "auto",
    detector: Annotated[Detector, typer.Option(help="Face detector.")] = Detector.mediapipe,
    limit: LimitOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """List a video's faces: a picture with their numbers and a file for 'bootdub dub --face'."""
    with clean_errors():
        require_file(video, "video")
        use_limits(limit)
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries, show_warnings
        from stage2_dubber.dub.faces.sheet import list_faces
        from stage2_dubber.dub.request import DubRequest

        quieten_libraries()
        show_warnings()
        file = output or video.with_suffix(".faces.json")
        request = DubRequest(video, video, file, detector=detector.value, face=face)
        with ConsoleProgress() as progress:
            found = list_faces(request, file, progress, overwrite)
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for line in found.lines:
            print(line)
        print(f"{found.file}: set \"dub\" of each face, then 'bootdub dub --face {found.file}'")
        print(f"{found.sheet}: what they look like")
