"""Videos as streams of upright RGB frames with their true times."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from common.errors import UserError
from common.media.broken import whole_packets
from common.media.colour import ToRGB
from common.media.info import Scan, VideoInfo, scan
from common.media.isolation.bounds import still_working
from common.media.isolation.isolated import isolated
from common.media.samples import carried
from common.media.source import Source, decoder_of, open_source, source_name, video_stream, warn_once
from common.media.stamps import Stamps

_LARGE = 1280 * 720
"""Pixels from which on pictures are decoded by several threads. Those of H.264 may give a picture before they
know that it is damaged: where one thread is fast enough it finds all damage, each time."""


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        index: 0, 1, 2, ... in the order of showing.
        pts: ticks of the video's ``time_base`` on the file's clock.
        time: seconds since the first frame's start.
        image: (height, width, 3) uint8 RGB, upright.
        duration: ticks until the next frame (for the last one: what the file says).
        samples: the same picture in the source's own samples (:mod:`common.media.samples`), where the reader
            was asked for them; None where ``image`` holds them all (8-bit RGB), for a picture that had to be
            scaled, and for formats that have no planar form or cannot be turned upright.
        damaged: whether the decoder guessed parts of it, or gave none for it, so that it repeats another.
    """

    index: int
    pts: int
    time: float
    image: np.ndarray
    duration: int = 0
    samples: VideoFrame | None = None
    damaged: bool = False


class VideoReader:
    """A video, frame by frame, in constant memory.

    Iterating gives exactly ``info.frame_count`` frames with the times of :meth:`times`, each time from the
    beginning. Pictures that are damaged beyond decoding are replaced by the one before (which is what a
    player shows then) and a warning says how many: so the positions of later frames stay right.

    Args:
        source: a path or an open, seekable binary stream.
        samples: also give the source's own samples of every frame.

    Raises:
        UserError: missing, no media, no video stream, nothing that can be decoded.
    """

    def __init__(self, source: Source, samples: bool = False) -> None:
        self._source = source
        self._samples = samples
        self._scan = scan(source)
        self._running: Generator[Frame, None, None] | None = None
        self.info: VideoInfo = self._scan.info

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.info.frame_count

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def close(self) -> None:
        """Let go of the file; an iteration that is under way ends."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def times(self) -> np.ndarray:
        """(frames,) float64: seconds of every frame's start since the first one's."""
        stamps = self._scan.stamps
        base = self.info.time_base
        return (stamps - stamps[0]) * base.numerator / base.denominator

    def stamps(self) -> Stamps:
        """When all frames are shown, on the file's clock."""
        return Stamps(self._scan.stamps, self._scan.last_duration)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames ``start`` to ``stop`` (exclusive; None: to the end), decoded from the file's beginning.

        One iteration at a time: a new one ends the one before.
        """
        self.close()
        total = self.info.frame_count
        last = total if stop is None else min(stop, total)
        self._running = decoded_frames(self._source, self._scan, start, last, self._samples)
        return self._running


class _Decoding:
    """One run through a video, from its beginning; arguments as of :class:`VideoReader`."""

    def __init__(self, source: Source, found: Scan, samples: bool) -> None:
        self._source, self._scan, self._samples = source, found, samples
        self._name = source_name(source)

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        to_rgb = ToRGB(*self._scan.stored_size)
        position, repeated, concealed = 0, 0, 0
        shown: VideoFrame | None = None
        image: np.ndarray | None = None
        for picture, index in self._placed():
            still_working()
            while position < index:
                # Nothing came for these: the picture before stays; at the very beginning the first one.
                shown, image = (picture, None) if shown is None else (shown, image)
                if start <= position < stop:
                    image = self._upright(to_rgb, shown) if image is None else image
                    yield self._frame(position, image, shown, damaged=True)
                position, repeated = position + 1, repeated + 1
            shown, image = picture, None
            concealed += picture.is_corrupt
            if start <= position < stop:
                image = self._upright(to_rgb, shown)
                yield self._frame(position, image, shown, picture.is_corrupt)
            position += 1
            if position >= stop:
                break
        if shown is None:
            raise UserError(f"The video '{self._name}' cannot be decoded: convert or download it again.")
        repeated += max(0, stop - position)
        for rest in range(max(position, start), stop):
            image = self._upright(to_rgb, shown) if image is None else image
            yield self._frame(rest, image, shown, damaged=True)
        if concealed:
            warn_once(
                f"The video '{self._name}' is damaged: parts of {concealed} of {stop} frames are guessed "
                "from their neighbours."
            )
        if repeated:
            warn_once(
                f"The video '{self._name}' is damaged: {repeated} of {stop} frames cannot be decoded and "
                "repeat the one before."
            )

    def _placed(self) -> Iterator[tuple[VideoFrame, int]]:
        """Decoded pictures with their index; what has no place among the frames is left out."""
        labels = self._scan.labels
        index = 0
        for picture in self._pictures():
            if not self._scan.by_order and picture.pts is not None:
                index = max(index, int(np.searchsorted(labels, picture.pts)))
                if index >= len(labels) or labels[index] != picture.pts:
                    continue
            if index >= len(labels):
                return
            yield picture, index
            index += 1

    def _pictures(self) -> Iterator[VideoFrame]:
        """Decoded pictures in the order of showing; packets that cannot be decoded are passed over."""
        with open_source(self._source, "video") as container:
            stream = video_stream(container, self._name)
            stream.thread_type = "AUTO"
            width, height = self._scan.stored_size
            if width * height < _LARGE:
                stream.codec_context.thread_count = 1
            decoder = decoder_of(stream)
            for packet in whole_packets(container, stream, self._name, self._scan.broken):
                yield from _decode(decoder, packet)
            yield from _decode(decoder, None)

    def _upright(self, to_rgb: ToRGB, picture: VideoFrame) -> np.ndarray:
        if not picture.format.is_rgb:
            # Decoders do not give pictures the tags that the container alone has.
            self._scan.info.colour.apply(picture)
        return self._scan.orientation.apply(to_rgb(picture))

    def _frame(self, index: int, image: np.ndarray, picture: VideoFrame, damaged: bool) -> Frame:
        stamps = self._scan.stamps
        pts = int(stamps[index])
        last = index + 1 == len(stamps)
        duration = self._scan.last_duration if last else int(stamps[index + 1]) - pts
        base = self._scan.info.time_base
        time = (pts - int(stamps[0])) * base.numerator / base.denominator
        whole = self._samples and (picture.width, picture.height) == self._scan.stored_size
        samples = carried(picture, self._scan.orientation) if whole else None
        return Frame(index, pts, time, image, duration, samples, damaged)


@isolated
def decoded_frames(
    source: Source, found: Scan, start: int, stop: int, samples: bool
) -> Generator[Frame, None, None]:
    """Frames ``start`` to ``stop`` of a video that was scanned; arguments as of :class:`VideoReader`."""
    yield from _Decoding(source, found, samples).frames(start, stop)


def _decode(decoder: VideoCodecContext, packet: Packet | None) -> list[VideoFrame]:
    try:
        return decoder.decode(packet)
    except MemoryError:
        raise
    except FFmpegError:
        # One damaged packet; the gap that it leaves is filled and counted by the reader.
        return []


def read_frames(source: Source, start: int = 0, count: int | None = None) -> np.ndarray:
    """``count`` frames from ``start`` on (None: to the end) as (N, height, width, 3) uint8 RGB.

    N is smaller than ``count`` where the video ends before, and may be 0. Errors as in :class:`VideoReader`.
    """
    if start < 0 or (count is not None and count < 0):
        raise ValueError(f"start and count must not be negative, got {start} and {count}")
    with VideoReader(source) as reader:
        stop = reader.info.frame_count if count is None else start + count
        images = [frame.image for frame in reader.frames(start, stop)]
        height, width = reader.info.height, reader.info.width
    return np.stack(images) if images else np.zeros((0, height, width, 3), dtype=np.uint8)


def frame_times(source: Source) -> np.ndarray:
    """(N,) float64: seconds of every frame's start since the first one's; nothing is decoded.

    Errors as in :class:`VideoReader`.
    """
    with VideoReader(source) as reader:
        return reader.times()
