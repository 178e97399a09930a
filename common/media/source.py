"""Opening media files, and one sentence for each way in which that fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import BinaryIO, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from common.errors import UserError
from common.files import PathLike, require_file
from common.media.isolation.limits import limits

Source = PathLike | BinaryIO

log = logging.getLogger("bootdub.media")


@lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Log a warning about a file; a job that reads the file several times says it once."""
    log.warning("%s", message)


# FFmpeg opens these, but not as something that moves: text files and still pictures.
_TEXT_FORMATS = ("tty", "srt", "ass", "webvtt", "subviewer", "lrc", "concat", "ffmetadata")
_LISTS = ("hls", "dash", "sdp", "rtsp", "imf", "rtp", "sap")
# FFmpeg's own decoders of these leave out the transparency that WebM and Matroska keep beside the pictures.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_STILL_FORMATS = ("image2",)


def source_name(source: Source) -> str:
    """What messages call the source: its path, or a stand-in for an open stream."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "<memory>"))


@contextmanager
def open_source(source: Source, what: str) -> Iterator[InputContainer]:
    """Open a path or a seekable binary stream for reading.

    Args:
        source: path, or an open binary stream (read from its beginning).
        what: the noun of the messages, e.g. ``"video"``.

    Raises:
        UserError: missing, a folder, unreadable, empty or no media file.
    """
    name = source_name(source)
    if isinstance(source, (str, os.PathLike)):
        path = require_file(source, what)
        if not path.is_file():
            raise UserError(f"The {what} '{name}' is a pipe or device: copy it into a file first.")
        if path.stat().st_size == 0:
            raise UserError(f"The {what} '{name}' is empty (0 bytes): copy or download it again.")
        # FFmpeg takes a relative name with a colon in it for the address of a protocol.
        target: str | BinaryIO = str(path.absolute())
    else:
        source.seek(0)
        target = source
    bounds = limits()
    # One stream more than is allowed, so that the refusal is ours; and no file may name an address to fetch.
    options = {"max_streams": str(int(bounds.streams) + 1), "protocol_whitelist": "file"}
    try:
        # Metadata of old files is often not UTF-8; nothing here reads it.
        container = av.open(target, "r", options=options, metadata_errors="ignore")
    except MemoryError:
        raise
    except (FFmpegError, ValueError) as error:
        raise UserError(
            f"The {what} '{name}' is not media or is cut short ({reason(error)}): give another file."
        ) from error
    with container:
        if container.format.name in _TEXT_FORMATS:
            raise UserError(f"The {what} '{name}' is a text file: give a media file.")
        if container.format.name in _LISTS:
            raise UserError(f"The {what} '{name}' is a list of other files: give a media file.")
        bounds.require_streams(len(container.streams), what, name)
        yield container


def reason(error: Exception) -> str:
    """FFmpeg's own words for an error, without its numbers and the path."""
    return str(getattr(error, "strerror", None) or error)


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams that are neither cover art nor a still picture."""
    name = container.format.name
    if name in _STILL_FORMATS or name.endswith("_pipe"):
        return []
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first stream of moving pictures (cover art does not count).

    Raises:
        UserError: there is none, or its codec has no decoder here.
    """
    streams = moving_streams(container)
    if not streams:
        raise UserError(f"The file '{name}' has no video stream: give a file with moving pictures.")
    codec = streams[0].codec_context
    if codec is None:
        raise UserError(f"The video '{name}' has a codec that cannot be decoded here: convert it to H.264.")
    limits().require_pixels(codec.width, codec.height, name)
    # Pictures may become larger on the way.
    codec.options = {**codec.options, "max_pixels": str(int(limits().pixels))}
    return streams[0]


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """What decodes a video stream: its own context, or one that gives its transparency, too."""
    own = stream.codec_context
    if own.name not in _WITH_ALPHA or stream.metadata.get("alpha_mode") != "1":
        return own
    decoder = cast(VideoCodecContext, av.CodecContext.create(_WITH_ALPHA[own.name], "r"))
    decoder.extradata, decoder.options = own.extradata, own.options
    decoder.colorspace, decoder.color_range = own.colorspace, own.color_range
    decoder.color_primaries, decoder.color_trc = own.color_primaries, own.color_trc
    return decoder
