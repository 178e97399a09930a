"""Pixel formats: what FFmpeg's names mean, in which form samples are carried, and what a form cannot hold."""

from __future__ import annotations

import re
from functools import lru_cache

import av

# Pixels per chroma sample, horizontally and vertically.
_KINDS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411", (1, 2): "440", (4, 4): "410"}
_TURNED = {"422": "440", "440": "422", "411": None}
# Floating point, samples in the upper bits of their words, sensors' mosaics, and another colour model.
_OTHER = re.compile(r"f16|f32|msb|bayer|xyz")


@lru_cache(maxsize=512)
def carried_format(name: str, upright: bool) -> str | None:
    """The planar format in which pictures of the format ``name`` are carried, with all of their samples.

    Args:
        name: FFmpeg's name of the decoded format.
        upright: whether the stored picture need not be turned by 90 degrees.

    Returns:
        YUV, grey or, for more than 8 bits or transparency, RGB. None for RGB that is a picture of 8 bits as
        it is, and for what has no such form.
    """
    planar = _planar(name)
    if planar is None or upright:
        return planar
    kind = chroma_kind(planar)
    turned = planar.replace(kind, _TURNED[kind] or "") if kind in _TURNED else planar
    return turned if _exists(turned) else None


def _planar(name: str) -> str | None:
    if not _exists(name) or _OTHER.search(name):
        return None
    form = av.VideoFormat(name)
    depths = {part.bits for part in form.components}
    depth = depths.pop() if len(depths) == 1 else 0
    if not 8 <= depth <= 16 or form.has_palette:
        return None
    alpha = "a" if has_alpha(name) else ""
    end = "" if depth == 8 else f"{depth}le"
    if form.is_rgb:
        planar = f"gbr{alpha}p{end}" if alpha or depth > 8 else ""
    elif is_grey(name):
        planar = f"yuva420p{end}" if alpha else f"gray{end}"
    else:
        planar = f"yuv{alpha}{_KINDS[chroma_steps(name)]}p{end}"
    return planar if _exists(planar) else None


def _exists(name: str) -> bool:
    try:
        av.VideoFormat(name)
    except ValueError:
        return False
    return True


def fits_rgb(name: str) -> bool:
    """Whether 8-bit RGB holds all of pictures of a format that has no :func:`carried_format`."""
    form = av.VideoFormat(name)
    plain = form.is_rgb or form.has_palette or len(form.components) == 1
    return plain and not _OTHER.search(name) and depth_of(name) <= 8


def is_rgb(name: str) -> bool:
    """Whether samples are red, green and blue."""
    return bool(av.VideoFormat(name).is_rgb)


def is_grey(name: str) -> bool:
    """Whether there is luma alone, and perhaps transparency."""
    form = av.VideoFormat(name)
    return not form.is_rgb and len(form.components) - has_alpha(name) == 1


def depth_of(name: str) -> int:
    """Bits per sample."""
    return max((component.bits for component in av.VideoFormat(name).components), default=0)


def has_alpha(name: str) -> bool:
    """Whether pixels have a transparency."""
    return any(component.is_alpha for component in av.VideoFormat(name).components)


def chroma_steps(name: str) -> tuple[int, int]:
    """Pixels per chroma sample, horizontally and vertically; grey counts as 4:2:0."""
    if is_grey(name):
        return 2, 2
    form = av.VideoFormat(name)
    return 16 // form.chroma_width(16), 16 // form.chroma_height(16)


def chroma_kind(name: str) -> str:
    """``"420"`` and the like."""
    return _KINDS[chroma_steps(name)]


def loses_chroma(wanted: str, chosen: str) -> bool:
    """Whether pictures lose colour, or its resolution in either direction."""
    if is_grey(wanted):
        return False
    fewer = any(new > old for old, new in zip(chroma_steps(wanted), chroma_steps(chosen), strict=True))
    return fewer or is_grey(chosen)


def nearest_format(wanted: str, encoder: str) -> str:
    """The pixel format of an encoder that loses least of ``wanted``, in this order: colour, bits, alpha.

    H.264 without colour is left out: decoders give 4:2:0 for it, and many players nothing.
    """
    usable = [
        name
        for name in encoder_formats(encoder)
        if carried_format(name, True) == name and not (encoder == "libx264" and is_grey(name))
    ]
    return min(
        usable,
        key=lambda name: (
            name != wanted,
            loses_chroma(wanted, name),
            is_rgb(name) and not is_rgb(wanted),
            max(depth_of(wanted) - depth_of(name), 0),
            has_alpha(wanted) and not has_alpha(name),
            is_rgb(wanted) and not is_rgb(name),
            -chroma_steps(name)[0] * chroma_steps(name)[1],
            depth_of(name),
            has_alpha(name),
            name,
        ),
    )


def encoder_formats(encoder: str) -> list[str]:
    """The pixel formats that an encoder takes."""
    return [item.name for item in av.Codec(encoder, "w").video_formats or ()]
