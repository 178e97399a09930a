"""What can be wrong with the paths of a dubbing job."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import require_file, require_writable_dir
from common.output_path import require_name, same_file
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import has_published

_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def check_paths(request: DubRequest) -> None:
    """Find what is wrong with the paths of a job; no file is opened.

    Raises:
        UserError: an input is missing, or an output cannot or must not be written.
    """
    require_file(request.video, "video")
    require_file(request.audio, "audio")
    if request.prompt_states is not None:
        require_file(request.prompt_states, "prompt states")
    _check_outputs(request)


def _check_outputs(request: DubRequest) -> None:
    outputs = [request.output, request.contact_sheet, request.side_by_side, request.report]
    wanted = [Path(path) for path in outputs if path is not None]
    given = (
        *(request.video, request.audio, request.track, request.face_choice.file, request.cues),
        request.prompt_states,
    )
    inputs = [Path(path) for path in given if path is not None]
    for position, path in enumerate(wanted):
        require_name(path)
        if any(same_file(path, other) for other in inputs):
            raise UserError(f"The output '{path}' is also an input: give it another name.")
        if any(same_file(path, other) for other in wanted[:position]):
            raise UserError(f"The output '{path}' is named twice: give every output its own name.")
        if path.is_dir():
            raise UserError(f"The output '{path}' is a folder: give the name of a file to write.")
        if path.exists() and not request.overwrite and not has_published(request.output, path):
            raise UserError(f"The output '{path}' exists already: give --overwrite to replace it.")
    for video in (request.output, request.side_by_side):
        if video is not None and Path(video).suffix.lower() not in _CONTAINERS:
            raise UserError(
                f"The output '{video}' does not end like a video file: use one of {', '.join(_CONTAINERS)}."
            )
    if request.lossless and request.codec not in (None, "ffv1"):
        raise UserError(f"--lossless means FFV1, not {request.codec}: give one of them.")
    if request.lossless and Path(request.output).suffix.lower() != ".mkv":
        raise UserError(f"The lossless output '{request.output}' must end in .mkv: give it that ending.")
    if request.contact_sheet is not None and Path(request.contact_sheet).suffix.lower() != ".png":
        raise UserError(f"The contact sheet '{request.contact_sheet}' must end in .png: give it that ending.")
    if request.report is not None and Path(request.report).suffix.lower() != ".json":
        raise UserError(f"The report '{request.report}' must end in .json: give it that ending.")
    for path in wanted:
        require_writable_dir(path.parent)
