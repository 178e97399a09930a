"""The codecs that outputs can have: their encoders here, what holds them, and what they can hold."""

from __future__ import annotations

from dataclasses import dataclass

from common.media.formats import chroma_kind, depth_of

MP4 = (".mp4", ".m4v")


@dataclass(frozen=True)
class OutputCodec:
    """One codec.

    Attributes:
        name: as FFmpeg's decoders and ``--codec`` call it.
        title: as messages call it.
        encoder: FFmpeg's name of the encoder.
        suffixes: of the files that take it.
        odd_sizes: whether an odd width or height can go with halved colour resolution.
        fields: whether interlaced pictures are coded as such.
        alpha_suffixes: of the files in which its transparency is kept.
        least_size: smallest (width, height).
        crf: constant quality at which the luma of camera pictures comes back with 50 dB PSNR.
        grainy_crf: the same for pictures with grain that no codec has seen yet.
        worst_crf: the largest number that the encoder takes; None: it has no constant quality.
    """

    name: str
    title: str
    encoder: str
    suffixes: tuple[str, ...]
    odd_sizes: bool = True
    fields: bool = False
    alpha_suffixes: tuple[str, ...] = ()
    least_size: tuple[int, int] = (1, 1)
    crf: int = 11
    grainy_crf: int = 9
    worst_crf: int | None = None


OUTPUT_CODECS = {
    codec.name: codec
    for codec in (
        OutputCodec(
            "h264", "H.264", "libx264", (*MP4, ".mov", ".mkv"), odd_sizes=False, fields=True, worst_crf=51
        ),
        OutputCodec("hevc", "HEVC", "libx265", (*MP4, ".mov", ".mkv"), odd_sizes=False, worst_crf=51),
        OutputCodec(
            "vp9",
            "VP9",
            "libvpx-vp9",
            (*MP4, ".mkv", ".webm"),
            alpha_suffixes=(".mkv", ".webm"),
            crf=6,
            grainy_crf=3,
            worst_crf=63,
        ),
        OutputCodec("av1", "AV1", "libsvtav1", (*MP4, ".mkv", ".webm"), crf=5, grainy_crf=3, worst_crf=63),
        OutputCodec(
            "prores", "ProRes", "prores_ks", (".mov", ".mkv"), fields=True, alpha_suffixes=(".mov", ".mkv")
        ),
        OutputCodec("dnxhd", "DNxHR", "dnxhd", (".mov",), least_size=(256, 120)),
        OutputCodec("ffv1", "FFV1", "ffv1", (".mkv",), fields=True, alpha_suffixes=(".mkv",)),
    )
}
INTERMEDIATE = ("prores", "dnxhd", "ffv1")
"""Codecs of work in progress: who gives one wants one back."""
_ALTERNATIVES = {".webm": ("vp9", "av1"), ".mov": ("h264", "hevc", "prores")}
"""What may stand in for a source's codec, the most usual first, by suffix."""
_USUAL_ALTERNATIVES = ("h264", "vp9", "hevc", "av1")

_PRORES = {
    "Proxy": "proxy",
    "LT": "lt",
    "Standard": "standard",
    "HQ": "hq",
    "4444": "4444",
    "XQ": "4444xq",
}


def alternatives(suffix: str) -> tuple[OutputCodec, ...]:
    """Codecs for files that end in ``suffix``, the most usual first."""
    return tuple(OUTPUT_CODECS[name] for name in _ALTERNATIVES.get(suffix, _USUAL_ALTERNATIVES))


def intermediate_profile(codec: str, pix_fmt: str, source: str | None) -> str | None:
    """The encoder's profile for ProRes and DNxHR: the source's, where the pixel format allows it.

    Args:
        codec: name of the output's codec.
        pix_fmt: of the output.
        source: profile of the source, where it has the same codec, as its decoder calls it.
    """
    full, deep = chroma_kind(pix_fmt) == "444", depth_of(pix_fmt) > 8
    if codec == "prores":
        known = _PRORES.get(source or "")
        return known if known is not None and known.startswith("4444") == full else "4444" if full else "hq"
    if codec == "dnxhd":
        known = (source or "").lower().replace(" ", "_")
        usual = "dnxhr_444" if full else "dnxhr_hqx" if deep else "dnxhr_hq"
        return known if not (full or deep) and known in ("dnxhr_lb", "dnxhr_sq") else usual
    return None
