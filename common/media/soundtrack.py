"""The sound of one file as the audio track of another, while that one is being written."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition

from common.errors import UserError
from common.media.audio import audio_blocks, audio_origin, audio_stream
from common.media.isolation.isolated import isolated
from common.media.matroska import PLACEHOLDER, TrackNote
from common.media.packets import WaitingPackets, shown_first
from common.media.source import Source, open_source, source_name

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""FFmpeg's name of the container for the suffixes that outputs may have."""
_MOV = ("mp4", "mov", "m4v", "ismv", "3gp")
# Codecs that players expect in the container. FFmpeg would also put FLAC and PCM into MP4, where
# browsers and phones stay silent; Matroska takes every codec that it has a name for.
_MOV_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
_COPIED = {
    **{name: _MOV_CODECS for name in _MOV},
    "mov": (_MOV_CODECS - {"opus"})
    | {f"pcm_{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64") for order in ("le", "be")},
    "webm": frozenset({"opus", "vorbis"}),
}
_ENCODERS = {"webm": "libopus"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_MP3_LEAST_RATE = 16000
"""Samples per second of the slowest MP3 that MP4 has a name for (MPEG-2)."""
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)
_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
"""Arrangements of loudspeakers that both encoders take; others are mixed to two."""
_BITS_PER_CHANNEL = 96_000
# What decoders need before the first sample that is heard; the container marks it as not to be heard. Players
# of Matroska look for that mark where a codec does not bring its own.
_PREROLL_SECONDS = 0.1
_NEED_A_DELAY = ("aac",)


def takes_sound(stream: AudioStream, container: OutputContainer) -> bool:
    """Whether a container takes the packets of a stream as they are, and players expect them there."""
    form, codec = container.format.name, stream.codec_context.name
    plain = codec.removesuffix("float").removeprefix("lib")
    if plain == "mp3" and form in _MOV and stream.codec_context.sample_rate < _MP3_LEAST_RATE:
        return False
    listed = _COPIED.get(form)
    return plain in listed if listed is not None else codec in container.supported_codecs


@isolated
def sound_warnings(source: Source, suffix: str, track: int | None = None) -> tuple[str, ...]:
    """What happens to the sound of ``source`` in a file that ends in ``suffix``, where it is not copied.

    Raises:
        UserError: there is no such track.
    """
    with open_source(source, "audio") as container:
        stream = audio_stream(container, source_name(source), track)
        with av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as trial:
            if takes_sound(stream, trial):
                return ()
        encoder = "Opus" if FORMATS[suffix] == "webm" else "AAC"
        return (
            f"The sound is encoded as {encoder}, {_BITS_PER_CHANNEL // 1000} kbit/s per channel: a file that "
            f"ends in {suffix} does not take {stream.codec_context.name}; .mkv keeps it as given.",
        )


@dataclass(frozen=True)
class SoundPlace:
    """Where a sound lies on the clock of the pictures, in seconds after the first frame.

    Attributes:
        zero: of the sound's time zero; where that comes before 0, its beginning is not heard.
        begin: what comes before is not heard.
        end: what comes after is not heard; None: nothing.
    """

    zero: Fraction = Fraction(0)
    begin: Fraction = Fraction(0)
    end: Fraction | None = None


AT_START = SoundPlace()


class Soundtrack:
    """Feeds an output container with a file's first audio stream, interleaved with what else is written.

    The packets go over untouched where the container takes the codec, else they are encoded as AAC (Opus
    in WebM). Time zero of the sound (see :mod:`common.media.audio`) falls on the output's first frame; the
    whole length is kept, however long the pictures are.

    Args:
        source: the file with the sound.
        container: the output, before its header is written.
        stack: keeps the source open until the output is closed.
        track: number of the sound track, from 1; None: the one that players choose.
        default: whether players shall choose it.
        place: where it lies; packets are kept or left out as a whole.
    """

    def __init__(
        self,
        source: Source,
        container: OutputContainer,
        stack: ExitStack,
        track: int | None = None,
        default: bool = True,
        place: SoundPlace = AT_START,
    ) -> None:
        self._source, self._track, self._place = source, track, place
        self._origin = audio_origin(source, track)
        self._format = container.format.name
        name = source_name(source)
        self._input = stack.enter_context(open_source(source, "audio"))
        self._stream = audio_stream(self._input, name, track)
        self.copied = takes_sound(self._stream, container)
        if self.copied:
            self._output: AudioStream = container.add_stream_from_template(self._stream, opaque=True)
        else:
            self._output = self._encoder(container)
        self._output.disposition = Disposition.default if default else Disposition(0)
        for tag in ("language", "title"):
            if tag in self._stream.metadata:
                self._output.metadata[tag] = self._stream.metadata[tag]
        self._container = container
        self._packets: WaitingPackets | None = None  # until begin()
        self.notes: dict[int, TrackNote] = {}
        """What a finished Matroska file has to say of this track besides, by its number."""

    def _encoder(self, container: OutputContainer) -> AudioStream:
        encoder = _ENCODERS.get(self._format, "aac")
        given = self._stream.codec_context.sample_rate
        rates = _OPUS_RATES if encoder == "libopus" else _AAC_RATES
        rate = given if given in rates else 48000
        given_layout = self._stream.codec_context.layout
        usual = "stereo" if given_layout.nb_channels > 1 else "mono"
        layout = given_layout.name if given_layout.name in _LAYOUTS else usual
        try:
            stream = container.add_stream(
                encoder,
                rate=rate,
                layout=layout,
                bit_rate=_BITS_PER_CHANNEL * AudioLayout(layout).nb_channels,
            )
        except ValueError as error:
            raise UserError(
                f"A {self._format} file cannot hold the sound of '{source_name(self._source)}': choose .mkv."
            ) from error
        return cast(AudioStream, stream)

    def begin(self, first_frame: Fraction) -> None:
        """Set the output's time (seconds) on which the first frame falls, and the sound with it."""
        if not self.copied:
            packets = self._encode(first_frame)
        elif self._format == "matroska" and self._stream.codec_context.name in _NEED_A_DELAY:
            packets = self._delayed(first_frame)
        else:
            packets = self._copy(first_frame)
        self._packets = WaitingPackets(packets, shown_first, self._container)

    def advance(self, until: float) -> None:
        """Hand over the packets that begin before ``until`` (seconds on the output's clock)."""
        if self._packets is None:
            raise RuntimeError("begin() comes first")
        self._packets.advance(until)

    @property
    def _base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, self._stream.codec_context.sample_rate)

    def _delayed(self, first_frame: Fraction) -> Iterator[Packet]:
        """The packets for Matroska, with those that a decoder needs before what is heard.

        Their times are moved so that none is negative; the file's header says by how much (of a Matroska
        source the writer knows that already).
        """
        if self._input.format.name.startswith("matroska"):
            return self._copy(first_frame, self._own_delay())
        packets = self._copy(first_frame, _PREROLL_SECONDS)
        first = next(packets, None)
        if first is None:
            return packets
        heard = round(self._heard(first_frame) / self._base)
        ticks = 0 if first.pts is None else max(0, heard - first.pts)
        if ticks:
            title = self._output.metadata.get("title", "")
            self._output.metadata["title"] = PLACEHOLDER + title
            self.notes[self._output.index] = TrackNote(title, delay=ticks * self._base)
        return _moved(itertools.chain([first], packets), ticks)

    def _heard(self, first_frame: Fraction) -> Fraction:
        """Seconds on the output's clock of the first sample that is heard."""
        return first_frame + max(self._place.begin, self._place.zero, Fraction(0))

    def _own_delay(self) -> float:
        """Seconds that a source's packets begin before its clock does."""
        with open_source(self._source, "audio") as container:
            stream = audio_stream(container, source_name(self._source), self._track)
            first = next(container.demux(stream), None)
            return 0.0 if first is None or first.pts is None else max(0.0, -float(first.pts * self._base))

    def _copy(self, first_frame: Fraction, before: float | None = None) -> Iterator[Packet]:
        """The packets at the output's times; those of so many seconds ``before`` what is heard, too."""
        base = self._base
        place = self._place
        shift = round((first_frame + place.zero - Fraction(self._origin)) / base)
        # Matroska says "not to be heard" by a delay of the whole track.
        marks_delay = self._format in _MOV or self._stream.codec_context.name in ("opus", "libopus", "vorbis")
        floor, hidden = -round(_PREROLL_SECONDS / base) if marks_delay else 0, 0
        if before is not None:
            hidden = round(self._heard(first_frame) / base)
            floor = hidden - round(before / base)
        elif place.begin:
            floor = round((first_frame + place.begin) / base)
        end = None if place.end is None else round((first_frame + place.end) / base)
        for packet in self._input.demux(self._stream):
            if packet.size == 0:
                continue
            if packet.pts is not None:
                packet.pts += shift
            if packet.dts is not None:
                packet.dts += shift
            left_out = packet.is_discard and packet.pts is not None and packet.pts >= hidden
            if left_out or (packet.pts is not None and packet.pts < floor):
                continue
            if packet.pts is not None and end is not None and packet.pts >= end:
                break
            packet.stream = self._output
            yield packet

    def _encode(self, first_frame: Fraction) -> Iterator[Packet]:
        context = self._output.codec_context
        rate, layout = context.sample_rate, context.layout.name
        place = self._place
        heard = max(place.begin, place.zero, Fraction(0))
        first = round((heard - place.zero) * rate)
        last = None if place.end is None else round((place.end - place.zero) * rate)
        position = round((first_frame + heard) * rate)
        for block in _between(audio_blocks(self._source, rate, layout, "fltp", self._track), first, last):
            frame = AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = position
            position += block.shape[1]
            yield from self._output.encode(frame)
        yield from self._output.encode(None)


def _moved(packets: Iterator[Packet], ticks: int) -> Iterator[Packet]:
    """Packets so many ticks later."""
    for packet in packets:
        if packet.pts is not None:
            packet.pts += ticks
        if packet.dts is not None:
            packet.dts += ticks
        yield packet


def _between(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """The samples from ``first`` to before ``last`` of blocks (channels, samples)."""
    position = 0
    for block in blocks:
        end = len(block[0]) if last is None else last - position
        part = block[:, max(0, first - position) : max(0, end)]
        position += block.shape[1]
        if part.shape[1]:
            yield np.ascontiguousarray(part)
        if last is not None and position >= last:
            return
