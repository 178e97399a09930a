"""What a file holds beside its pictures and one sound, carried over into an output as it is.

Further sound tracks, subtitles, data, attached files, chapters, the time code and titles. The time code of
QuickTime is a property here, and not a track: its writers make a track of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream

from common.media.audio import audio_stream
from common.media.info import VideoInfo
from common.media.isolation.isolated import isolated
from common.media.matroska import TrackNote
from common.media.packets import WaitingPackets, decoded_first
from common.media.soundtrack import FORMATS, SoundPlace, Soundtrack
from common.media.source import Source, moving_streams, open_source, source_name

if TYPE_CHECKING:
    from av.container.core import Chapter

# What writers say of themselves and of the file's form; and the time code, which is the picture stream's.
_OWN_TAGS = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode"}
)
_STREAM_TAGS = ("language", "title", "handler_name", "timecode")
_KINDS = {"subtitle": "a subtitle track", "data": "a data track", "attachment": "an attached file"}
_PICTURES = "an attached picture"


@dataclass(frozen=True)
class FurtherTracks:
    """What is carried over.

    Attributes:
        sounds: numbers of sound tracks, counted from 1.
        streams: indices of streams whose packets are copied.
        lost: what the output cannot hold, a noun each.
        tags: titles and the like of the file.
        timecode: of the first frame; None where there is none.
        chapters: whether they are carried over.
        end: seconds after the first frame at which what is carried over ends; None: as in the source.
    """

    sounds: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()
    lost: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    timecode: str | None = None
    chapters: bool = True
    end: Fraction | None = None

    @property
    def untimed(self) -> FurtherTracks:
        """What of it holds at whatever times the frames are shown."""
        return replace(self, sounds=(), streams=(), chapters=False)

    def warnings(self, suffix: str) -> tuple[str, ...]:
        """Sentences for the user."""
        if not self.lost:
            return ()
        return (
            f"A file that ends in {suffix} cannot hold {', '.join(self.lost)} of the video: left out; .mkv "
            "holds most kinds.",
        )


@isolated
def further_tracks(video: Source, suffix: str) -> FurtherTracks:
    """What of ``video`` goes into a file that ends in ``suffix``; its default sound is being replaced.

    Raises:
        UserError: the file cannot be opened.
    """
    sounds, streams, lost = [], [], []
    with open_source(video, "video") as container:
        replaced = audio_stream(container, source_name(video)) if container.streams.audio else None
        pictures = moving_streams(container)
        main = pictures[0] if pictures else None
        timecode = _tag(container.metadata, "timecode")
        for stream in container.streams:
            timecode = timecode or _tag(stream.metadata, "timecode")
            if stream in (replaced, main):
                continue
            if stream.type == "audio" and stream.codec_context is not None:
                sounds.append(container.streams.audio.index(stream) + 1)
            elif stream.type == "data" and _is_made_anew(stream, bool(container.chapters())):
                continue
            elif _holds(stream, suffix):
                streams.append(stream.index)
            else:
                lost.append(_noun(stream))
        if container.chapters() and suffix == ".webm":
            lost.append("chapters")
        tags = tuple((k, v) for k, v in container.metadata.items() if k.lower() not in _OWN_TAGS)
    return FurtherTracks(tuple(sounds), tuple(streams), tuple(lost), tags, timecode)


def _tag(tags: dict[str, str], name: str) -> str | None:
    """A property by its name; Matroska writes names in capital letters."""
    return next((value for key, value in tags.items() if key.lower() == name), None)


def _noun(stream: Stream) -> str:
    codec = stream.codec_context
    if stream.type == "video":
        return _PICTURES if stream.disposition & Disposition.attached_pic else "a second video track"
    name = f" ({codec.name})" if codec is not None else ""
    return _KINDS.get(stream.type, f"a track of kind '{stream.type}'") + name


def _is_made_anew(stream: Stream, chapters: bool) -> bool:
    """Tracks of time codes and of chapters' names: writers make them of what they are told."""
    return _tag(stream.metadata, "timecode") is not None or (chapters and stream.name == "bin_data")


def _holds(stream: Stream, suffix: str) -> bool:
    """Whether a container takes a stream: its header is written into memory, which tells."""
    if stream.type == "video" and not stream.disposition & Disposition.attached_pic:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as trial:
            _added(trial, stream)
            trial.start_encoding()
    except (FFmpegError, ValueError, KeyError):
        return False
    return True


def _added(container: OutputContainer, stream: Stream) -> Stream:
    added = container.add_stream_from_template(stream, opaque=True)
    for name in _STREAM_TAGS:
        if name in stream.metadata:
            added.metadata[name] = stream.metadata[name]
    added.disposition = stream.disposition
    if stream.type == "attachment":
        added.metadata.update(stream.metadata)
    return added


class FurtherTracksWriter:
    """Feeds an output with the further tracks of a video, interleaved with what else is written.

    Args:
        video: the source.
        info: of it.
        plan: of :func:`further_tracks`.
        container: the output, before its header is written; its first stream has the pictures.
        stack: keeps the source open until the output is closed.
    """

    def __init__(
        self,
        video: Source,
        info: VideoInfo,
        plan: FurtherTracks,
        container: OutputContainer,
        stack: ExitStack,
    ) -> None:
        self._container = container
        self._info = info
        self._input: InputContainer = stack.enter_context(open_source(video, "video"))
        self._end = plan.end
        place = SoundPlace(end=plan.end)
        self._sounds = [
            Soundtrack(video, container, stack, number, default=False, place=place) for number in plan.sounds
        ]
        self._streams = {index: _added(container, self._input.streams[index]) for index in plan.streams}
        container.metadata.update(dict(plan.tags))
        self._name_pictures(plan.timecode)
        self._chapters = self._input.chapters() if plan.chapters else []
        self._packets: WaitingPackets | None = None  # until begin()

    def _name_pictures(self, timecode: str | None) -> None:
        source = moving_streams(self._input)[0]
        target = self._container.streams.video[0]
        for name in _STREAM_TAGS:
            if name in source.metadata:
                target.metadata[name] = source.metadata[name]
        if timecode is not None:
            target.metadata["timecode"] = timecode
            if self._container.format.name == "matroska":
                self._container.metadata["timecode"] = timecode

    @property
    def notes(self) -> dict[int, TrackNote]:
        """As of :attr:`common.media.soundtrack.Soundtrack.notes`."""
        return {number: note for sound in self._sounds for number, note in sound.notes.items()}

    def begin(self, first_frame: Fraction) -> None:
        """Set the output's time (seconds) on which the first frame falls; chapters are moved with it."""
        begins = Fraction(self._info.start).limit_denominator(1_000_000_000)
        shift = first_frame - begins
        for sound in self._sounds:
            sound.begin(first_frame)
        last = None if self._end is None else first_frame + self._end
        self._packets = WaitingPackets(self._copied(shift, last), decoded_first, self._container)
        chapters = [self._moved(chapter, shift, last) for chapter in self._chapters]
        if kept := [chapter for chapter in chapters if chapter["start"] < chapter["end"]]:
            self._container.set_chapters(kept)

    @staticmethod
    def _moved(chapter: Chapter, shift: Fraction, last: Fraction | None) -> Chapter:
        base = chapter["time_base"] or Fraction(1, 1000)
        start, end = (max(0, moment + round(shift / base)) for moment in (chapter["start"], chapter["end"]))
        return {**chapter, "start": start, "end": end if last is None else min(end, round(last / base))}

    def _copied(self, shift: Fraction, last: Fraction | None) -> Iterator[Packet]:
        sources = [self._input.streams[index] for index in self._streams]
        if not sources:
            return
        for packet in self._input.demux(sources):
            if packet.size == 0:
                continue
            target = self._streams[packet.stream.index]
            ticks = round(shift / packet.time_base)
            if packet.pts is not None:
                packet.pts = max(0, packet.pts + ticks)
            if packet.dts is not None:
                packet.dts = max(0, packet.dts + ticks)
            if last is not None and packet.pts is not None and packet.pts * packet.time_base >= last:
                continue
            packet.stream = target
            yield packet

    def advance(self, until: float) -> None:
        """Hand over the packets that begin before ``until`` (seconds on the output's clock)."""
        for sound in self._sounds:
            sound.advance(until)
        if self._packets is not None:
            self._packets.advance(until)
