"""Which frames of an output are copied as they are coded, and in what pieces the others are encoded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from common.media.codecs import OUTPUT_CODECS
from common.media.encoding import Encoding
from common.media.gops.coded import CodedVideo, coded_pictures, read_coded
from common.media.gops.nal import KINDS
from common.media.info import Scan, scan
from common.media.orientation import Orientation
from common.media.source import Source


@dataclass(frozen=True)
class Cut:
    """Frames ``first`` to before ``stop``; copied, or encoded as one piece."""

    first: int
    stop: int
    copied: bool = False


@dataclass(frozen=True)
class Copying:
    """What is copied of a video.

    Attributes:
        source: the video.
        codec: its name.
        coded: how it is coded.
        cuts: all frames of the output, in order.
    """

    source: Source
    codec: str
    coded: CodedVideo
    cuts: tuple[Cut, ...]

    @property
    def frames(self) -> int:
        """How many are copied."""
        return sum(cut.stop - cut.first for cut in self.cuts if cut.copied)

    def fitted(self, encoding: Encoding) -> Encoding:
        """``encoding`` so that its pictures can stand beside the copied ones in one stream."""
        coded = self.coded
        return replace(encoding, profile=coded.profile, level=coded.level, parameter_set=coded.free_number)

    def packets(self) -> Iterator[Packet]:
        """Those of all copied frames, in order; they have no times."""
        runs = tuple((cut.first, cut.stop) for cut in self.cuts if cut.copied)
        sets = self.sets_at_keys(bytes(self.coded.sets))
        for data, key in coded_pictures(self.source, self.codec, runs):
            packet = Packet((sets if key else b"") + data.tobytes())
            packet.is_keyframe = key
            yield packet

    def header(self, encoded: bytes) -> bytes:
        """The parameter sets of the output's header; ``encoded``: those of the encoded pieces."""
        return bytes(self.coded.sets) + encoded

    def sets_at_keys(self, sets: bytes) -> bytes:
        """What comes before a picture at which decoding can begin.

        Nothing in H.264: the header holds the parameter sets of both kinds of pictures, which have numbers of
        their own. In HEVC both have the same numbers, since its encoder gives no others.
        """
        return sets if len(KINDS[self.codec].sets) == 3 else b""


def plan_copying(
    source: Source,
    encoding: Encoding,
    edited: NDArray[np.int64],
    piece_frames: int,
    damaged: Sequence[int] = (),
) -> Copying | str | None:
    """Find the frames that can be copied.

    Args:
        source: the video; all its frames are written, at their times.
        encoding: of the others.
        edited: (E,) frames that change, rising.
        piece_frames: the most frames of an encoded piece.
        damaged: frames that a decoder had to guess, rising. Another decoder, or this one behind other
            pictures, guesses them otherwise: nothing of their groups of pictures is copied.

    Returns:
        What is copied; a sentence that says why nothing can be; or None where nothing is expected to be: the
        output has another codec or pixel format, or every group of pictures is edited.
    """
    found = scan(source)
    info = found.info
    own = OUTPUT_CODECS.get(info.codec)
    if info.codec not in KINDS or own is None or encoding.encoder("") != own.encoder:
        return None
    if encoding.pix_fmt != info.pix_fmt.replace("yuvj", "yuv") or len(edited) >= info.frame_count:
        return None
    why = _obstacle(found)
    if not why:
        coded = read_coded(source, info.codec, found.labels)
        why = coded.obstacle
    if not why:
        count = info.frame_count
        cuts = plan_cuts(count, np.union1d(edited, _of_one_group(coded, damaged)), coded, piece_frames)
        if any(cut.copied for cut in cuts):
            return Copying(source, info.codec, coded, cuts)
        if any(cut.copied for cut in plan_cuts(count, edited, coded, piece_frames)):
            why = "its groups of pictures are damaged"
    if why:
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else info.path
        return f"No frames of '{name}' are copied as they are coded, since {why}: all are encoded anew."
    return None


def _of_one_group(coded: CodedVideo, frames: Sequence[int]) -> NDArray[np.int64]:
    """All frames of the groups of pictures that hold some of ``frames``."""
    groups = np.cumsum(coded.begins[:-1])
    return np.flatnonzero(np.isin(groups, groups[list(frames)]))


def _obstacle(found: Scan) -> str:
    """What of a video's pictures does not go with copies of them, as the end of a sentence."""
    if found.orientation != Orientation():
        return "its pictures are stored turned"
    if found.info.interlaced:
        return "it is interlaced"
    if found.colour_beside:
        return "its container tells colours of which its pictures say nothing"
    if found.by_order:
        return "its packets do not say when they are shown"
    if found.info.hdr is not None and found.info.hdr.dynamic:
        return "it has HDR metadata of each picture"
    return ""


def plan_cuts(
    count: int, edited: NDArray[np.int64], coded: CodedVideo | None, piece_frames: int
) -> tuple[Cut, ...]:
    """Part ``count`` frames into what is copied and pieces of at most ``piece_frames`` that are encoded.

    From each place at which packets may begin as many frames are copied as are not edited and can be parted
    from those after them.

    Args:
        count: frames.
        edited: (E,) those that change, rising.
        coded: how they are coded; None: nothing is copied.
        piece_frames: at most.
    """
    copied: list[Cut] = []
    begins = [] if coded is None else np.flatnonzero(coded.begins).tolist()
    for first in begins:
        if copied and first < copied[-1].stop:
            continue
        assert coded is not None
        place = int(np.searchsorted(edited, first))
        until = int(edited[place]) if place < len(edited) else count
        stops = np.flatnonzero(coded.ends[first + 1 : until + 1])
        if not len(stops):
            continue
        stop = first + 1 + int(stops[-1])
        if copied and copied[-1].stop == first:
            first = copied.pop().first
        copied.append(Cut(first, stop, copied=True))
    return tuple(_with_pieces(count, copied, piece_frames))


def _with_pieces(count: int, copied: Sequence[Cut], piece_frames: int) -> Iterator[Cut]:
    done = 0
    for cut in (*copied, Cut(count, count)):
        for first in range(done, cut.first, piece_frames):
            yield Cut(first, min(first + piece_frames, cut.first))
        for first in range(cut.first, cut.stop, piece_frames):
            yield Cut(first, min(first + piece_frames, cut.stop), copied=True)
        done = cut.stop
