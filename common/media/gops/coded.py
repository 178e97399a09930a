"""Where the coded pictures of a video can be parted, and the pictures themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from common.media.gops.nal import KINDS, NalForm, kind_of, set_number, with_start_codes
from common.media.isolation.isolated import isolated
from common.media.source import Source, open_source, source_name, video_stream

_PROFILES = {
    "Baseline": "baseline",
    "Constrained Baseline": "baseline",
    "Main": "main",
    "High": "high",
    "High 10": "high10",
    "High 4:2:2": "high422",
    "High 4:4:4 Predictive": "high444",
}
"""Profiles of H.264 as the decoder calls them, and as the encoder does."""


@dataclass(frozen=True)
class CodedVideo:
    """How the N frames of a video are coded.

    Attributes:
        order: (N,) frame that each packet shows, in the order of decoding.
        begins: (N + 1,) bool: the packets of a run of frames may begin with frame n: nothing from there on
            refers to anything before.
        ends: (N + 1,) bool: they may end before frame n: as many packets show just the frames up to there.
        sets: (bytes,) uint8, all parameter sets with start codes.
        profile, level: of H.264, as its encoder calls them.
        free_number: one that none of its parameter sets has; for H.264.
        obstacle: why nothing can be copied, as the end of a sentence; "" where something can.
    """

    order: NDArray[np.int64]
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    sets: NDArray[np.uint8]
    profile: str | None = None
    level: str | None = None
    free_number: int = 0
    obstacle: str = ""


class _Obstacle(Exception):
    """Why a video's packets are not copied."""


@isolated
def read_coded(source: Source, codec: str, labels: NDArray[np.int64]) -> CodedVideo:
    """Look at all packets of a video; nothing is decoded.

    Args:
        source: the file.
        codec: "h264" or "hevc".
        labels: (N,) the time stamp of each frame's packet, rising (:class:`common.media.info.Scan`).
    """
    try:
        return _read(source, codec, labels)
    except (_Obstacle, ValueError, FFmpegError) as error:
        why = str(error) if isinstance(error, _Obstacle) else "its packets are damaged"
        none = np.zeros(0, bool)
        return CodedVideo(np.zeros(0, np.int64), none, none, np.zeros(0, np.uint8), obstacle=why)


def _read(source: Source, codec: str, labels: NDArray[np.int64]) -> CodedVideo:
    kinds = KINDS[codec]
    shown: list[int] = []
    fresh: list[bool] = []
    keys = 0
    with open_source(source, "video") as container:
        stream = video_stream(container, source_name(source))
        form = NalForm.of(stream.codec_context.extradata or b"", codec)
        sets = dict.fromkeys(unit for unit in form.sets if kind_of(unit, codec) in kinds.sets)
        name = stream.codec_context.profile or ""
        for packet in _packets(container.demux(stream)):
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                raise _Obstacle("not all of its packets show a picture at a known time")
            units = form.units(bytes(packet))
            own = [unit for unit in units if kind_of(unit, codec) in kinds.sets]
            if not sets:
                sets = dict.fromkeys(own)
            if any(unit not in sets for unit in own):
                raise _Obstacle("its parameter sets change")
            shown.append(packet.pts)
            fresh.append(packet.is_keyframe and any(kind_of(unit, codec) in kinds.idr for unit in units))
            keys += packet.is_keyframe
    order = np.searchsorted(labels, shown)
    if not (len(shown) == len(labels) and np.array_equal(np.sort(shown), labels)):
        raise _Obstacle("not every frame has a packet and a time of its own")
    if {kind_of(unit, codec) for unit in sets} != set(kinds.sets):
        raise _Obstacle("it holds no complete parameter sets")
    begins, ends = _parted(order, np.array(fresh))
    if keys > 1 and begins.sum() == 1:
        raise _Obstacle("its groups of pictures are open, each refers to the one before")
    coded = with_start_codes(sorted(sets, key=lambda unit: kinds.sets.index(kind_of(unit, codec))))
    found = CodedVideo(order.astype(np.int64), begins, ends, np.frombuffer(coded, np.uint8))
    return found if codec == "hevc" else _as_h264(found, list(sets), name)


def _parted(
    order: NDArray[np.int64], fresh: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``begins`` and ``ends`` of the packets' frames; ``fresh``: whether a packet refers to none before."""
    count = len(order)
    # Up to which packet just the first frames are shown.
    whole = np.maximum.accumulate(order) == np.arange(count)
    ends = np.zeros(count + 1, bool)
    ends[1:] = whole
    begins = np.zeros(count + 1, bool)
    begins[:-1] = fresh & np.concatenate([[True], whole[:-1]])
    return begins, ends


def _as_h264(found: CodedVideo, sets: Sequence[bytes], profile: str) -> CodedVideo:
    if profile not in _PROFILES:
        raise _Obstacle(f"its profile, {profile or 'unknown'}, is not encoded here")
    used = {set_number(unit) for unit in sets}
    free = [number for number in range(1, 32) if number not in used]
    levels = {unit[3] for unit in sets if kind_of(unit, "h264") == 7}
    if not free or len(levels) != 1:
        raise _Obstacle("it has parameter sets of several levels")
    return CodedVideo(
        found.order, found.begins, found.ends, found.sets, _PROFILES[profile], str(levels.pop()), free[0]
    )


@isolated
def coded_pictures(
    source: Source, codec: str, runs: tuple[tuple[int, int], ...]
) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """The packets of ``runs`` (first, after the last), rising, as units with start codes.

    Parameter sets and delimiters are left out.

    Yields:
        (bytes,) uint8, and whether decoding can begin there.

    Raises:
        UserError: the file cannot be read.
    """
    kinds = KINDS[codec]
    waiting = [number for first, stop in runs for number in range(first, stop)][::-1]
    with open_source(source, "video") as container:
        stream = video_stream(container, source_name(source))
        form = NalForm.of(stream.codec_context.extradata or b"", codec)
        for number, packet in enumerate(_packets(container.demux(stream))):
            if not waiting:
                return
            if number == waiting[-1]:
                waiting.pop()
                units = form.units(bytes(packet))
                left_out = (*kinds.sets, kinds.delimiter)
                kept = [unit for unit in units if kind_of(unit, codec) not in left_out]
                yield np.frombuffer(with_start_codes(kept), np.uint8), packet.is_keyframe


def _packets(demuxed: Iterator[Packet]) -> Iterator[Packet]:
    return (packet for packet in demuxed if packet.size)
