"""The files of a dubbing job: the dubbed video and, where asked for, pictures to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from common.media import Encoding, VideoInfo, VideoWriter, contact_sheet, tile
from common.media.encoding import DEFAULT_ENCODING
from common.media.following import following
from common.media.further_tracks import further_tracks
from common.media.samples import with_change
from common.media.writer import Tracks
from stage2_dubber.dub.job import Composite, FacePlan
from stage2_dubber.dub.request import DubRequest

SHEET_COLUMNS = 12


def write_outputs(
    request: DubRequest, info: VideoInfo, plan: FacePlan, composites: Iterable[Composite]
) -> int:
    """Write all files of ``request`` while ``composites`` come in; the number of frames is returned.

    The dubbed video has the source's frames at the source's time stamps and the speech file's own audio
    stream. Every file is whole or absent: it takes its name when the last frame is in.

    Raises:
        UserError: a file cannot be written.
    """
    sheet = _Sheet(plan.dubbed_frames)
    done = 0
    kept, _ = following(info, request.output.suffix, request.pictures)
    tracks = Tracks(request.audio_track, further_tracks(request.video, request.output.suffix.lower()))
    with ExitStack() as stack:
        dubbed = stack.enter_context(_writer(request.output, request, info, encoding=kept, tracks=tracks))
        beside: VideoWriter | None = None
        for item in composites:
            # As ffmpeg does: the output's clock starts where the source's does, at 0.
            pts = item.frame.pts - info.clock_start
            dubbed.write(_as_coded(item, info), pts, item.frame.duration)
            if request.side_by_side is not None:
                picture = tile((item.frame.image, item.image), ("source", "dubbed"))
                if beside is None:
                    height, width = picture.shape[:2]
                    beside = stack.enter_context(_writer(request.side_by_side, request, info, width, height))
                beside.write(picture, pts, item.frame.duration)
            sheet.look(item)
            done += 1
    if request.contact_sheet is not None:
        sheet.save(request.contact_sheet)
    return done


def _as_coded(item: Composite, info: VideoInfo) -> np.ndarray | VideoFrame:
    """The frame to write: in the source's own samples where there are any, with the edit's change added."""
    if item.frame.samples is None:
        return item.image
    return with_change(item.frame.samples, item.frame.image, item.image, info.colour)


def _writer(
    path: Path,
    request: DubRequest,
    info: VideoInfo,
    width: int | None = None,
    height: int | None = None,
    encoding: Encoding = DEFAULT_ENCODING,
    tracks: Tracks | None = None,
) -> VideoWriter:
    return VideoWriter(
        path,
        width or info.width,
        height or info.height,
        rate=info.average_rate,
        time_base=info.time_base,
        audio_from=request.audio,
        like=info,
        encoding=encoding,
        tracks=tracks or Tracks(request.audio_track),
    )


class _Sheet:
    """Keeps a few evenly spread pairs of crops; how many there will be is known before the first."""

    def __init__(self, count: int) -> None:
        columns = min(SHEET_COLUMNS, count)
        self._wanted = set(np.linspace(0, count - 1, columns).round().astype(int).tolist())
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def look(self, item: Composite) -> None:
        if item.position in self._wanted and item.before is not None and item.after is not None:
            self._pairs.append((item.before, item.after))

    def save(self, path: Path) -> None:
        before, after = (np.stack(column) for column in zip(*self._pairs, strict=True))
        contact_sheet([("source", before), ("dubbed", after)], path, columns=SHEET_COLUMNS)
