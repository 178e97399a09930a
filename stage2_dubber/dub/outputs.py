"""The files of a dubbing job: the dubbed video and, where asked for, pictures to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from common.media import VideoInfo, VideoWriter, contact_sheet, probe, tile
from common.media.gops.plan import Copying, Cut, plan_copying, plan_cuts
from common.media.patched import write_patched
from common.media.pieces import PIECE_FRAMES, PieceForm, join
from common.media.retiming import open_video
from common.media.samples import with_change
from common.media.writer import Tracks
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.job import Composite, FacePlan
from stage2_dubber.dub.length.options import Outside
from stage2_dubber.dub.request import DubRequest
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
        copying: which frames are copied from the source; None: none.
    """

    name: str
    path: Path
    form: PieceForm
    tracks: Tracks
    copying: Copying | None = None

    def needs(self, cut: Cut) -> bool:
        """Whether these frames are encoded for it."""
        return self.copying is None or not cut.copied


class JobOutputs:
    """The videos of a job and how far they are.

    Args:
        request: the job.
        inputs: the results of its checks.
        work: keeps the pieces.
        edited: (E,) the frames that are dubbed, rising.
        damaged: frames that a decoder had to guess.
        part: the frames that are encoded here, some of the whole pieces; None: all.
    """

    def __init__(
        self,
        request: DubRequest,
        inputs: DubInputs,
        work: JobFolder,
        edited: NDArray[np.int64],
        damaged: Sequence[int] = (),
        part: range | None = None,
    ) -> None:
        self._request, self.inputs, self.work, self._edited = request, inputs, work, edited
        self._info = info = inputs.info
        planned = None
        if request.smart_render and isinstance(inputs.video, Path):
            planned = plan_copying(inputs.video, inputs.encoding, edited, PIECE_FRAMES, damaged)
        self.not_copied = planned if isinstance(planned, str) else ""
        copying = planned if isinstance(planned, Copying) else None
        self._cuts = copying.cuts if copying else plan_cuts(info.frame_count, edited, None, PIECE_FRAMES)
        self.copied_frames = copying.frames if copying else 0
        encoding = copying.fitted(inputs.encoding) if copying else inputs.encoding
        form = PieceForm(info.width, info.height, info.average_rate, info.time_base, encoding, info)
        tracks = _sealed(request, request.output, inputs.tracks)
        self._part = range(info.frame_count) if part is None else part
        self._films = [_film("dubbed", request.output, form, tracks, copying)]
        if request.side_by_side is not None:
            empty = np.zeros((info.height, info.width, 3), np.uint8)
            height, width = tile((empty, empty), _LABELS).shape[:2]
            form = PieceForm(width, height, info.average_rate, info.time_base, like=info)
            tracks = _sealed(request, request.side_by_side, replace(inputs.tracks, further=None))
            self._films.append(_film("beside", request.side_by_side, form, tracks))

    @property
    def first_frame(self) -> int:
        """The first frame that is to be encoded here, and is in no finished piece."""
        for number, cut in enumerate(self._cuts):
            for film in self._films:
                mine = film.needs(cut) and cut.first in self._part
                if mine and not self._piece(film, number).is_file():
                    return cut.first
        return self._part.stop

    @property
    def encoded(self) -> tuple[Cut, ...]:
        """The frames of each piece that is encoded, in order."""
        return tuple(cut for cut in self._cuts if any(film.needs(cut) for film in self._films))

    def _piece(self, film: Film, number: int) -> Path:
        return self.work.piece(film.name, number, film.form.suffix)

    def write(self, composites: Iterable[Composite]) -> int:
        """Write all files while ``composites`` come in; the number of frames is returned.

        The dubbed video has the source's frames at the source's time stamps and the speech file's own audio
        stream. It is encoded in pieces of at most :data:`PIECE_FRAMES` frames, which are joined, with what is
        copied, when the last one is finished: every file is whole or absent.

        Args:
            composites: from a frame on that is not after :attr:`first_frame`; those before it are passed
                over.

        Raises:
            UserError: a file cannot be written.
        """
        done = self.write_pieces(composites)
        self.work.publish()
        with open_video(self.inputs.video) as reader:
            # As ffmpeg does: the output's clock starts where the source's does, at 0.
            stamps = reader.stamps().since(self._info.clock_start)
        for film in reversed(self._films):
            pieces = [
                self._piece(film, number)
                for number, cut in enumerate(self._cuts)
                if cut.first < done and film.needs(cut)
            ]
            join(film.path, pieces, film.form, stamps, self._sound(), film.tracks, film.copying)
        if self._request.contact_sheet is not None:
            _Sheet(len(self._edited), self.work).save(self._request.contact_sheet)
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

    def write_pieces(self, composites: Iterable[Composite]) -> int:
        """Encode what is missing here; the frame behind the last one is returned.

        Args:
            composites: as :meth:`write` takes them.

        Raises:
            UserError: a piece cannot be written.
        """
        first = done = self.first_frame
        if first >= self._part.stop:
            return first
        wanted = self._request.contact_sheet is not None
        sheet = _Sheet(len(self._edited), self.work) if wanted else None
        cuts = (item for item in enumerate(self._cuts) if item[1].first >= first)
        with ExitStack() as last:
            stack, writers, stop = ExitStack(), list[tuple[Film, VideoWriter]](), first
            last.push(lambda *error: stack.__exit__(*error))
            for item in composites:
                if item.frame.index < first:
                    continue
                if item.frame.index >= self._part.stop:
                    break
                if item.frame.index == stop:
                    stack.close()
                    stack, writers = ExitStack(), []
                    number, cut = next(cuts)
                    stop = cut.stop
                    for film in self._films:
                        if film.needs(cut):
                            writer = film.form.writer(self._piece(film, number))
                            writers.append((film, stack.enter_context(writer)))
                pts = item.frame.pts - self._info.clock_start
                for film, writer in writers:
                    writer.write(self._picture(film, item), pts, item.frame.duration)
                if sheet is not None:
                    sheet.look(item)
                done += 1
        return done

    def _picture(self, film: Film, item: Composite) -> np.ndarray | VideoFrame:
        if film is self._films[0]:
            return _as_coded(item, self._info)
        return tile((item.frame.image, item.image), _LABELS)


def write_outputs(
    request: DubRequest, inputs: DubInputs, plan: FacePlan, composites: Iterable[Composite]
) -> int:
    """Write all files of a job that nobody will go on with, as :meth:`JobOutputs.write`."""
    with passing_folder(request.output) as work:
        edited = [np.r_[segment.source] for segment in plan.segments]
        outputs = JobOutputs(request, inputs, work, np.concatenate(edited), plan.damaged)
        return outputs.write(composites)


def _film(name: str, path: Path, form: PieceForm, tracks: Tracks, copying: Copying | None = None) -> Film:
    return Film(name, path, form.of_pieces(path), tracks, copying)


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
