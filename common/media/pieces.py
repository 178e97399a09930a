"""A video encoded in pieces of fixed length, each a file of its own, and joined without encoding anew.

Every piece begins with a picture that needs no other one and refers to nothing outside (a closed group of
pictures), so that a piece depends on its frames alone: what was interrupted goes on at the first missing
piece, and gives the bytes that an uninterrupted run gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from common.errors import UserError
from common.files import PathLike
from common.media.encoding import DEFAULT_ENCODING, Encoding
from common.media.gops.plan import Copying
from common.media.info import VideoInfo
from common.media.source import Source
from common.media.stamps import Stamps
from common.media.writer import NO_TRACKS, Tracks, VideoWriter, W

PIECE_FRAMES = 250
"""Frames of a piece; as far apart as x264 and x265 set their key pictures by themselves."""

_NOT_IN_NUT = ("prores_ks", "dnxhd")


@dataclass(frozen=True)
class PieceForm:
    """What all pieces of a video have in common, and the video itself.

    Attributes:
        width, height: pixels.
        rate: frames per second, as :class:`common.media.writer.VideoWriter` takes it.
        time_base: seconds per tick.
        encoding: codec and quality.
        like: source of colour tags and pixel aspect.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    encoding: Encoding = DEFAULT_ENCODING
    like: VideoInfo | None = None

    def of_pieces(self, path: Path) -> PieceForm:
        """The form of the pieces of a video ``path``: its suffix chooses the codec."""
        return replace(self, encoding=replace(self.encoding, codec=self.encoding.encoder(path.suffix)))

    @property
    def suffix(self) -> str:
        """Of the pieces. NUT takes all time stamps, but neither every codec nor VP9's transparency."""
        codec, pix_fmt = self.encoding.codec, self.encoding.pix_fmt or ""
        if codec == "libvpx-vp9" and pix_fmt.startswith("yuva"):
            return ".webm"
        return ".mov" if codec in _NOT_IN_NUT else ".nut"

    def writer(self, path: PathLike) -> VideoWriter:
        """For one piece."""
        return self.open(VideoWriter, path)

    def open(
        self,
        kind: Callable[..., W],
        path: PathLike,
        audio_from: Source | None = None,
        tracks: Tracks = NO_TRACKS,
    ) -> W:
        """A writer of this form."""
        return kind(
            path,
            self.width,
            self.height,
            rate=self.rate,
            time_base=self.time_base,
            encoding=self.encoding,
            audio_from=audio_from,
            like=self.like,
            tracks=tracks,
        )


class _Joiner(VideoWriter):
    """A writer that is given packets instead of pictures.

    Args:
        header: parameter sets with start codes for the file's header; None: those of the encoder.
        options: of :class:`VideoWriter`.
    """

    def __init__(self, *options: Any, header: bytes | None, **more: Any) -> None:
        super().__init__(*options, **more)
        self._header = header

    def _add_stream(self, container: OutputContainer) -> av.VideoStream:
        stream = super()._add_stream(container)
        if self._header is not None:
            stream.codec_context.open()
            stream.codec_context.extradata = self._header
        return stream

    def begin(self, first: int) -> None:
        """``first``: ticks at which the first frame is shown."""
        for track in self._beside:
            track.begin(first * self._time_base)

    def copy(self, packet: Packet) -> None:
        assert packet.pts is not None
        moment = float(packet.pts * self._time_base)
        packet.stream = self._stream
        try:
            self._container.mux(packet)
            for track in self._beside:
                track.advance(moment)
        except FFmpegError as error:
            raise self._failure(error) from error

    def _finish(self) -> None:
        try:
            for track in self._beside:
                track.advance(float("inf"))
        except FFmpegError as error:
            raise self._failure(error) from error


def join(
    path: PathLike,
    pieces: Sequence[Path],
    form: PieceForm,
    stamps: Stamps,
    audio_from: Source | None = None,
    tracks: Tracks = NO_TRACKS,
    copying: Copying | None = None,
) -> None:
    """Write a video of finished pieces; the file appears when it is whole.

    Args:
        path: output.
        pieces: files by :meth:`PieceForm.writer`, in order.
        form: of them (:meth:`PieceForm.of_pieces`).
        stamps: of all frames; the first is not negative.
        audio_from, tracks: what goes beside the pictures, as :class:`VideoWriter` takes it.
        copying: frames that are in no piece; the pieces are those of its other cuts.

    Raises:
        UserError: the disk is full, or a piece is damaged.
    """
    parts, header = _parts(pieces, copying)
    order = np.asarray([frame for part in parts for frame in part.order], np.int64)
    if len(order) != len(stamps):
        raise UserError(
            f"The unfinished pieces of '{path}' are damaged: delete the folder '{pieces[0].parent}'."
        )
    times = stamps.starts
    # A decoder holds back as many pictures as the latest one is late.
    delay = int((np.arange(len(order)) - order).max(initial=0))
    step = int(times[1] - times[0]) if len(times) > 1 else stamps.last_duration
    early = times[0] - step * np.arange(delay, 0, -1)
    decoding = np.concatenate([early, times])[: len(order)]
    lasting = np.append(np.diff(times), stamps.last_duration)
    with form.open(partial(_Joiner, header=header), path, audio_from, tracks) as joiner:
        joiner.begin(int(times[0]))
        for number, packet in enumerate(packet for part in parts for packet in part.packets):
            frame = order[number]
            packet.pts, packet.dts = int(times[frame]), int(decoding[number])
            packet.duration, packet.time_base = int(lasting[frame]), form.time_base
            joiner.copy(packet)


@dataclass(frozen=True)
class _Part:
    """Packets that follow each other.

    Attributes:
        order: of each the number of the frame that it shows, in the whole video.
        packets: gives them once, in the order of decoding.
    """

    order: list[int]
    packets: Iterator[Packet]


def _parts(pieces: Sequence[Path], copying: Copying | None) -> tuple[list[_Part], bytes | None]:
    """What a video is joined from, and the parameter sets of its header, where there are several."""
    if copying is None:
        parts: list[_Part] = []
        for piece in pieces:
            first = sum(len(part.order) for part in parts)
            parts.append(_Part(_decoding_order(piece, first), _packets(piece)))
        return parts, None
    with av.open(str(pieces[0])) as container:
        sets = container.streams.video[0].codec_context.extradata or b""
    waiting, copied, parts = iter(pieces), copying.packets(), []
    for cut in copying.cuts:
        if cut.copied:
            order = copying.coded.order[cut.first : cut.stop].tolist()
            parts.append(_Part(order, islice(copied, len(order))))
        else:
            piece = next(waiting)
            packets = _with_sets(_packets(piece), copying.sets_at_keys(sets))
            parts.append(_Part(_decoding_order(piece, cut.first), packets))
    return parts, copying.header(sets)


def _with_sets(packets: Iterator[Packet], sets: bytes) -> Iterator[Packet]:
    """Packets with parameter sets where decoding can begin."""
    for packet in packets:
        if not (sets and packet.is_keyframe):
            yield packet
            continue
        complete = Packet(sets + bytes(packet))
        complete.is_keyframe = True
        yield complete


def _decoding_order(piece: Path, first: int) -> list[int]:
    """For every packet, in the order of decoding, the number of its frame, from ``first`` on."""
    shown = np.argsort([packet.pts or 0 for packet in _packets(piece)], kind="stable")
    places = np.empty(len(shown), np.int64)
    places[shown] = np.arange(len(shown))
    return (places + first).tolist()


def _packets(piece: Path) -> Iterator[Packet]:
    try:
        with av.open(str(piece)) as container:
            yield from (packet for packet in container.demux(video=0) if packet.size)
    except (FFmpegError, OSError) as error:
        raise UserError(
            f"The unfinished piece '{piece}' cannot be read: delete the folder '{piece.parent}'."
        ) from error
