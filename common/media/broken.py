"""The packets of a video, and which of those that a container marks as broken are left out.

A container marks what it could not read whole. In a transport stream it marks the packet before a gap in the
counters, which is good, both where recordings were joined and where something is missing in the next packet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.media.source import Source, open_source, reason, source_name, video_stream, warn_once

_DAMAGE_IS_TOLD = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
"""Decoders that refuse what is not whole, or mark its picture; those of HEVC, VP8 and VP9 say nothing."""
_MARKED_TOO_EARLY = "mpegts"


def whole_packets(
    container: InputContainer,
    stream: VideoStream,
    name: str,
    broken: Collection[int] | None = None,
    tell: bool = False,
) -> Iterator[Packet]:
    """The packets of ``stream`` in decoding order, without broken ones; they end where the file breaks off.

    Args:
        container, stream, name: the video.
        broken: numbers of the packets that are left out, counted from the file's beginning; None: all that
            are marked as broken.
        tell: warn where the file breaks off (one of the passes over a file does).
    """
    packets, number = container.demux(stream), -1
    while True:
        try:
            packet = next(packets)
        except (StopIteration, EOFError):
            return
        except MemoryError:
            raise
        except FFmpegError as error:
            if tell:
                warn_once(f"The video '{name}' breaks off ({reason(error)}): what comes before is used.")
            return
        if packet.size == 0:
            continue
        number += 1
        if packet.is_corrupt if broken is None else number in broken:
            continue
        yield packet


@dataclass
class PacketMarks:
    """What is remembered of packets that pass by, all of a video from its beginning.

    Attributes:
        marked: number of each packet that is marked as broken -> of the key packet before it.
    """

    marked: dict[int, int] = field(default_factory=dict)

    def watched(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets; those that are marked are remembered."""
        key = 0
        for number, packet in enumerate(packets):
            if packet.is_keyframe:
                key = number
            if packet.is_corrupt:
                self.marked[number] = key
            yield packet


def broken_packets(source: Source, marks: PacketMarks) -> tuple[int, ...]:
    """Those of the marked packets of which a decoder makes no whole picture, rising.

    Where neither the decoder nor the container can tell, all of them. Only the groups of pictures that hold a
    marked packet are decoded, up to it.
    """
    name, good = source_name(source), set[int]()
    last = {key: number for number, key in marks.marked.items()}
    with open_source(source, "video") as container:
        stream = video_stream(container, name)
        told = stream.codec_context.codec.canonical_name in _DAMAGE_IS_TOLD
        if not told and container.format.name != _MARKED_TOO_EARLY:
            return tuple(marks.marked)
        decoder, until = _decoder(stream), -1
        for number, packet in enumerate(whole_packets(container, stream, name, ())):
            if number in last:
                decoder, until = _decoder(stream), last[number]
            if number > until:
                continue
            packet.opaque = number
            good |= _whole(decoder, packet)
            if number == until:
                good |= _whole(decoder, None)
    return tuple(number for number in marks.marked if number not in good)


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """One that has seen nothing yet, and says which packet a picture is made of."""
    own = stream.codec_context
    decoder = cast(VideoCodecContext, av.CodecContext.create(own.codec, "r"))
    decoder.extradata, decoder.options = own.extradata, own.options
    decoder.copy_opaque = True
    return decoder


def _whole(decoder: VideoCodecContext, packet: Packet | None) -> set[int]:
    """Numbers of the packets whose pictures come out undamaged."""
    try:
        pictures: list[VideoFrame] = decoder.decode(packet)
    except MemoryError:
        raise
    except FFmpegError:
        return set()
    return {cast(int, picture.opaque) for picture in pictures if not picture.is_corrupt}
