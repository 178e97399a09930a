"""Pixel formats of every kind: samples that no edit touches stay, or a sentence says that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.format import names
from av.video.reformatter import ColorRange, VideoReformatter
from dub_clips import BOX, write_speech
from test_media_samples import planes, ramp, write_ffv1
from test_media_table import FULL, HLG, UNTAGGED, Medium, dub, painted, samples, write_medium

from common.errors import UserError
from common.media import VideoInfo, probe, read_frames
from common.media.colour import ColourTags, ToFormat, ToRGB
from common.media.following import WantedPictures, following
from common.media.formats import carried_format, depth_of, fits_rgb
from common.media.orientation import Orientation
from common.media.samples import carried, with_change
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.request import DubRequest

CARRIED = [name for name in sorted(names) if carried_format(name, True)]
LOSSLESS = WantedPictures(lossless=True)


def noise(name: str) -> av.VideoFrame:
    """Any code in any sample of a planar format."""
    picture, draw = av.VideoFrame(66, 36, name), np.random.default_rng(1)
    depth = depth_of(name)
    for plane in picture.planes:
        codes = draw.integers(0, 1 << depth, (plane.height, plane.width))
        raw = codes.astype(np.uint8 if depth == 8 else np.uint16).view(np.uint8)
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : plane.height, : raw.shape[1]
        ] = raw
    return picture


def in_format(picture: av.VideoFrame, name: str) -> av.VideoFrame:
    """The same samples in another order."""
    one = ColorRange.JPEG if name.startswith(("gray", "ya")) else ColorRange.MPEG
    made = VideoReformatter().reformat(
        picture, format=name, src_color_range=one, dst_color_range=one, threads=1
    )
    made.color_range = 0
    return made


@pytest.mark.parametrize("name", [name for name in CARRIED if not name.startswith("yuvj")])
def test_all_samples_of_a_format_are_carried(name: str) -> None:
    """Planar to ``name`` and back gives the same, which of as many bits only exact orders of samples do."""
    planar = carried_format(name, True)
    assert planar is not None and carried_format(planar, True) == planar
    wanted = noise(planar)
    try:
        packed = in_format(wanted, name)
    except OSError:
        pytest.skip("libswscale does not make it")
    found = carried(packed, Orientation())
    assert found is not None and found.format.name == planar
    pairs = list(zip(planes(wanted), planes(found), strict=True))
    for old, new in pairs[::3] if name.startswith("ya") else pairs:  # grey has no colour
        np.testing.assert_array_equal(old, new)


def test_common_formats_are_carried() -> None:
    assert len(CARRIED) > 150
    assert carried_format("uyvy422", True) == "yuv422p" and carried_format("v30xle", True) == "yuv444p10le"
    assert carried_format("rgb48be", True) == "gbrp16le" and carried_format("rgba", True) == "gbrap"
    assert carried_format("gray12be", True) == "gray12le"
    others = [name for name in names if not carried_format(name, True) and av.VideoFormat(name).components]
    assert {name for name in others if fits_rgb(name)} >= {"rgb24", "bgr0", "gbrp", "pal8", "rgb565le"}
    assert not any(fits_rgb(name) for name in ("gbrpf32le", "gray32le", "xyz12le", "bayer_rggb8", "rgb96le"))


@dataclass(frozen=True)
class Source:
    """A source and the pixel formats of its dubs; ``coded``: codec and format without --lossless."""

    encoder: str
    suffix: str
    pix_fmt: str
    lossless: str
    coded: tuple[str, str]
    size: tuple[int, int] = (160, 120)
    lost: str = ""

    def __str__(self) -> str:
        return f"{self.encoder}-{self.pix_fmt}"


SOURCES = [
    Source("rawvideo", ".mov", "uyvy422", "yuv422p", ("h264", "yuv422p")),
    Source("rawvideo", ".avi", "yuyv422", "yuv422p", ("h264", "yuv422p")),
    Source("v210", ".mov", "yuv422p10le", "yuv422p10le", ("h264", "yuv422p10le")),
    Source("ffv1", ".mkv", "gbrp10le", "gbrp10le", ("ffv1", "gbrp10le")),
    Source("ffv1", ".mkv", "gbrp12le", "gbrp12le", ("ffv1", "gbrp12le")),
    Source("ffv1", ".mkv", "gbrp16le", "gbrp16le", ("ffv1", "gbrp16le")),
    Source("ffv1", ".mkv", "gbrap12le", "gbrap12le", ("ffv1", "gbrap12le")),
    Source("png", ".mov", "rgb48be", "gbrp16le", ("h264", "yuv444p10le"), lost="16 bits"),
    Source("png", ".mov", "rgba", "bgra", ("h264", "yuv444p"), lost="transparency is left out"),
    Source("png", ".mov", "gray16be", "gray16le", ("h264", "yuv420p10le"), lost="16 bits"),
    Source("png", ".mov", "gray", "gray", ("h264", "yuv420p")),
    Source("libx265", ".mkv", "gbrp10le", "gbrp10le", ("hevc", "gbrp10le")),
    Source("libx265", ".mov", "gbrp12le", "gbrp12le", ("hevc", "gbrp12le")),
    Source("libx265", ".mp4", "gray10le", "gray10le", ("hevc", "gray10le")),
    Source("libx265", ".mkv", "gray12le", "gray12le", ("hevc", "gray12le")),
    Source("dnxhd", ".mov", "gbrp10le", "gbrp10le", ("dnxhd", "gbrp10le"), (256, 144)),
    Source("ffv1", ".mkv", "gray", "gray", ("ffv1", "gray")),
    Source("ffv1", ".mkv", "gray10le", "gray10le", ("ffv1", "gray10le")),
    Source("ffv1", ".mkv", "gray16le", "gray16le", ("ffv1", "gray16le")),
    Source("ffv1", ".mkv", "ya8", "yuva420p", ("ffv1", "yuva420p")),
    Source("ffv1", ".mkv", "yuv411p", "yuv411p", ("ffv1", "yuv411p")),
    Source("dvvideo", ".mov", "yuv411p", "yuv411p", ("h264", "yuv422p"), (720, 480)),
    Source("ffv1", ".mkv", "yuv440p", "yuv440p", ("ffv1", "yuv440p")),
]


def write_source(path: Path, source: Source) -> Path:
    """Waves and grain in all samples, in the source's format."""
    options = {"libx265": {"crf": "8", "x265-params": "log-level=error"}, "dnxhd": {"profile": "dnxhr_444"}}
    rate = Fraction(30000, 1001) if source.encoder == "dvvideo" else Fraction(25)
    planar = carried_format(source.pix_fmt, True) or ""
    medium = Medium("", "", planar, size=source.size)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(source.encoder, rate=rate, options=options.get(source.encoder, {}))
        (stream.width, stream.height), stream.pix_fmt = source.size, source.pix_fmt
        for number in range(8):
            picture = in_format(painted(medium, number), source.pix_fmt)
            picture.pts, picture.time_base = number, 1 / rate
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def far_and_near(path: Path, width: int) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The planes' columns far from the face, and those in it."""
    for _, found in samples(path):
        steps = [width // plane.shape[1] for plane in found]
        yield (
            [plane[:, : 16 // step] for plane, step in zip(found, steps, strict=True)],
            [plane[:, 60 // step : 100 // step] for plane, step in zip(found, steps, strict=True)],
        )


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_all_but_the_edit_stays(tmp_path: Path, source: Source) -> None:
    video = write_source(tmp_path / f"v{source.suffix}", source)
    assert probe(video).pix_fmt == source.pix_fmt
    request = DubRequest(video, write_speech(tmp_path / "a.wav", 0.32), tmp_path / "o.mkv", box=BOX)
    request = replace(request, lossless=True)
    assert not [word for word in dub(request) if "sound" not in word], "nothing is lost"
    after = probe(request.output)
    assert (after.codec, after.pix_fmt) == ("ffv1", source.lossless)
    said = probe(video).colour.full_range
    assert bool(after.colour.full_range) == ("gbr" in after.pix_fmt if said is None else said)
    width, changed = source.size[0], False
    for (old, before), (new, edited) in zip(
        far_and_near(video, width), far_and_near(request.output, width), strict=True
    ):
        for first, second in zip(old, new, strict=True):
            np.testing.assert_array_equal(first, second)
        changed |= any((first != second).any() for first, second in zip(before, edited, strict=True))
    assert changed, "there is an edit"


@pytest.mark.parametrize("source", [item for item in SOURCES if item.coded[0] != "ffv1"], ids=str)
def test_coded_pictures_keep_what_their_codec_holds(tmp_path: Path, source: Source) -> None:
    video = write_source(tmp_path / f"v{source.suffix}", source)
    suffix = source.suffix if source.suffix in (".mov", ".mkv", ".mp4") else ".mp4"
    request = DubRequest(video, write_speech(tmp_path / "a.wav", 0.32), tmp_path / f"o{suffix}", box=BOX)
    warnings = [word for word in dub(request) if "sound" not in word and "is encoded as" not in word]
    assert all(source.lost and source.lost in word for word in warnings) and bool(warnings) == bool(
        source.lost
    )
    before, after = probe(video), probe(request.output)
    assert (after.codec, after.pix_fmt.replace("yuvj", "yuv")) == source.coded
    wide = depth_of(source.pix_fmt) - depth_of(after.pix_fmt)
    rgb = av.VideoFormat(source.pix_fmt).is_rgb
    if rgb == av.VideoFormat(after.pix_fmt).is_rgb:
        planes_alike = range(3) if rgb else range(1)
        errors = [
            old[index] / (1 << wide) - new[index]
            for (old, _), (new, _) in zip(
                far_and_near(video, before.width), far_and_near(request.output, after.width), strict=True
            )
            for index in planes_alike
        ]
        peak = (1 << depth_of(after.pix_fmt)) - 1
        least = 46 if rgb else 49  # luma is what the quality is chosen by
        assert 20 * np.log10(peak / np.sqrt(np.mean(np.square(errors)))) >= least
    old, new = (read_frames(path)[:, :, :16].astype(int) for path in (video, request.output))
    assert np.abs(old.mean(axis=(0, 1, 2)) - new.mean(axis=(0, 1, 2))).max() < 1, "the same colours are seen"


@pytest.mark.parametrize("name", ["gbrp10le", "gbrp16le", "gbrap12le", "gray", "gray10le"])
def test_a_change_adds_itself_in_the_formats_own_steps(name: str) -> None:
    picture = ramp(name)
    before = np.full((picture.height, picture.width, 3), 90, np.uint8)
    after = before.copy()
    after[40:80, 60:100] += np.array([10, 20, 30], np.uint8)
    made = with_change(picture, before, after, ColourTags(1, 1, 1, False))
    most = (1 << depth_of(name)) - 1
    luma = 0.2126 * 10 + 0.7152 * 20 + 0.0722 * 30
    rises = [luma] if name.startswith("gray") else [20, 30, 10, 0]
    for old, new, rise in zip(planes(picture), planes(made), rises, strict=False):
        wanted = old.astype(float)
        wanted[40:80, 60:100] += rise * most / 255
        np.testing.assert_allclose(new, np.minimum(wanted, most), atol=0.51 + most / 2000)


def test_colour_keeps_its_resolution_in_both_directions(tmp_path: Path) -> None:
    info = replace(probe(write_ffv1(tmp_path / "s.mkv", "yuv411p")), codec="dvvideo")

    def chosen(pix_fmt: str, codec: str, suffix: str = ".mkv") -> tuple[str | None, str]:
        encoding, lost = following(replace(info, pix_fmt=pix_fmt), suffix, WantedPictures(codec=codec))
        return encoding.pix_fmt, " ".join(lost)

    for codec in ("h264", "hevc", "vp9"):
        assert chosen("yuv411p", codec) == ("yuv422p", "")
        assert chosen("yuv410p", codec) == ("yuv420p", "")
    assert chosen("yuv411p", "prores") == ("yuv422p10le", "")
    assert chosen("yuv440p", "h264") == ("yuv444p", "") and chosen("yuv440p", "vp9") == ("yuv440p", "")
    pix_fmt, lost = chosen("yuv411p", "av1")
    assert pix_fmt == "yuv420p" and "4:1:1 colour (it becomes 4:2:0)" in lost
    assert "4:4:0 colour" in chosen("yuv440p", "av1")[1]


def turned(info: VideoInfo, pix_fmt: str) -> VideoInfo:
    return replace(info, pix_fmt=pix_fmt, rotation=90)


def test_what_goes_through_rgb_is_said_and_not_called_lossless(tmp_path: Path) -> None:
    info = probe(write_ffv1(tmp_path / "s.mkv", "gbrp10le"))
    for other in (
        replace(info, pix_fmt="gbrpf32le"),
        replace(info, pix_fmt="xyz12le"),
        turned(info, "yuv411p"),
    ):
        with pytest.raises(UserError, match=f"{other.pix_fmt}.*not lossless.*leave --lossless away"):
            following(other, ".mkv", LOSSLESS)
        _, lost = following(other, ".mp4", WantedPictures(codec="h264"))
        assert sum("8-bit RGB, which does not hold all" in sentence for sentence in lost) == 1
    for name in ("rgb24", "bgr0", "pal8", "monow"):
        encoding, lost = following(replace(info, pix_fmt=name), ".mkv", LOSSLESS)
        assert encoding.pixel_format("ffv1", 160, 120) == "bgr0" and not lost
    assert following(turned(info, "yuv422p10le"), ".mkv", LOSSLESS)[0].pix_fmt == "yuv440p10le"


def write_float(path: Path) -> Path:
    """Floating-point RGB, which nothing here carries."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25, options={"strict": "-2", "level": "4"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "gbrpf32le"
        for number in range(8):
            picture = av.VideoFrame(160, 120, "gbrpf32le")
            for plane in picture.planes:
                np.frombuffer(memoryview(plane), np.float32)[:] = 0.3
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def test_the_refusal_comes_before_the_work(tmp_path: Path) -> None:
    video = write_float(tmp_path / "s.mkv")
    request = DubRequest(video, write_speech(tmp_path / "a.wav", 0.2), tmp_path / "o.mkv", box=BOX)
    assert sum("8-bit RGB" in sentence for sentence in check_request(request).warnings) == 1
    with pytest.raises(UserError, match="not lossless"):
        check_request(replace(request, lossless=True))


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "yuv422p"])
def test_halved_colour_is_turned_with_its_picture(tmp_path: Path, pix_fmt: str) -> None:
    """As telephones store ProRes 4:2:2: on its side, with a note that it is to be turned."""
    video, medium = tmp_path / "v.mov", Medium("", "", pix_fmt, size=(120, 160))
    encoder = "prores_ks" if pix_fmt.endswith("le") else "libx264"
    with av.open(str(video), "w") as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 120, 160, pix_fmt
        stream.set_display_rotation(90)
        for number in range(8):
            picture = painted(medium, number)
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    request = DubRequest(video, write_speech(tmp_path / "a.wav", 0.32), tmp_path / "o.mkv", box=BOX)
    request = replace(request, lossless=True)
    assert not dub(request)
    assert probe(request.output).pix_fmt == pix_fmt.replace("422", "440")
    for (old, _), (new, _) in zip(far_and_near(video, 160), far_and_near(request.output, 160), strict=True):
        for first, second in zip(old, new, strict=True):
            np.testing.assert_array_equal(first, second)
    coded = replace(request, lossless=False, output=tmp_path / "o.mov")
    assert not [word for word in dub(coded) if "sound" not in word], "4:4:4 holds all of it"
    assert probe(coded.output).pix_fmt.startswith("yuv444p")


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "gray"])
def test_prores_says_full_range_pictures_in_limited_range(tmp_path: Path, name: str) -> None:
    """Its files are read as limited range: the same levels, in steps of 10 bits, and the same look."""
    video = write_medium(tmp_path / "v.mkv", Medium("ffv1", ".mkv", name, tags=FULL))
    request = DubRequest(
        video, write_speech(tmp_path / "a.wav", 0.3), tmp_path / "o.mov", box=BOX, codec="prores"
    )
    assert not [sentence for sentence in dub(request) if "full range" in sentence]
    after = probe(request.output)
    assert after.codec == "prores" and not after.colour.full_range and after.colour.matrix == 1
    for (_, old), (_, new) in zip(samples(video), samples(request.output), strict=True):
        scale = 1 << (depth_of(after.pix_fmt) - 10)
        luma = 64 + 876 / 255 * old[0][:, :16]
        assert np.abs(new[0][:, :16] / scale - luma).mean() < 2
    before, seen = (read_frames(path)[:, :, :16].astype(int) for path in (video, request.output))
    assert np.abs(before - seen).mean() < 3


def test_full_range_of_as_many_bits_as_prores_is_said(tmp_path: Path) -> None:
    info = probe(write_ffv1(tmp_path / "s.mkv", "yuv422p10le", tags=FULL))
    _, lost = following(info, ".mov", WantedPictures(codec="prores"))
    assert sum("cannot hold full range" in sentence for sentence in lost) == 1
    for codec in ("h264", "hevc", "dnxhd"):
        assert not any(
            "full range" in s for s in following(replace(info, width=256), ".mov", WantedPictures(codec))[1]
        )


def test_full_range_stays_full_in_other_codecs(tmp_path: Path) -> None:
    video = write_medium(tmp_path / "v.mp4", Medium("libx264", ".mp4", tags=FULL))
    for codec in ("hevc", "vp9", "av1"):
        output = tmp_path / f"{codec}.mkv"
        dub(DubRequest(video, write_speech(tmp_path / "a.wav", 0.3), output, box=BOX, codec=codec))
        assert probe(output).colour == FULL
        (_, old), (_, new) = next(samples(video)), next(samples(output))
        assert np.abs(old[0][:, :16] - new[0][:, :16]).mean() < 2


@pytest.mark.parametrize(("name", "tags"), [("yuv420p", FULL), ("yuv422p10le", HLG), ("yuv444p", UNTAGGED)])
def test_formats_are_changed_without_other_changes(name: str, tags: ColourTags) -> None:
    """Neither matrix nor range: luma of other depths and colour resolutions is the same."""
    picture = painted(Medium("", "", name), 0)
    tags.apply(picture)
    for target in ("yuv420p", "yuv422p10le", "yuv444p12le"):
        made = ToFormat(target, tags, tags)(picture)
        scale = 2.0 ** (depth_of(target) - depth_of(name))
        assert np.abs(planes(made)[0] - planes(picture)[0] * scale).max() <= 1 + scale / 4
    in_rgb = planes(ToFormat("gbrp", tags, ColourTags(0, 1, 1, True))(picture))
    wanted = ToRGB(picture.width, picture.height)(picture)
    for plane, channel in zip(in_rgb, (1, 2, 0), strict=True):
        assert np.abs(plane.astype(int) - wanted[..., channel]).max() <= 2
