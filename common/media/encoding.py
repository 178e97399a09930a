"""How pictures are coded, and what each encoder is told for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from common.media.colour import RGB_MATRIX, ColourTags
from common.media.fields import BOTTOM_FIRST
from common.media.formats import is_rgb
from common.media.hdr import HdrMetadata

# Every picture and block with nearly the same quantiser, since likeness to the source is what counts. By
# themselves encoders give less of it to what moves or is rough, where eyes that see no source miss it.
_EVEN_X264 = ("qcomp=1", "pbratio=1.15", "mbtree=0", "aq-mode=0", "psy=0")
# x264's fast presets with what they lack most: narrower dead zones of the quantiser, and finer movement: half
# of the time of `faster` for a sixth more bytes. Most time of a dub of large pictures is coding; without
# bidirectional pictures and CABAC it takes a fifth, for a third to twice as many bytes more.
_DEAD_ZONES = ("deadzone-inter=17", "deadzone-intra=10")
_FAST_X264 = ("superfast", ("subme=4", *_DEAD_ZONES))
_FASTEST_X264 = ("ultrafast", ("8x8dct=1", "partitions=i8x8", "subme=1", *_DEAD_ZONES))
_LARGE = 1280 * 720
"""Pixels from which on pictures are large."""
_EVEN_X265 = ("qcomp=1", "pbratio=1.15", "cutree=0", "aq-mode=0", "psy-rd=0", "psy-rdoq=0")
_QUALITY = {
    "libx265": {"preset": "medium", "x265-params": ":".join(("log-level=error", *_EVEN_X265))},
    "libvpx-vp9": {"b": "0", "row-mt": "1", "cpu-used": "4"},
    # With preset 8 camera pictures stay below 50 dB up to twice these bytes.
    "libsvtav1": {"preset": "6", "svtav1-params": "enable-tf=0"},
    "prores_ks": {"vendor": "apl0"},
}
LIMITED_RANGE = ("prores_ks",)
"""Encoders whose files are read as limited range, whatever their pictures are."""
_WITHOUT_CRF = ("prores_ks", "dnxhd")
# Four slices whatever the machine: their number is part of the bytes.
_LOSSLESS = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
_LOSSLESS_ENCODER = "ffv1"
_USUAL = {".webm": "libvpx-vp9"}


@dataclass(frozen=True)
class Encoding:
    """How pictures are coded.

    codec: FFmpeg's encoder name; None: H.264, in .webm VP9. crf: constant quality of lossy codecs, smaller is
    better. pix_fmt: FFmpeg's pixel format; None: 4:2:0, or yuv444p where H.264 stores an odd size; RGB where
    lossless. lossless: FFV1 (.mkv), whatever the codec and crf: bit-exact pictures, and the same pictures
    give the same bytes. profile: of ProRes and DNxHR, by the encoder's name. field_order: 0, or which field
    of interlaced pictures is the first (:mod:`common.media.fields`). hdr: what HDR pictures say of their
    mastering, for encoders that write it. level, parameter_set: of H.264 that stands beside other H.264 in
    one stream, the level that it claims and the number of its parameter sets.
    """

    codec: str | None = None
    crf: int = 16
    pix_fmt: str | None = None
    lossless: bool = False
    profile: str | None = None
    field_order: int = 0
    hdr: HdrMetadata | None = None
    level: str | None = None
    parameter_set: int = 0

    def encoder(self, suffix: str) -> str:
        """FFmpeg's name of the encoder for a file that ends in ``suffix``."""
        if self.lossless:
            return _LOSSLESS_ENCODER
        return self.codec or _USUAL.get(suffix.lower(), "libx264")

    def pixel_format(self, encoder: str, width: int, height: int) -> str:
        """FFmpeg's name of the pixel format for pictures of a size."""
        if self.pix_fmt is not None:
            return self.pix_fmt
        if self.lossless:
            return "bgr0"
        odd = width % 2 or height % 2
        return "yuv444p" if odd and encoder in ("libx264", "libx265") else "yuv420p"

    def options(self, encoder: str, width: int, height: int, chroma_left: bool) -> dict[str, str]:
        """Options of the encoder.

        Args:
            encoder: of :meth:`encoder`.
            width, height: of the pictures, in pixels.
            chroma_left: whether the source's chroma samples lie at the left edge of their pixels: FFV1 does
                not say it by itself, the codecs of most sources imply it.
        """
        if encoder == _LOSSLESS_ENCODER:
            return {**_LOSSLESS, **({"chroma_sample_location": "left"} if chroma_left else {})}
        if encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # else it tells its version and settings on stderr
        told = dict(_QUALITY.get(encoder, {}))
        if encoder == "libx264":
            # It takes the upper field for the first otherwise.
            lower_first = ["bff=1"] if self.field_order == BOTTOM_FIRST else []
            numbered = [f"sps-id={self.parameter_set}"] if self.parameter_set else []
            told["preset"], fast = _FASTEST_X264 if width * height >= _LARGE else _FAST_X264
            told["x264-params"] = ":".join([*_EVEN_X264, *fast, *lower_first, *numbered, *_steady_x264()])
        if encoder not in _WITHOUT_CRF:
            told["crf"] = str(self.crf)
        if self.profile is not None:
            told["profile"] = self.profile
        if self.level is not None:
            told["level"] = self.level
        for name, words in ({} if self.hdr is None else self.hdr.options(encoder)).items():
            told[name] = ":".join(filter(None, (told.get(name), words)))
        return told


@cache
def _steady_x264() -> list[str]:
    """What makes x264 give the same bytes for the same pictures.

    With AVX-512 it does not (build 164: 38 of 40 files of 480x270 differed); AVX2 costs 5 % of its time.
    """
    cpu = Path("/proc/cpuinfo")
    return ["asm=AVX2"] if cpu.is_file() and "avx512" in cpu.read_text("utf-8") else []


DEFAULT_ENCODING = Encoding()
LOSSLESS = Encoding(lossless=True)


def written_tags(encoder: str, pix_fmt: str, source: ColourTags, of_rgb: bool) -> ColourTags:
    """The colour tags of pictures that are written by an encoder in a pixel format.

    Args:
        encoder, pix_fmt: FFmpeg's names.
        source: tags of the source.
        of_rgb: whether its pictures are RGB, whose range stays what it is said to be.
    """
    if is_rgb(pix_fmt):
        full_range = not of_rgb or source.full_range is not False
        return ColourTags(RGB_MATRIX, source.primaries, source.transfer, full_range)
    tags = source.for_yuv()
    return replace(tags, full_range=False) if encoder in LIMITED_RANGE else tags


def describe(context: VideoCodecContext, encoding: Encoding, tags: ColourTags) -> None:
    """Tell an encoder what its pictures are like: colours, and interlaced or not."""
    if context.name == _LOSSLESS_ENCODER:
        context.flags |= Flags.bitexact
    tags.apply(context)
    if encoding.field_order:
        context.field_order = encoding.field_order
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
