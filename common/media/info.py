"""What a video file holds, found by reading its packets once (four pictures at most are decoded)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.errors import UserError
from common.media.broken import PacketMarks, broken_packets, whole_packets
from common.media.colour import ColourTags
from common.media.fields import field_order
from common.media.grain import grain_of
from common.media.hdr import HdrMetadata
from common.media.isolation.isolated import isolated
from common.media.isolation.limits import DecodingLimits, limits
from common.media.orientation import Orientation
from common.media.samples import chroma_is_placed
from common.media.source import (
    Source,
    decoder_of,
    moving_streams,
    open_source,
    reason,
    source_name,
    video_stream,
    warn_once,
)
from common.media.stamps import increasing, measured_rate, unwrapped
from common.media.video_info import VideoInfo

_RESET_SECONDS = 1
"""A clock that goes back by more than this has started again; reordered frames go back by less."""
_MANY = 300
"""Packets: decoders hold back tens of pictures at most; a stream that gives none in this many never will."""
_Dates = tuple[np.ndarray, int, bool, np.ndarray]
"""Times of showing, duration of the last frame, whether they hold by order only, and labels, in ticks."""


@dataclass(frozen=True)
class Scan:
    """All that one pass over the packets tells.

    Attributes:
        info: the facts for users.
        stamps: (frames,) int64 in ``info.time_base``, in the order of showing; they increase.
        labels: (frames,) int64, the times with which the decoder labels these pictures: the same, but where
            a file repeats a time stamp.
        last_duration: ticks that the last frame is shown for.
        by_order: packets carry no true times of showing (AVI, raw streams): the k-th picture that the
            decoder gives belongs to ``stamps[k]``, whatever it is labelled with.
        orientation, stored_size: how the decoded pictures lie and their (width, height).
        colour_beside: whether colour tags stand in the container alone, and not in the pictures.
        broken: numbers of the packets that are left out, counted from the beginning.
    """

    info: VideoInfo
    stamps: np.ndarray
    labels: np.ndarray
    last_duration: int
    by_order: bool
    orientation: Orientation
    stored_size: tuple[int, int]
    colour_beside: bool = False
    broken: tuple[int, ...] = ()


def scan(source: Source) -> Scan:
    """Count and date the frames of a video; of a file that has not changed what is known is given again.

    A file that was cut short but still opens is taken as far as its packets are whole, as FFmpeg does; the
    loss is logged as a warning.

    Raises:
        UserError: missing, no media, no video stream, or not one frame that can be decoded.
    """
    if not isinstance(source, (str, os.PathLike)):
        return read_scan(source)
    try:
        stat = Path(source).stat()
    except (OSError, ValueError):
        return read_scan(source)  # which says what is wrong
    version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return _known_scan(os.fspath(source), version, limits())


@lru_cache(maxsize=32)
def _known_scan(name: str, version: tuple[int, ...], bounds: DecodingLimits) -> Scan:
    return read_scan(name)


@isolated
def read_scan(source: Source) -> Scan:
    """:func:`scan` without what is known already."""
    name = source_name(source)
    with open_source(source, "video") as container:
        stream = video_stream(container, name)
        time_base, rate = _tick(stream), _rate(stream)
        clock_start = Fraction(max(container.start_time or 0, 0), av.time_base) // time_base
        marks = PacketMarks()
        packets = marks.watched(whole_packets(container, stream, name, (), tell=True))
        found = _stamps(packets, stream, rate)
    found, broken = _without_broken(source, found, marks, tell=True)
    if found is not None:
        lasting = float((int(found[0][-1] - found[0][0]) + found[1]) * time_base)
        limits().require_seconds(lasting, "video", name)
    with open_source(source, "video") as container:
        stream = video_stream(container, name)
        of_container = ColourTags.of(stream.codec_context)
        first = _first_picture(container, stream, name)
        orientation = Orientation.of(first)
        of_stream = ColourTags.of(stream.codec_context)
        colour = of_stream.completed(of_container).completed(ColourTags.of(first))
        pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        has_audio = bool(container.streams.audio)
        codec, profile = stream.codec_context.codec.canonical_name, stream.codec_context.profile
        order = field_order(stream.codec_context, first)
        # Without true times (found[2]) nothing tells where a later picture lies.
        later = found[3] if found is not None and not found[2] else np.zeros(0, np.int64)
        pictures = [first, *_later_pictures(container, stream, name, later)]
        # A video may have fewer key pictures than quarters.
        grain = max(map(grain_of, {picture.pts: picture for picture in pictures}.values()))
    if found is None:
        raise UserError(f"The video '{name}' holds no picture that can be shown: give another file.")
    stamps, last_duration, by_order, labels = found
    rate = measured_rate(rate, stamps, time_base)
    width, height = first.width, first.height
    if orientation.transpose:
        width, height, pixel_aspect = height, width, 1 / pixel_aspect
    info = VideoInfo(
        path=name,
        width=width,
        height=height,
        frame_count=len(stamps),
        time_base=time_base,
        average_rate=rate,
        duration=lasting,
        has_audio=has_audio,
        rotation=orientation.degrees,
        start=float(int(stamps[0]) * time_base),
        pixel_aspect=pixel_aspect,
        colour=colour,
        pix_fmt=first.format.name,
        chroma_left=chroma_is_placed(first),
        clock_start=min(clock_start, int(stamps[0])) if stamps[0] > 0 else 0,
        codec=codec,
        profile=profile,
        field_order=order,
        hdr=HdrMetadata.of(first),
        grain=grain,
    )
    size, beside = (first.width, first.height), colour != of_stream
    return Scan(info, stamps, labels, last_duration, by_order, orientation, size, beside, broken)


def probe(source: Source) -> VideoInfo:
    """The facts of a video: see :class:`VideoInfo`; errors as in :func:`scan`."""
    return scan(source).info


def _first_picture(container: InputContainer, stream: VideoStream, name: str) -> VideoFrame:
    last_error = "no picture comes out"
    decoder = decoder_of(stream)
    for packet in [*_some(whole_packets(container, stream, name)), None]:
        try:
            for picture in decoder.decode(packet):
                return picture
        except MemoryError:
            raise
        except FFmpegError as error:
            last_error = reason(error)
    raise UserError(f"The video '{name}' cannot be decoded ({last_error}): it is damaged or has no pictures.")


def _later_pictures(
    container: InputContainer, stream: VideoStream, name: str, labels: np.ndarray
) -> Iterator[VideoFrame]:
    """The key pictures before the quarters of a video, if they can be reached: a title is not the film."""
    for quarter in (1, 2, 3) if len(labels) else ():
        try:
            container.seek(int(labels[len(labels) * quarter // 4]), stream=stream)
            yield _first_picture(container, stream, name)
        except (FFmpegError, UserError):
            continue


def _some(packets: Iterator[Packet]) -> Iterator[Packet]:
    return itertools.islice(packets, _MANY)


def _tick(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1000)


def _rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _is_shown(packet: Packet, codec: str) -> bool:
    if packet.is_discard:  # before an edit list's beginning
        return False
    # VP8 keeps its hidden reference frames in packets of their own: bit 4 of the header says shown.
    return codec != "vp8" or bool(bytes(packet)[0] & 0x10)


def _without_broken(
    source: Source, found: _Dates | None, marks: PacketMarks, most: int | None = None, tell: bool = False
) -> tuple[_Dates | None, tuple[int, ...]]:
    """The dates of pictures without those of broken packets, and the numbers of these packets.

    Args:
        source: the video.
        found: the dates with them.
        marks: what was remembered of the packets meanwhile.
        most: of them, from the beginning; None: all.
        tell: warn of what is missing.
    """
    broken = broken_packets(source, marks) if marks.marked else ()
    if not broken:
        return found, ()
    name = source_name(source)
    if tell:
        warn_once(
            f"The video '{name}' has packets that are marked as broken, as where it is cut short, damaged or "
            "joined: they are left out."
        )
    with open_source(source, "video") as container:
        stream = video_stream(container, name)
        rest = whole_packets(container, stream, name, broken)
        return _stamps(itertools.islice(rest, most), stream, _rate(stream)), broken


def _stamps(packets: Iterator[Packet], stream: VideoStream, rate: Fraction) -> _Dates | None:
    """When the pictures of packets are shown; None where there is none."""
    codec = stream.codec_context.name
    per_second = round(1 / _tick(stream))
    step = max(1, round(1 / rate / _tick(stream)))
    pts: list[int | None] = []
    dts: list[int | None] = []
    durations: list[int] = []
    first_key: int | None = None
    seen_key = False
    for packet in packets:
        if packet.is_keyframe and not seen_key:
            seen_key, first_key = True, packet.pts
        # Nothing before the first key frame can be decoded, nor what leads into it.
        leads = first_key is not None and packet.pts is not None and packet.pts < first_key
        if not seen_key or leads or not _is_shown(packet, codec):
            continue
        pts.append(packet.pts)
        dts.append(packet.dts)
        durations.append(packet.duration or 0)
    if not pts:
        return None
    known = [value for value in pts if value is not None]
    reorders = bool(stream.codec_context.has_b_frames)
    by_order = len(known) < len(pts) or (reorders and known == sorted(known))
    if len(known) == len(pts):
        times = np.asarray(known, dtype=np.int64)
    else:
        decoded = [value for value in dts if value is not None]
        times = (
            np.asarray(decoded, dtype=np.int64)
            if len(decoded) == len(dts)
            else np.arange(len(pts), dtype=np.int64) * step
        )
    # Decoding times, where there are any, only go back where another clock begins.
    order = [value for value in dts if value is not None]
    shifts = unwrapped(
        order if len(order) == len(times) else times.tolist(), step, _RESET_SECONDS * per_second
    )
    if shifts.any():
        times, by_order = times + shifts, True
    last = int(np.argmax(times))
    lasting = durations[last] or step
    if stream.duration and stream.start_time is not None and stream.frames == len(times) and not by_order:
        # MP4 gives packets the distance to the next one in decoding order; the track's end is exact.
        lasting = max(1, stream.start_time + stream.duration - int(times[last]))
    labels = np.sort(times)
    return increasing(labels, step), lasting, by_order, labels


@isolated
def first_picture_time(source: Source) -> float | None:
    """Seconds of the first video frame on the file's clock; None for a file without moving pictures."""
    with open_source(source, "file") as container:
        streams = moving_streams(container)
        if not streams:
            return None
        tick, marks = _tick(streams[0]), PacketMarks()
        # The first few seconds are enough: pictures are reordered by a handful of frames only.
        packets = _some(marks.watched(whole_packets(container, streams[0], source_name(source), ())))
        found = _stamps(packets, streams[0], _rate(streams[0]))
    found, _ = _without_broken(source, found, marks, _MANY)
    return None if found is None else float(int(found[0][0]) * tick)
