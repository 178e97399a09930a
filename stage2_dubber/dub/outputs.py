"""The files of a dubbing job: the dubbed video and, where asked for, pictures to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from common.media import VideoInfo, VideoWriter, contact_sheet, probe, tile
from common.media.patched import write_patched
from common.media.pieces import PIECE_FRAMES, PieceForm, join
from common.media.retiming import open_video
from common.media.samples import with_change
from common.media.writer import Tracks
from stage2_dubber.dub.job import Composite, FacePlan
from stage2_dubber.dub.length.options import Outside
from stage2_dubber.dub.request import DubInputs, DubRequest
from stage2_dubber.dub.resume.folder import JobFolder, passing_folder

SHEET_COLUMNS = 12

_LABELS = ("source", "dubbed")


@dataclass(frozen=True)
class Film:
    """One of the videos that a job writes.

    Attributes:
        name: of its pieces.
        path: of the finished file.
        form: of the pieces and the file.
        tracks: what goes beside its pictures.
    """

    name: str
    path: Path
    form: PieceForm
    tracks: Tracks


class JobOutputs:
    """The videos of a job and how far they are.

    Args:
        request: the job.
        inputs: the results of its checks.
        work: keeps the pieces.
    """

    def __init__(self, request: DubRequest, inputs: DubInputs, work: JobFolder) -> None:
        self._request, self.inputs, self.work = request, inputs, work
        self._info = info = inputs.info
        form = PieceForm(info.width, info.height, info.average_rate, info.time_base, inputs.encoding, info)
        self._films = [_film("dubbed", request.output, form, _sealed(request, request.output, inputs.tracks))]
        if request.side_by_side is not None:
            empty = np.zeros((info.height, info.width, 3), np.uint8)
            height, width = tile((empty, empty), _LABELS).shape[:2]
            form = PieceForm(width, height, info.average_rate, info.time_base, like=info)
            tracks = _sealed(request, request.side_by_side, replace(inputs.tracks, further=None))
            self._films.append(_film("beside", request.side_by_side, form, tracks))

    @property
    def first_frame(self) -> int:
        """The first frame of the video that is in no finished piece."""
        finished = self.work.finished(*((film.name, film.form.suffix) for film in self._films))
        return min(finished * PIECE_FRAMES, self._info.frame_count)

    def write(self, dubbed_frames: int, composites: Iterable[Composite]) -> int:
        """Write all files while ``composites`` come in; the number of frames is returned.

        The dubbed video has the source's frames at the source's time stamps and the speech file's own audio
        stream. It is encoded in pieces of :data:`PIECE_FRAMES` frames, which are joined when the last one is
        finished: every file is whole or absent.

        Args:
            dubbed_frames: how many of all frames are dubbed.
            composites: from a frame on that is not after :attr:`first_frame`; those before it are passed
                over.

        Raises:
            UserError: a file cannot be written.
        """
        request, work = self._request, self.work
        sheet = None if request.contact_sheet is None else _Sheet(dubbed_frames, work)
        done = self._write_pieces(composites, sheet)
        work.publish()
        with open_video(self.inputs.video) as reader:
            # As ffmpeg does: the output's clock starts where the source's does, at 0.
            stamps = reader.stamps().since(self._info.clock_start)
        for film in reversed(self._films):
            pieces = [
                work.piece(film.name, number, film.form.suffix) for number in range(-(-done // PIECE_FRAMES))
            ]
            join(film.path, pieces, film.form, stamps, self._sound(), film.tracks)
        if sheet is not None and request.contact_sheet is not None:
            sheet.save(request.contact_sheet)
        return done

    def _sound(self) -> Path:
        """The file with the outputs' sound."""
        request, patches = self._request, self.inputs.patches
        if not patches:
            return request.audio
        path = self.work.path / "sound.wav"
        if not path.is_file():
            own = request.timing.outside is Outside.own and probe(request.video).has_audio
            write_patched(path, request.video if own else None, patches)
        return path

    def _write_pieces(self, composites: Iterable[Composite], sheet: _Sheet | None) -> int:
        """Encode what is missing; the number of frames in all pieces is returned."""
        first = done = self.first_frame
        with ExitStack() as last:
            stack, writers = ExitStack(), list[VideoWriter]()
            last.push(lambda *error: stack.__exit__(*error))
            for item in composites:
                if item.frame.index < first:
                    continue
                number, within = divmod(item.frame.index, PIECE_FRAMES)
                if within == 0:
                    stack.close()
                    stack, writers = ExitStack(), []
                    for film in self._films:
                        piece = self.work.piece(film.name, number, film.form.suffix)
                        writers.append(stack.enter_context(film.form.writer(piece)))
                pts = item.frame.pts - self._info.clock_start
                writers[0].write(_as_coded(item, self._info), pts, item.frame.duration)
                for beside in writers[1:]:
                    beside.write(tile((item.frame.image, item.image), _LABELS), pts, item.frame.duration)
                if sheet is not None:
                    sheet.look(item)
                done += 1
        return done


def write_outputs(
    request: DubRequest, inputs: DubInputs, plan: FacePlan, composites: Iterable[Composite]
) -> int:
    """Write all files of a job that nobody will go on with, as :meth:`JobOutputs.write`."""
    with passing_folder(request.output) as work:
        return JobOutputs(request, inputs, work).write(plan.dubbed_frames, composites)


def _film(name: str, path: Path, form: PieceForm, tracks: Tracks) -> Film:
    return Film(name, path, form.of_pieces(path), tracks)


def _sealed(request: DubRequest, path: Path, tracks: Tracks) -> Tracks:
    """``tracks`` of an output, and what it says about itself."""
    provenance = request.stated
    return replace(tracks, tags=provenance.tags(path.suffix), seal=partial(provenance.seal, title=path.name))


def _as_coded(item: Composite, info: VideoInfo) -> np.ndarray | VideoFrame:
    """The frame to write: in the source's own samples where there are any, with the edit's change added."""
    if item.frame.samples is None:
        return item.image
    return with_change(item.frame.samples, item.frame.image, item.image, info.colour)


class _Sheet:
    """Keeps a few evenly spread pairs of crops; how many there will be is known before the first."""

    def __init__(self, count: int, work: JobFolder) -> None:
        columns = min(SHEET_COLUMNS, count)
        self._wanted = sorted(set(np.linspace(0, count - 1, columns).round().astype(int).tolist()))
        self.work = work

    def look(self, item: Composite) -> None:
        if item.position in self._wanted and item.before is not None and item.after is not None:
            self.work.keep(f"pair-{item.position}", np.stack([item.before, item.after]))

    def save(self, path: Path) -> None:
        pairs = np.stack([self.work.kept(f"pair-{position}") for position in self._wanted])
        contact_sheet([("source", pairs[:, 0]), ("dubbed", pairs[:, 1])], path, columns=SHEET_COLUMNS)
