"""The encoding of an output that follows its source: pixel format, and what of it cannot be kept."""

from __future__ import annotations

import av

from common.media.info import VideoInfo
from common.media.samples import carried_format
from common.media.writer import Encoding

_ENCODERS = {".webm": "libvpx-vp9"}
_USUAL_ENCODER = "libx264"
_LOSSLESS_ENCODER = "ffv1"


def following(info: VideoInfo, suffix: str, lossless: bool) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding that keeps as much of a source's samples as the output's codec can hold.

    Args:
        info: of the source.
        suffix: of the output, with its dot.
        lossless: FFV1 instead of the container's usual codec.

    Returns:
        The encoding, and a sentence for each property of the source that is lost.
    """
    wanted = carried_format(info.pix_fmt, info.rotation in (0, 180))
    if wanted is None:
        if info.pix_fmt and not lossless and _is_rgb(info.pix_fmt):
            return Encoding(pix_fmt="yuv444p"), ()
        return Encoding(lossless=lossless), _turned(info)
    odd = bool(info.width % 2 or info.height % 2)
    encoder = _LOSSLESS_ENCODER if lossless else _ENCODERS.get(suffix.lower(), _USUAL_ENCODER)
    # H.264 stores odd sizes with full-resolution colour only.
    full = odd and encoder == _USUAL_ENCODER
    chosen = nearest_format(wanted.replace(_kind(wanted), "444") if full else wanted, encoder)
    lost = []
    if _has_alpha(wanted) and not _has_alpha(chosen):
        lost.append("its transparency")
    if _depth(chosen) < _depth(wanted):
        lost.append(f"{_depth(wanted)} bits per sample (it takes {_depth(chosen)})")
    if _area(chosen) < _area(wanted):
        lost.append(f"{_chroma(wanted)} colour (it becomes {_chroma(chosen)})")
    advice = "" if lossless else "; --lossless with an .mkv output keeps all samples"
    warnings = (f"{encoder} cannot hold {' and '.join(lost)}{advice}.",) if lost else ()
    return Encoding(pix_fmt=chosen, lossless=lossless), warnings


def nearest_format(wanted: str, encoder: str) -> str:
    """The pixel format of an encoder that loses least of ``wanted``, in this order: colour, bits, alpha."""
    names = [item.name for item in av.Codec(encoder, "w").video_formats or ()]
    usable = [name for name in names if carried_format(name, True) == name]
    return min(
        usable,
        key=lambda name: (
            name != wanted,
            _area(name) < _area(wanted),
            max(_depth(wanted) - _depth(name), 0),
            _has_alpha(wanted) and not _has_alpha(name),
            _area(name),
            _depth(name),
            _has_alpha(name),
            name,
        ),
    )


def _turned(info: VideoInfo) -> tuple[str, ...]:
    if info.pix_fmt and not _is_rgb(info.pix_fmt) and carried_format(info.pix_fmt, True) is not None:
        return (
            f"The pictures are stored on their side, and {info.pix_fmt} cannot be turned as it is: they "
            "become 8-bit 4:2:0.",
        )
    return ()


def _is_rgb(name: str) -> bool:
    return bool(av.VideoFormat(name).is_rgb)


def _depth(name: str) -> int:
    return max(component.bits for component in av.VideoFormat(name).components)


def _has_alpha(name: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(name).components)


def _kind(name: str) -> str:
    return next(kind for kind in ("444", "440", "422", "420", "411") if kind in name)


def _chroma(name: str) -> str:
    return ":".join(_kind(name))


def _area(name: str) -> int:
    """Chroma samples of eight pixels."""
    return {"4:4:4": 8, "4:4:0": 4, "4:2:2": 4, "4:2:0": 2, "4:1:1": 2}[_chroma(name)]
