"""The encoding of an output that follows its source: codec and pixel format, and what cannot be kept."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import UserError
from common.media.codecs import INTERMEDIATE, OUTPUT_CODECS, OutputCodec, alternatives, intermediate_profile
from common.media.encoding import LIMITED_RANGE, Encoding
from common.media.formats import (
    carried_format,
    chroma_kind,
    depth_of,
    encoder_formats,
    fits_rgb,
    has_alpha,
    is_grey,
    is_rgb,
    loses_chroma,
    nearest_format,
)
from common.media.grain import GRAINY
from common.media.hdr import CARRIES_HDR
from common.media.info import VideoInfo


@dataclass(frozen=True)
class WantedPictures:
    """What a user says about the output's pictures; what is None follows the source.

    Attributes:
        codec: a name of :data:`common.media.codecs.OUTPUT_CODECS`.
        crf: constant quality of lossy codecs, smaller is better.
        pix_fmt: FFmpeg's name of a pixel format.
        lossless: FFV1.
    """

    codec: str | None = None
    crf: int | None = None
    pix_fmt: str | None = None
    lossless: bool = False


AS_SOURCE = WantedPictures()


@dataclass(frozen=True)
class _Choice:
    """One codec for the source's pictures: the pixel format, and what is lost in it."""

    codec: OutputCodec
    pix_fmt: str
    lost: tuple[str, ...]


def following(
    info: VideoInfo, suffix: str, wanted: WantedPictures = AS_SOURCE
) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding that keeps as much of a source as the output can hold.

    Args:
        info: of the source.
        suffix: of the output, with its dot.
        wanted: what shall not follow the source.

    Returns:
        The encoding, and a sentence for each property of the source that is lost.

    Raises:
        UserError: what is wanted does not go into such a file, or interlaced pictures do not; without loss is
            wanted, and the pictures cannot be carried so.
    """
    suffix = suffix.lower()
    choice = _chosen(info, suffix, wanted)
    codec, warnings = choice.codec, []
    _check_quality(wanted.crf, codec)
    if wanted.codec is None and not wanted.lossless and codec.name != info.codec:
        warnings.append(_replacement(info, codec, suffix))
    if choice.lost:
        advice = "" if codec.name == "ffv1" else "; --lossless with an .mkv output keeps all samples"
        warnings.append(f"{codec.title} cannot hold {' and '.join(choice.lost)} here{advice}.")
    carried = carried_format(info.pix_fmt, info.rotation in (0, 180))
    if carried is None and info.pix_fmt and not fits_rgb(info.pix_fmt):
        through = _through_rgb(info)
        if wanted.lossless and wanted.pix_fmt is None:
            raise UserError(
                f"{through}, which is not lossless: convert the video to gbrp16le or yuv444p16le first, or "
                "leave --lossless away."
            )
        warnings.append(
            f"{through}, which does not hold all of them: convert the video to gbrp16le or yuv444p16le first "
            "to keep more."
        )
    warnings += _hdr_losses(info, codec)
    if carried and is_rgb(carried) and has_alpha(carried) and not has_alpha(choice.pix_fmt):
        warnings.append(
            f"The video's transparency is left out: of {info.pix_fmt} {codec.title} takes the colours alone; "
            "--lossless with an .mkv output keeps it, or convert the video to ProRes 4444 or VP9 first."
        )
    lossless = codec.name == "ffv1"
    source = info.profile if info.codec == codec.name else None
    return (
        Encoding(
            codec=codec.encoder,
            crf=wanted.crf if wanted.crf is not None else _usual_quality(info, codec),
            # 8-bit RGB stays RGB without a loss; the writer knows in which order.
            pix_fmt=None if lossless and carried is None and wanted.pix_fmt is None else choice.pix_fmt,
            lossless=lossless,
            profile=intermediate_profile(codec.name, choice.pix_fmt, source),
            field_order=info.field_order,
            hdr=info.hdr,
        ),
        tuple(warnings),
    )


def _through_rgb(info: VideoInfo) -> str:
    """How a sentence begins about pictures that have no format in which they are carried."""
    turned = carried_format(info.pix_fmt, True) is not None
    placed = ", stored on their side," if turned else ""
    return f"Pictures of the format {info.pix_fmt}{placed} are carried as 8-bit RGB"


def _usual_quality(info: VideoInfo, codec: OutputCodec) -> int:
    return codec.grainy_crf if info.grain >= GRAINY else codec.crf


def _hdr_losses(info: VideoInfo, codec: OutputCodec) -> list[str]:
    if info.hdr is None:
        return []
    losses = []
    if info.hdr.dynamic:
        losses.append(
            "HDR metadata of each picture (HDR10+, Dolby Vision) is left out: nothing here writes it."
        )
    if codec.encoder not in CARRIES_HDR and (info.hdr.mastering or info.hdr.light):
        losses.append(
            f"{codec.title} does not carry what the video says of its mastering display and its brightness "
            "(HDR): hevc and av1 as --codec do."
        )
    return losses


def _chosen(info: VideoInfo, suffix: str, wanted: WantedPictures) -> _Choice:
    name = "ffv1" if wanted.lossless else wanted.codec
    if name is not None:
        codec = _named(name)
        if suffix not in codec.suffixes:
            raise UserError(
                f"A file that ends in {suffix} does not take {codec.title}: name it "
                f"{' or '.join(codec.suffixes)}, or choose another --codec."
            )
        _require_size(info, codec)
        if info.interlaced and not _holds_fields(info, codec):
            raise UserError(
                f"The video is interlaced, which {codec.title} does not hold: deinterlace it, or choose "
                "h264, prores or ffv1 as --codec."
            )
        return _choice(info, codec, suffix, wanted.pix_fmt)
    own = OUTPUT_CODECS.get(info.codec)
    candidates = [codec for codec in (own, *alternatives(suffix)) if codec is not None]
    usable = [
        _choice(info, codec, suffix, wanted.pix_fmt)
        for codec in dict.fromkeys(candidates)
        if suffix in codec.suffixes
        and not (info.interlaced and not _holds_fields(info, codec))
        and (info.width >= codec.least_size[0] and info.height >= codec.least_size[1])
        and (wanted.pix_fmt is None or wanted.pix_fmt in encoder_formats(codec.encoder))
    ]
    if not usable and info.interlaced:
        raise UserError(
            f"The video is interlaced, which {suffix} files cannot hold: deinterlace it, or name the output "
            ".mov or .mkv."
        )
    if not usable:
        raise UserError(
            f"No codec of {suffix} files takes the pixel format {wanted.pix_fmt}: choose another."
        )
    if usable[0].codec is own and own.name in INTERMEDIATE:
        return usable[0]
    return min(usable, key=lambda choice: len(choice.lost))


def _check_quality(crf: int | None, codec: OutputCodec) -> None:
    if crf is None:
        return
    if codec.worst_crf is None:
        raise UserError(f"{codec.title} has no quality to choose: leave --crf away.")
    if not 0 <= crf <= codec.worst_crf:
        raise UserError(f"--crf is {crf}, but {codec.title} takes 0 to {codec.worst_crf}.")


def _named(name: str) -> OutputCodec:
    if name not in OUTPUT_CODECS:
        raise UserError(f"There is no codec '{name}': choose one of {', '.join(OUTPUT_CODECS)}.")
    return OUTPUT_CODECS[name]


def _require_size(info: VideoInfo, codec: OutputCodec) -> None:
    width, height = codec.least_size
    if info.width < width or info.height < height:
        raise UserError(f"{codec.title} takes pictures of {width}x{height} at least: choose another --codec.")


def _holds_fields(info: VideoInfo, codec: OutputCodec) -> bool:
    # Fields of H.264 with halved colour have whole macroblock rows of colour only then.
    return codec.fields and (codec.name != "h264" or info.height % 4 == 0)


def _choice(info: VideoInfo, codec: OutputCodec, suffix: str, pix_fmt: str | None) -> _Choice:
    wanted = carried_format(info.pix_fmt, info.rotation in (0, 180))
    if wanted is None:
        wanted = "yuv420p" if not info.pix_fmt or is_grey(info.pix_fmt) else "yuv444p"
    odd = not codec.odd_sizes and bool(info.width % 2 or info.height % 2)
    if pix_fmt is not None:
        if pix_fmt not in encoder_formats(codec.encoder):
            raise UserError(
                f"{codec.title} does not take the pixel format {pix_fmt} here: choose one of "
                f"{', '.join(encoder_formats(codec.encoder))}."
            )
        if odd and chroma_kind(pix_fmt) != "444":
            raise UserError(f"{codec.title} takes odd sizes with a 4:4:4 pixel format only, not {pix_fmt}.")
        chosen = pix_fmt
    elif wanted == "gbrap" and codec.name == "ffv1":
        chosen = "bgra"  # the same samples, in the order in which FFV1 takes 8 bits
    else:
        chosen = nearest_format(_with_whole_colour(wanted) if odd else wanted, codec.encoder)
    lost = []
    if odd and chroma_kind(wanted) != "444":
        lost.append("an odd size with halved colour (it becomes 4:4:4, which browsers may refuse)")
    if has_alpha(wanted) and not (has_alpha(chosen) and suffix in codec.alpha_suffixes):
        if not is_rgb(wanted):
            lost.append("its transparency")
        chosen = chosen if pix_fmt else chosen.replace("yuva", "yuv")
    elif is_rgb(wanted) and not is_rgb(chosen) and not pix_fmt:
        chosen = chosen.replace("yuva", "yuv")
    if depth_of(chosen) < depth_of(wanted):
        lost.append(f"{depth_of(wanted)} bits per sample (it takes {depth_of(chosen)})")
    elif not is_rgb(wanted) and depth_of(chosen) == depth_of(wanted) and _narrows(info, codec):
        lost.append("full range (its steps become coarser)")
    if loses_chroma(wanted, chosen):
        lost.append(f"{_chroma(wanted)} colour (it becomes {_chroma(chosen)})")
    return _Choice(codec, chosen, tuple(lost))


def _replacement(info: VideoInfo, codec: OutputCodec, suffix: str) -> str:
    own = OUTPUT_CODECS.get(info.codec)
    if own is None:
        why = f"its codec, {info.codec}, cannot be encoded here"
    elif suffix not in own.suffixes:
        why = f"a file that ends in {suffix} does not take {own.title}"
    elif info.interlaced and not _holds_fields(info, own):
        why = f"{own.title} does not hold interlaced pictures here"
    else:
        why = f"{own.title} cannot hold all of it here"
    return f"The video is encoded as {codec.title}, since {why}."


def _narrows(info: VideoInfo, codec: OutputCodec) -> bool:
    return bool(info.colour.full_range) and codec.encoder in LIMITED_RANGE


def _with_whole_colour(name: str) -> str:
    """The format without halved colour; grey as YUV."""
    if is_grey(name):
        return name.replace("gray", "yuv444p")
    return name.replace(chroma_kind(name), "444")


def _chroma(name: str) -> str:
    return "no" if is_grey(name) else ":".join(chroma_kind(name))
