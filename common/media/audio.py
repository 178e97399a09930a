"""Sound files and the sound of videos, as samples.

The zero of time is the first video frame where a file has pictures, else its first sample. So sample
``t * sample_rate`` belongs to the frame at ``Frame.time == t`` even where a file's streams start apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from common.errors import UserError
from common.files import PathLike, atomic_path
from common.media.info import first_picture_time
from common.media.isolation.isolated import isolated
from common.media.isolation.limits import limits
from common.media.source import Source, open_source, source_name, warn_once

SAMPLE_RATE = 16000
"""Samples per second of speech, wherever it is analysed or stored."""

# Streams that were recorded live leave holes where packets were lost. Smaller steps are rounding.
_HOLE_SECONDS = 0.04


def audio_stream(container: InputContainer, name: str, track: int | None = None) -> AudioStream:
    """The audio stream that players choose: the first one marked as default, or else the first.

    Args:
        container: opened for reading.
        name: of it in messages.
        track: number of the audio stream, from 1, instead.

    Raises:
        UserError: there is none, none of that number, or its codec has no decoder here.
    """
    if not container.streams.audio:
        raise UserError(f"The file '{name}' has no audio stream: give a file with sound.")
    streams = container.streams.audio
    if track is not None and not 1 <= track <= len(streams):
        raise UserError(f"The file '{name}' has {len(streams)} audio tracks: there is no track {track}.")
    usual = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    stream = usual if track is None else streams[track - 1]
    if stream.codec_context is None:
        raise UserError(f"The sound of '{name}' has a codec that cannot be decoded here: convert it to WAV.")
    return stream


@isolated
def audio_origin(source: Source, track: int | None = None) -> float:
    """Seconds on the file's clock of what this module calls time zero.

    Raises:
        UserError: missing, no media, no audio stream, or no sample in it.
    """
    pictures = first_picture_time(source)
    if pictures is not None:
        return pictures
    for frame in _decoded(source, track):
        return _start(frame, 0.0)
    raise UserError(f"The audio '{source_name(source)}' has length zero: give a file with sound in it.")


@isolated
def audio_blocks(
    source: Source, rate: int, layout: str, sample_format: str, track: int | None = None
) -> Iterator[np.ndarray]:
    """The audio stream of a file (:func:`audio_stream`) from time zero on, resampled, block by block.

    A stream that starts later or has holes is filled with silence, one that starts before time zero is cut.

    Args:
        source: path or open binary stream.
        rate: samples per second.
        layout: channel layout, e.g. ``"mono"``.
        sample_format: a planar FFmpeg format: ``"s16p"`` or ``"fltp"``.
        track: number of the audio stream, from 1; None: the one that players choose.

    Yields:
        (channels, samples) arrays.

    Raises:
        UserError: missing, no media, no audio stream, or samples that are no numbers.
    """
    origin: float | None = first_picture_time(source)
    resampler: AudioResampler | None = None
    settings: tuple[str, str, int] | None = None
    position = 0  # of the next sample, from time zero
    expected = 0.0  # where the next frame should start on the file's clock
    for frame in _decoded(source, track):
        begins = _start(frame, expected)
        origin = begins if origin is None else origin
        fresh = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or fresh != settings or begins - expected > _HOLE_SECONDS:
            if resampler is not None:
                for block in _arrays(resampler, None):
                    yield from _from_zero(block, position)
                    position += block.shape[1]
            hole = round((begins - origin) * rate) - position
            limits().require_seconds((position + max(hole, 0)) / rate, "sound", source_name(source))
            if resampler is None and hole < 0:
                position = hole
            elif hole > 0:
                channels = AudioFrame(format=sample_format, layout=layout, samples=1).to_ndarray().shape[0]
                dtype = np.int16 if sample_format == "s16p" else np.float32
                yield np.zeros((channels, hole), dtype=dtype)
                position += hole
            resampler = AudioResampler(format=sample_format, layout=layout, rate=rate)
            settings = fresh
        for block in _arrays(resampler, frame):
            yield from _from_zero(block, position)
            position += block.shape[1]
        expected = begins + frame.samples / frame.sample_rate
        limits().require_seconds(position / rate, "sound", source_name(source))
    if resampler is not None:
        for block in _arrays(resampler, None):
            yield from _from_zero(block, position)
            position += block.shape[1]


def _from_zero(block: np.ndarray, position: int) -> Iterator[np.ndarray]:
    """The part of a block that lies at or after time zero, if any."""
    if position < 0:
        block = block[:, -position:]
    if block.shape[1]:
        yield block


def _arrays(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[np.ndarray]:
    for piece in resampler.resample(frame):
        yield piece.to_ndarray()


def _start(frame: AudioFrame, otherwise: float) -> float:
    if frame.pts is None or frame.time_base is None:
        return otherwise
    return float(frame.pts * frame.time_base)


def _decoded(source: Source, track: int | None) -> Iterator[AudioFrame]:
    name = source_name(source)
    with open_source(source, "audio") as container:
        stream = audio_stream(container, name, track)
        if not container.streams.video and container.duration is not None:
            limits().require_seconds(container.duration / av.time_base, "sound", name)
        damaged = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, EOFError):
                break
            except MemoryError:
                raise
            except FFmpegError:
                warn_once(f"The sound of '{name}' breaks off: what comes before is used.")
                break
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except EOFError:
                break
            except MemoryError:
                raise
            except FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                _require_numbers(frame, name)
                yield frame
        if damaged:
            warn_once(f"The sound of '{name}' is damaged: {damaged} packets are replaced by silence.")


def _require_numbers(frame: AudioFrame, name: str) -> None:
    """Refuse samples that are no numbers: encoders stop at them, and resamplers turn them into clicks."""
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        at = _start(frame, 0.0)
        raise UserError(
            f"The sound of '{name}' holds samples that are no numbers (NaN or infinity), near {at:.2f} s: "
            "export it again."
        )


def load_samples(source: Source, sample_rate: int = SAMPLE_RATE, track: int | None = None) -> np.ndarray:
    """A file's sound as (samples,) int16, mixed to one channel; half of what :func:`load_audio` takes.

    Arguments and errors are those of :func:`load_audio`.
    """
    # 16 bits on purpose: libswresample scales a mix so that it cannot clip only for whole numbers.
    heard = bytearray()  # grows in place: thousands of small arrays would leave holes behind
    for block in audio_blocks(source, sample_rate, "mono", "s16p", track):
        heard += block[0].tobytes()
    if not heard:
        raise UserError(f"The audio '{source_name(source)}' has length zero: give a file with sound in it.")
    return np.frombuffer(heard, np.int16)


def load_audio(source: Source, sample_rate: int = SAMPLE_RATE, track: int | None = None) -> np.ndarray:
    """A file's sound as (samples,) float32 in [-1, 1], mixed to one channel.

    16-bit mono input that already has the rate comes back exactly. See the module for where time zero lies.

    Args:
        source: path or open binary stream: a sound file, or a video whose sound is meant.
        sample_rate: samples per second of the result.
        track: number of the audio stream, from 1; None: the one that players choose.

    Raises:
        UserError: missing, no media, no audio stream, or a length of zero.
    """
    audio = load_samples(source, sample_rate, track).astype(np.float32)
    audio /= 32768
    return audio


def _save(path: PathLike, audio: np.ndarray, rate: int, kind: str) -> None:
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim != 1:
        raise ValueError(f"audio must be (samples,), got {audio.shape}")
    samples = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temporary:
        soundfile.write(str(temporary), samples, rate, format=kind, subtype="PCM_16")


def save_wav(path: PathLike, audio: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write (samples,) float32 in [-1, 1] as 16-bit WAV; values beyond are clipped. Whole or absent."""
    _save(path, audio, rate, "WAV")


def save_flac(path: PathLike, audio: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write (samples,) float32 in [-1, 1] as 16-bit FLAC; values beyond are clipped. Whole or absent."""
    _save(path, audio, rate, "FLAC")
