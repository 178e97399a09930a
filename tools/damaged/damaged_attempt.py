"""What a dub does with media around its model, tried on one pair of files."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.media import VideoReader, VideoWriter, probe
from common.media.following import following
from common.media.further_tracks import further_tracks
from common.media.writer import Tracks
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.request import DubRequest


@dataclass(frozen=True)
class Attempt:
    """How it ended.

    Attributes:
        state: "written", "refused" or "fault".
        said: the sentence of a refusal, a traceback of a fault, or the number of frames.
        seconds: wall-clock time.
    """

    state: str
    said: str
    seconds: float


def attempt(video: Path, audio: Path, output: Path) -> Attempt:
    """Check the job, decode all of the video and write it with the sound; the output is read again."""
    start = time.monotonic()
    state, said = "fault", ""
    try:
        said = f"{_written(video, audio, output)} frames"
        state = "written"
    except UserError as error:
        state, said = "refused", str(error)
        if "\n" in said or not said.endswith("."):
            state = "fault"
    except Exception:
        said = traceback.format_exc()
    if state != "written" and output.exists():
        state, said = "fault", f"an output was left behind: {said}"
    return Attempt(state, said, time.monotonic() - start)


def _written(video: Path, audio: Path, output: Path) -> int:
    inputs = check_request(DubRequest(video, audio, output, overwrite=True))
    info, suffix = inputs.info, output.suffix
    encoding, _ = following(info, suffix)
    tracks = Tracks(further=further_tracks(video, suffix))
    count = 0
    with (
        VideoReader(video, samples=True) as reader,
        VideoWriter(
            output,
            info.width,
            info.height,
            rate=info.average_rate,
            time_base=info.time_base,
            audio_from=audio,
            like=info,
            encoding=encoding,
            tracks=tracks,
        ) as writer,
    ):
        for frame in reader:
            writer.write(
                frame.image if frame.samples is None else frame.samples, frame.pts - info.clock_start
            )
            count += 1
    found = probe(output)
    if not count == found.frame_count == info.frame_count:
        raise AssertionError(f"{count} frames went in, {found.frame_count} came out of {info}")
    return count
