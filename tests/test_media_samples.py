"""What no edit touches keeps the source's own samples: bits, colour resolution, range, transparency."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace, VideoReformatter
from dub_clips import BOX, write_package, write_speech
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.media import Encoding, VideoReader, VideoWriter, probe
from common.media.colour import TO_RGB, ColourTags, ToRGB
from common.media.following import WantedPictures, following
from common.media.orientation import Orientation
from common.media.samples import carried, with_change

WIDTH, HEIGHT = 160, 120
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuva420p"]


def planes(picture: av.VideoFrame) -> list[np.ndarray]:
    """The samples, read without the code under test."""
    kind = np.uint8 if picture.format.components[0].bits == 8 else np.uint16
    found = []
    for plane in picture.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
        found.append(np.ascontiguousarray(rows[:, : plane.width * kind().itemsize]).view(kind))
    return found


def ramp(name: str, number: int = 0) -> av.VideoFrame:
    """Every code that the format can hold, those beyond black and white as well."""
    picture = av.VideoFrame(WIDTH, HEIGHT, name)
    bits = picture.format.components[0].bits
    for index, plane in enumerate(picture.planes):
        size = 1 if bits == 8 else 2
        codes = np.linspace(1, (1 << bits) - 2, plane.width).round()
        codes = np.roll(codes, 7 * number + 31 * index)
        values = np.tile(codes, (plane.height, 1)).astype(np.uint8 if bits == 8 else np.uint16)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[: plane.height, : plane.width * size] = values.view(np.uint8)
    return picture


def write_ffv1(path: Path, name: str, frames: int = 4, tags: ColourTags | None = None) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, name
        if tags is not None:
            tags.apply(stream.codec_context)
        for number in range(frames):
            picture = ramp(name, number)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[list[np.ndarray]]:
    with av.open(str(path)) as source:
        return [planes(picture) for picture in source.decode(video=0)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_change_adds_itself_and_nothing_else(name: str) -> None:
    picture = ramp(name)
    tags = ColourTags(1, 1, 1, False)
    before = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    after = before.copy()
    after[40:80, 60:100] = (170, 100, 60)
    made = with_change(picture, before, after, tags)
    bits = picture.format.components[0].bits
    for index, (old, new) in enumerate(zip(planes(picture), planes(made), strict=True)):
        changed = old != new
        down, across = HEIGHT // old.shape[0], WIDTH // old.shape[1]
        inside = np.zeros_like(changed)
        inside[40 // down : 80 // down, 60 // across : 100 // across] = True
        assert not changed[~inside].any(), "outside the edit not one sample changes"
        if index == 3:
            assert not changed.any(), "transparency stays"
        else:
            assert changed[inside].mean() > 0.9
    # Luma of BT.709, limited range, rises by what the RGB pictures differ by.
    red, green, blue = 170 - 90, 100 - 90, 60 - 90
    rise = 219 / 255 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) * (1 << (bits - 8))
    old, new = planes(picture)[0].astype(int), planes(made)[0].astype(int)
    middle = (slice(45, 75), slice(65, 95))
    room = old[middle] + rise < (1 << bits) - 1
    np.testing.assert_allclose((new - old)[middle][room], rise, atol=1 + (1 << (bits - 8)) / 8)
    assert with_change(picture, before, before, tags) is picture


# Red's and blue's share of luma, by the matrix's code in H.273.
SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def in_yuv(change: np.ndarray, tags: ColourTags, bits: int) -> list[np.ndarray]:
    """What a change of RGB (H, W, 3), in 8-bit steps, adds to luma and both colours, by H.273."""
    red, blue = SHARES[tags.matrix]
    change = change / 255
    luma = change @ [red, 1 - red - blue, blue]
    colours = [(change[..., i] - luma) / (2 - 2 * share) for i, share in ((2, blue), (0, red))]
    codes = [(1 << bits) - 1] * 3 if tags.full_range else [219 << (bits - 8), *[224 << (bits - 8)] * 2]
    return [values * most for values, most in zip([luma, *colours], codes, strict=True)]


@given(
    name=st.sampled_from([*FORMATS, "yuv410p", "yuv444p16le"]),
    size=st.tuples(st.integers(60, 140), st.integers(30, 80)),
    code=st.sampled_from(sorted(SHARES)),
    full=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_each_sample_takes_the_mean_of_the_changes_of_its_pixels(
    name: str, size: tuple[int, int], code: int, full: bool, seed: int
) -> None:
    """As H.273 writes it, to half a code; also for odd sizes, whose last block repeats the last pixel."""
    (width, height), draw = size, np.random.default_rng(seed)
    before = draw.integers(0, 256, (height, width, 3), np.uint8)
    picture = av.VideoFrame.from_ndarray(before, format="rgb24").reformat(format=name)
    after = before.copy()
    (top, bottom), (left, right) = (np.sort(draw.integers(0, n + 1, 2)) for n in (height, width))
    after[top:bottom, left:right] = draw.integers(0, 256, (bottom - top, right - left, 3))
    tags, bits = ColourTags(code, 1, 1, full), picture.format.components[0].bits
    made = planes(with_change(picture, before, after, tags))
    changes = in_yuv(after.astype(float) - before, tags, bits)
    for old, new, change in zip(planes(picture), made, changes, strict=False):
        down, across = round(height / old.shape[0]), round(width / old.shape[1])
        missing = old.shape[0] * down - height, old.shape[1] * across - width
        whole = np.pad(change, [(0, missing[0]), (0, missing[1])], mode="edge")
        mean = whole.reshape(old.shape[0], down, old.shape[1], across).mean(axis=(1, 3))
        wanted = np.clip(old + mean, 0, (1 << bits) - 1)
        # libswscale's matrices come from numbers of three digits.
        assert np.abs(new - wanted).max() <= 0.5 + 0.15 * (1 << (bits - 8))


@pytest.mark.parametrize("name", FORMATS)
def test_frames_pass_through_lossless_files_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = write_ffv1(tmp_path / "s.mkv", name)
    info = probe(source)
    encoding, lost = following(info, ".mkv", WantedPictures(lossless=True))
    assert encoding.pix_fmt == name and not lost
    with VideoWriter(
        tmp_path / "o.mkv", WIDTH, HEIGHT, time_base=info.time_base, like=info, encoding=encoding
    ) as writer:
        for frame in VideoReader(source, samples=True):
            assert frame.samples is not None
            writer.write(frame.samples, frame.pts, frame.duration)
    for before, after in zip(decoded(source), decoded(tmp_path / "o.mkv"), strict=True):
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("turn", [Orientation(True, True), Orientation(False, True, True), Orientation(True)])
def test_samples_are_turned_as_pictures_are(turn: Orientation) -> None:
    picture = ramp("yuv420p10le")
    upright = carried(picture, turn)
    assert upright is not None
    for old, new in zip(planes(picture), planes(upright), strict=True):
        np.testing.assert_array_equal(turn.apply(old), new)
    halved = carried(ramp("yuv422p"), turn)
    assert halved is not None and halved.format.name == ("yuv440p" if turn.transpose else "yuv422p")
    for old, new in zip(planes(ramp("yuv422p")), planes(halved), strict=True):
        np.testing.assert_array_equal(turn.apply(old), new)
    quartered = carried(ramp("yuv411p"), turn)
    assert (quartered is None) == turn.transpose, "no format has a quarter of the colour vertically"


def test_full_range_pictures_keep_their_codes() -> None:
    picture = ramp("yuvj420p")
    same = carried(picture, Orientation())
    assert same is not None and same.format.name == "yuv420p"
    for old, new in zip(planes(picture), planes(same), strict=True):
        np.testing.assert_array_equal(old, new)
    before = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    made = with_change(same, before, before + 10, ColourTags(1, 1, 1, True))
    rise = planes(made)[0].astype(int) - planes(same)[0]
    assert np.median(rise) == 10
    # A large change is no larger than in RGB.
    dark = av.VideoFrame.from_ndarray(before, format="rgb24").reformat(format="yuv444p", dst_color_range=2)
    made = with_change(dark, before, before + 200, ColourTags(1, 1, 1, True))
    assert (planes(made)[0] == 200).all()


def test_what_a_codec_cannot_hold_is_said(tmp_path: Path) -> None:
    info = probe(write_ffv1(tmp_path / "s.mkv", "yuva420p"))
    encoding, lost = following(info, ".mp4")
    assert encoding.pix_fmt == "yuv420p" and "does not take FFV1" in lost[0]
    assert "transparency" in lost[1] and "--lossless" in lost[1]
    encoding, lost = following(info, ".webm")
    assert encoding.pix_fmt == "yuva420p" and len(lost) == 1
    deep = probe(write_ffv1(tmp_path / "d.mkv", "yuv444p12le"))
    encoding, lost = following(deep, ".mp4")
    assert (encoding.codec, encoding.pix_fmt) == ("libx265", "yuv444p12le") and len(lost) == 1
    encoding, lost = following(deep, ".mp4", WantedPictures(codec="h264"))
    assert encoding.pix_fmt == "yuv444p10le" and "12 bits" in lost[0] and "takes 10" in lost[0]


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_a_dub_leaves_samples_beyond_black_and_white_alone(tmp_path: Path, name: str) -> None:
    """The whole command, lossless and coded: luma far from the face keeps codes that RGB does not have."""
    video = write_ffv1(tmp_path / "v.mkv", name, 25, ColourTags(1, 1, 1, False))
    audio = write_speech(tmp_path / "a.wav", 1.0)
    package = write_package(tmp_path / "package")
    box = ",".join(f"{value:g}" for value in BOX)
    for output, flags in ((tmp_path / "o.mkv", ["--lossless"]), (tmp_path / "o.mp4", [])):
        words = ["dub", "--video", video, "--audio", audio, "--output", output, "--model", package, *flags]
        done = CliRunner().invoke(app, [*map(str, words), "--box", box, "--device", "cpu"])
        assert done.exit_code == 0, done.stderr
        info = probe(output)
        assert info.pix_fmt == name and info.colour.matrix == 1
        errors, lowest = [], []
        for before, after in zip(decoded(video), decoded(output), strict=True):
            far = before[0][:, :16].astype(int), after[0][:, :16].astype(int)
            errors.append(np.abs(far[0] - far[1]))
            lowest.append(far[0].min())
        scale = 4 if name.endswith("10le") else 1
        assert min(lowest) < 16 * scale, "the ramp has codes below black"
        if flags:
            assert max(error.max() for error in errors) == 0
        else:
            psnr = 20 * np.log10(255 * scale / np.sqrt(np.mean(np.square(errors))))
            assert psnr > 40, "within what the codec's quality costs"


def test_one_picture_can_be_written_several_times(tmp_path: Path) -> None:
    """As for frames that are repeated because the next one is damaged: each has its own time."""
    picture = ramp("yuv420p")
    with VideoWriter(
        tmp_path / "o.mkv", WIDTH, HEIGHT, rate=25, encoding=Encoding(pix_fmt="yuv420p", lossless=True)
    ) as writer:
        for number in range(3):
            writer.write(picture, number)
    with VideoReader(tmp_path / "o.mkv", samples=True) as reader:
        times = [frame.time for frame in reader]
        assert times == pytest.approx([0, 0.04, 0.08])


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuva420p", "nv12", "gray"])
@pytest.mark.parametrize("full", [False, True])
def test_pictures_look_as_libswscale_makes_them(name: str, full: bool) -> None:
    picture = ramp("yuv420p").reformat(format=name)
    ColourTags(1, 1, 1, full).apply(picture)
    wanted = VideoReformatter().reformat(
        picture, format="rgb24", src_colorspace=Colorspace.ITU709, interpolation=TO_RGB
    )
    np.testing.assert_array_equal(ToRGB(WIDTH, HEIGHT)(picture), wanted.to_ndarray())
