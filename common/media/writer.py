"""Writing videos: exact times, exact size, a whole file or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType

from common.errors import UserError
from common.files import PathLike, atomic_path
from common.media.colour import BT709, FromRGB, ToFormat
from common.media.encoding import DEFAULT_ENCODING, Encoding, describe, written_tags
from common.media.fields import FieldMarker
from common.media.formats import is_rgb
from common.media.further_tracks import FurtherTracks, FurtherTracksWriter
from common.media.info import VideoInfo
from common.media.matroska import PLACEHOLDER, TrackNote, complete_tracks, shown_size
from common.media.soundtrack import AT_START, SoundPlace, Soundtrack
from common.media.source import Source, reason

# Only for what an encoder plans by (levels, buffers); time stamps say when frames are shown.
_USUAL_RATE = Fraction(25)
_FINE_CLOCK = 48_000
# Of fewer pictures than it reorders x265 makes up when they are decoded: any number that lay in memory.
_X265_REORDERS = 2


@dataclass(frozen=True)
class Tracks:
    """What goes beside the pictures.

    Attributes:
        audio_track: number of the sound track; None: the usual one.
        further: what of the source is carried over.
        place: where the sound lies.
        tags: of the file, beside those that are carried over.
        seal: called with the path of the whole file before it takes its name, to complete it.
    """

    audio_track: int | None = None
    further: FurtherTracks | None = None
    place: SoundPlace = AT_START
    tags: tuple[tuple[str, str], ...] = ()
    seal: Callable[[Path], None] | None = None


NO_TRACKS = Tracks()

W = TypeVar("W", bound="VideoWriter")


class VideoWriter:
    """Encodes RGB frames; the file appears at a clean exit, and not at all after an exception.

    Every frame keeps the given time stamp exactly where the container can say it (MP4 and MOV can for every
    time base; Matroska and WebM count milliseconds).

    Args:
        path: output; the suffix chooses the container (.mp4, .mov, .mkv, .webm).
        width, height: pixels. Odd sizes are kept exactly: H.264 then stores full-resolution colour
            (yuv444p), since the usual kind only has even sizes.
        rate: frames per second. Frames without ``pts`` follow each other at this rate.
        time_base: seconds per tick of ``pts``; default: one tick per frame.
        encoding: codec and quality.
        audio_from: a file whose first audio stream becomes the sound: see
            :class:`common.media.soundtrack.Soundtrack`.
        like: take colour tags and pixel aspect from this video; default BT.709, square pixels.
        tracks: which sound track of ``audio_from``, and what else of the video ``like`` is carried over.

    Raises:
        UserError: on entry: the folder cannot be written, the container does not take the codec, the
            sound file is missing, no media or silent; while writing: the disk is full.
    """

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        *,
        rate: Fraction | float | None = None,
        time_base: Fraction | None = None,
        encoding: Encoding = DEFAULT_ENCODING,
        audio_from: Source | None = None,
        like: VideoInfo | None = None,
        tracks: Tracks = NO_TRACKS,
    ) -> None:
        if rate is None and time_base is None:
            raise ValueError("give the rate, or the time base of the time stamps")
        if width < 1 or height < 1:
            raise ValueError(f"the size must be positive, got {width}x{height}")
        self.path = Path(path)
        self._size = (width, height)
        self._rate = None if rate is None else Fraction(rate).limit_denominator(100_000)
        self._time_base = time_base if time_base is not None else 1 / Fraction(self._rate or 1)
        self._codec = encoding.encoder(self.path.suffix)
        self._pix_fmt = encoding.pixel_format(self._codec, width, height)
        self._encoding = encoding
        self._audio_from = audio_from
        self._like, self._tracks = like, tracks
        self._stack = ExitStack()
        self._count = 0
        # One frame waits for the next one's time stamp, which says how long it lasts.
        self._held: tuple[int, av.VideoFrame] | None = None
        self._held_duration: int | None = None
        self._step = 1
        self._shift = 0
        self._durations: dict[int, int] = {}
        self._mark: FieldMarker | None = None
        self._title: str | None = None

    def __enter__(self: W) -> W:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._container = self._open(temporary)
            stack.push(self._close)
            self._stream = self._add_stream(self._container)
            self._beside = self._add_tracks(stack)
            self._reserve_aspect()
            self._stack = stack.pop_all()
        return self

    def _reserve_aspect(self) -> None:
        """Room in the header of a container that has to say the shape of pixels itself."""
        said = self._like is not None and self._like.pixel_aspect != 1
        if said and self._container.format.name in ("matroska", "webm"):
            self._title = self._stream.metadata.get("title", "")
            self._stream.metadata["title"] = PLACEHOLDER + self._title

    def _add_tracks(self, stack: ExitStack) -> list[Soundtrack | FurtherTracksWriter]:
        added: list[Soundtrack | FurtherTracksWriter] = []
        if self._audio_from is not None:
            track, place = self._tracks.audio_track, self._tracks.place
            added.append(Soundtrack(self._audio_from, self._container, stack, track, place=place))
        if self._tracks.further is not None and self._like is not None:
            source, plan = self._like.path, self._tracks.further
            added.append(FurtherTracksWriter(source, self._like, plan, self._container, stack))
        self._container.metadata.update(dict(self._tracks.tags))
        return added

    def _open(self, temporary: Path) -> OutputContainer:
        # Nothing of the machine, the day or chance goes into the file.
        options = {"fflags": "+bitexact"}
        if self.path.suffix.lower() in (".mp4", ".mov", ".m4v"):
            options["movflags"] = "+faststart"
            # Otherwise the muxer multiplies small time bases until they are at least 1/10000.
            ticks = self._time_base.denominator
            options["video_track_timescale"] = str(ticks)
            # The clock on which the tracks' starts are given: milliseconds by default, too coarse for them.
            options["movie_timescale"] = str(ticks * -(-_FINE_CLOCK // ticks))
        try:
            return av.open(str(temporary), "w", options=options)
        except (FFmpegError, ValueError) as error:
            raise UserError(
                f"The output '{self.path}' has no known video suffix: name it .mp4, .mov, .mkv or .webm."
            ) from error

    def _add_stream(self, container: OutputContainer) -> av.VideoStream:
        chroma_left = self._like is not None and self._like.chroma_left
        try:
            added = container.add_stream(
                self._codec,
                rate=self._rate or (self._like.average_rate if self._like else _USUAL_RATE),
                options=self._encoding.options(self._codec, *self._size, chroma_left),
                time_base=self._time_base,
            )
        except (FFmpegError, ValueError) as error:
            raise UserError(
                f"The output '{self.path}' cannot hold {self._codec} video: choose another suffix or codec."
            ) from error
        stream = cast(av.VideoStream, added)
        stream.width, stream.height = self._size
        try:
            stream.pix_fmt = self._pix_fmt
        except ValueError as error:
            raise UserError(f"The pixel format {self._pix_fmt!r} is unknown: use one of FFmpeg's.") from error
        context = stream.codec_context
        given = self._like.colour if self._like else BT709
        of_rgb = self._like is not None and bool(self._like.pix_fmt) and is_rgb(self._like.pix_fmt)
        tags = written_tags(self._codec, self._pix_fmt, given, of_rgb)
        self._from_rgb = FromRGB(self._pix_fmt, tags)
        self._fit = ToFormat(self._pix_fmt, given, tags)
        describe(context, self._encoding, tags)
        if self._encoding.field_order:
            self._mark = FieldMarker(*self._size, self._pix_fmt, self._encoding.field_order)
        if self._like is not None:
            context.sample_aspect_ratio = self._like.pixel_aspect
        return stream

    def write(
        self, image: np.ndarray | av.VideoFrame, pts: int | None = None, duration: int | None = None
    ) -> None:
        """Append one frame.

        Args:
            image: (height, width, 3) uint8 RGB, or a picture whose samples are taken as they are, as far as
                the writer's pixel format can hold them.
            pts: ticks of the time base, increasing; None: the next one at the writer's rate. Where the
                first one is negative, all are moved so that it becomes 0.
            duration: ticks; only the last frame's counts, the others end where the next one starts.
        """
        width, height = self._size
        if isinstance(image, av.VideoFrame):
            if (image.width, image.height) != self._size:
                raise ValueError(f"expected {width}x{height}, got {image.width}x{image.height}")
        elif image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {(height, width, 3)}, got {image.dtype} {image.shape}")
        if pts is None:
            if self._rate is None:
                raise ValueError("without a rate every frame needs its pts")
            pts = round(self._count / self._rate / self._time_base)
        if self._count == 0:
            # A container's clock begins at zero: frames before it would be hidden.
            self._shift = max(0, -pts)
        pts += self._shift
        if self._held is None:
            for track in self._beside:
                track.begin(pts * self._time_base)
        else:
            held_pts, held = self._held
            if pts <= held_pts:
                raise ValueError(f"time stamps must increase, got {pts} after {held_pts}")
            self._step = pts - held_pts
            self._encode(held_pts, held, self._step)
        frame = self._fit(image) if isinstance(image, av.VideoFrame) else self._from_rgb(image)
        self._held, self._held_duration = (int(pts), frame), duration
        self._count += 1

    def _encode(self, pts: int, frame: av.VideoFrame, duration: int) -> None:
        self._durations[pts] = duration
        if self._mark is not None:
            frame = self._mark(frame)
        # Set last: a picture that is shown twice is one object.
        frame.pts, frame.time_base = pts, self._time_base
        frame.pict_type = PictureType.NONE
        try:
            self._mux(self._stream.encode(frame))
            for track in self._beside:
                track.advance(float(pts * self._time_base))
        except FFmpegError as error:
            raise self._failure(error) from error

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            # Encoders guess durations from the rate; the last one decides how long the file is.
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            self._container.mux(packet)

    def _failure(self, error: FFmpegError | ValueError) -> UserError:
        return UserError(
            f"The output '{self.path}' cannot be written ({reason(error)}): check disk and codec."
        )

    def _finish(self) -> None:
        if self._held is None:
            raise ValueError(f"no frame was written to {self.path}")
        usual = None if self._rate is None else round(1 / self._rate / self._time_base)
        self._encode(*self._held, self._held_duration or usual or self._step)
        try:
            last = self._stream.encode(None)
            if self._stream.codec_context.codec.name == "libx265" and self._count <= _X265_REORDERS:
                for packet in last:
                    packet.dts = packet.pts
            self._mux(last)
            for track in self._beside:
                track.advance(float("inf"))
        except FFmpegError as error:
            raise self._failure(error) from error

    def _complete_header(self) -> None:
        notes = {number: note for track in self._beside for number, note in track.notes.items()}
        if self._title is not None and self._like is not None:
            notes[0] = TrackNote(self._title, shown_size(*self._size, self._like.pixel_aspect))
        if notes:
            complete_tracks(Path(self._container.name), notes)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._container.close()
            if kind is None:
                self._complete_header()
                if self._tracks.seal is not None:
                    self._tracks.seal(Path(self._container.name))
        except (FFmpegError, ValueError) as failure:
            # After an exception the file is deleted, and the first error is the one to report.
            if kind is None:
                raise self._failure(failure) from failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The stack closes the container, then atomic_path renames or, told of an exception, removes.
        with self._stack:
            if error is not None:
                raise error
            self._finish()


def write_video(
    path: PathLike,
    frames: Iterable[np.ndarray],
    rate: Fraction | float = 25,
    *,
    encoding: Encoding = DEFAULT_ENCODING,
    audio_from: Source | None = None,
    like: VideoInfo | None = None,
) -> None:
    """Write (N, height, width, 3) uint8 frames, or any iterable of images of one size, at a constant rate.

    Arguments and errors as of :class:`VideoWriter`. At least one frame is needed.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"no frame was given for {path}")
    height, width = first.shape[:2]
    with VideoWriter(
        path, width, height, rate=rate, encoding=encoding, audio_from=audio_from, like=like
    ) as writer:
        writer.write(first)
        for image in iterator:
            writer.write(image)
