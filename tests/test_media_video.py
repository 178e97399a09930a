"""Reading and writing pictures."""

import io
import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.media import (
    LOSSLESS,
    Encoding,
    VideoReader,
    VideoWriter,
    frame_times,
    load_audio,
    probe,
    read_frames,
    save_wav,
    write_video,
)

Frames = Callable[..., np.ndarray]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def raw_video(path: Path, frames: np.ndarray, codec: str, **options: object) -> Path:
    """Encode without the code under test."""
    pix_fmt = str(options.pop("pix_fmt", "yuv420p"))
    rotation = options.pop("rotation", None)
    pts = options.pop("pts", None)
    with av.open(str(path), "w", options=options.pop("container", {})) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_round_trip_keeps_pictures_colours_and_facts(
    make_clip: Callable[..., Path], moving_frames: Frames
) -> None:
    path = make_clip()
    info = probe(path)
    assert (info.width, info.height, info.frame_count) == (96, 64, 25)
    assert info.average_rate == 25 and info.duration == pytest.approx(1.0)
    assert info.has_audio and info.rotation == 0
    read = read_frames(path)
    source = moving_frames()
    assert read.shape == source.shape and read.dtype == np.uint8
    assert psnr(read, source) > 36
    # No drift in brightness, which fast conversions have.
    assert abs(read.astype(float).mean() - source.astype(float).mean()) < 0.25


def test_the_same_pictures_give_the_same_file(tmp_path: Path, moving_frames: Frames) -> None:
    frames, path = moving_frames(), tmp_path / "again.mp4"
    files = set()
    for _ in range(8):
        write_video(path, frames, rate=25)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_a_flat_colour_comes_back(tmp_path: Path) -> None:
    for colour in ([200, 60, 30], [16, 240, 128], [255, 255, 255], [0, 0, 0]):
        frames = np.full((3, 32, 32, 3), colour, dtype=np.uint8)
        write_video(tmp_path / "flat.mp4", frames, encoding=Encoding(crf=4))
        assert np.abs(read_frames(tmp_path / "flat.mp4").astype(int) - colour).max() <= 3


@pytest.mark.parametrize("rate", [24, Fraction(30000, 1001), 60, 12.5])
def test_constant_rates_are_exact(tmp_path: Path, moving_frames: Frames, rate: Fraction | float) -> None:
    path = tmp_path / "rate.mp4"
    write_video(path, moving_frames(10), rate=rate)
    info = probe(path)
    assert info.average_rate == Fraction(rate)
    assert info.duration == pytest.approx(10 / float(rate), abs=1e-9)
    assert np.abs(frame_times(path) - np.arange(10) / float(rate)).max() < 1e-9


@given(
    gaps=st.lists(st.integers(1, 4000), min_size=1, max_size=40),
    start=st.integers(0, 20000),
    base=st.sampled_from([Fraction(1, 15360), Fraction(1, 90000), Fraction(1, 1000), Fraction(1001, 30000)]),
    last=st.integers(1, 3000),
)
@settings(max_examples=15, deadline=None)
def test_given_time_stamps_are_kept_exactly(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], start: int, base: Fraction, last: int
) -> None:
    path = tmp_path_factory.mktemp("vfr") / "vfr.mp4"
    stamps = [start, *(start + np.cumsum(gaps)).tolist()]
    with VideoWriter(path, 32, 32, time_base=base) as writer:
        for index, pts in enumerate(stamps):
            writer.write(np.full((32, 32, 3), index, np.uint8), pts=pts, duration=last)
    with VideoReader(path) as reader:
        frames = list(reader)
        exact = [Fraction(frame.pts) * reader.info.time_base for frame in frames]
    assert exact == [pts * base for pts in stamps]
    assert [frame.index for frame in frames] == list(range(len(stamps)))
    assert [frame.time for frame in frames] == frame_times(path).tolist()
    assert reader.info.duration == pytest.approx(float((stamps[-1] + last - start) * base), abs=1e-9)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", ".mp4"),
        ("libx265", ".mp4"),
        ("libvpx-vp9", ".webm"),
        ("libsvtav1", ".mp4"),
        ("prores_ks", ".mov"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_videos_of_fewer_pictures_than_a_codec_reorders(
    tmp_path: Path, moving_frames: Frames, codec: str, suffix: str, count: int
) -> None:
    frames, path = moving_frames(count, 96, 160), tmp_path / f"o{suffix}"
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else None
    # What x265 made up was refused by the container in four of five files.
    for _ in range(5 if codec == "libx265" else 1):
        write_video(path, frames, rate=25, encoding=Encoding(codec=codec, pix_fmt=pix_fmt))
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
        assert sorted(float(packet.pts * packet.time_base) for packet in packets) == [
            i / 25 for i in range(count)
        ]
        assert all(packet.dts <= packet.pts for packet in packets)


def test_negative_time_stamps_begin_at_zero(tmp_path: Path, moving_frames: Frames, tone: Frames) -> None:
    sound = tmp_path / "s.wav"
    save_wav(sound, tone(1.0), 16000)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 96, 64, time_base=Fraction(1, 1000), audio_from=sound) as writer:
        for index, image in enumerate(moving_frames(10)):
            writer.write(image, pts=40 * index - 500)
    assert probe(path).start == 0 and probe(path).frame_count == 10
    assert frame_times(path) == pytest.approx(np.arange(10) / 25)


def test_cover_art_is_no_video(tmp_path: Path, tone: Frames) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(cover.encode(None))
        block = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
        block.sample_rate, block.pts = 16000, 0
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    with pytest.raises(UserError, match="no video stream"):
        probe(path)
    assert abs(len(load_audio(path)) - 16000) <= 1100


@pytest.mark.parametrize("size", [(97, 64), (96, 65), (63, 31), (2, 2)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
def test_every_size_is_kept(
    tmp_path: Path, moving_frames: Frames, size: tuple[int, int], suffix: str
) -> None:
    frames = moving_frames(4, size[1], size[0])
    path = tmp_path / f"odd{suffix}"
    write_video(path, frames)
    assert read_frames(path).shape == frames.shape


def test_lossless_is_exact_and_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (9, 47, 61, 3), dtype=np.uint8)
    for name in ("a.mkv", "b.mkv"):
        write_video(tmp_path / name, noise, rate=25, encoding=LOSSLESS)
    assert (read_frames(tmp_path / "a.mkv") == noise).all()
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()
    assert frame_times(tmp_path / "a.mkv") == pytest.approx(np.arange(9) / 25)


def test_an_open_stream_reads_like_its_file(make_clip: Callable[..., Path]) -> None:
    path = make_clip()
    stream = io.BytesIO(path.read_bytes())
    assert (read_frames(stream) == read_frames(path)).all()
    assert probe(stream).path == "<memory>"


def test_parts_of_a_video(make_clip: Callable[..., Path]) -> None:
    path = make_clip(sound=False)
    whole = read_frames(path)
    assert (read_frames(path, 7, 5) == whole[7:12]).all()
    assert (read_frames(path, 20, 50) == whole[20:]).all()
    assert read_frames(path, 99).shape == (0, 64, 96, 3)
    with VideoReader(path) as reader:
        assert len(reader) == 25
        assert [frame.index for frame in reader.frames(3, 6)] == [3, 4, 5]
        early = next(iter(reader))
        assert (early.image == whole[0]).all()
        assert len(list(reader)) == 25


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_turned_pictures_come_upright(
    tmp_path: Path, moving_frames: Frames, degrees: int, turns: int
) -> None:
    # set_display_rotation counts counterclockwise, as does np.rot90.
    frames = moving_frames(5)
    path = raw_video(tmp_path / "turned.mp4", frames, "libx264", crf="8", rotation=degrees)
    info = probe(path)
    upright = np.rot90(frames, turns, axes=(1, 2))
    assert (info.height, info.width) == upright.shape[1:3]
    assert info.rotation == {1: 270, 2: 180, 3: 90}[turns]
    assert psnr(read_frames(path), upright) > 30


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
        ("a.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "crf": "10", "b": "1M"}),
        ("a.avi", "libx264", {"bf": "3"}),
        ("a.avi", "mpeg4", {"bf": "2", "qscale": "2"}),
        ("a.ts", "libx264", {"bf": "3"}),
        ("a.h264", "libx264", {"bf": "3", "crf": "12"}),
        ("a.mov", "prores", {"pix_fmt": "yuv422p10le"}),
        ("a.mp4", "libx264", {"bf": "5", "g": "12", "pix_fmt": "yuvj420p"}),
        ("a.mp4", "libx264", {"pix_fmt": "yuv444p10le"}),
    ],
)
def test_formats(
    tmp_path: Path, moving_frames: Frames, name: str, codec: str, options: dict[str, str]
) -> None:
    frames = moving_frames(30, 64, 96)
    path = raw_video(tmp_path / name, frames, codec, **options)
    read = read_frames(path)
    assert len(read) == 30 == probe(path).frame_count
    # The bar's length tells the order of the frames.
    bars = (read[:, 3, :, :].min(axis=-1) > 190).sum(axis=1)
    wanted = (frames[:, 3, :, :].min(axis=-1) > 190).sum(axis=1)
    assert np.abs(bars - wanted).max() <= 4
    assert psnr(read, frames) > 28
    assert np.abs(frame_times(path) - np.arange(30) / 25).max() < 0.0011


def test_what_an_edit_list_hides_stays_hidden(tmp_path: Path, moving_frames: Frames) -> None:
    # Negative time stamps become an edit list that starts in the middle of a group of pictures.
    frames = moving_frames(20)
    path = raw_video(tmp_path / "cut.mp4", frames, "libx264", crf="10", bf="0", pts=list(range(-6, 14)))
    read = read_frames(path)
    assert len(read) == probe(path).frame_count == 14
    assert psnr(read, frames[6:]) > 30
    assert frame_times(path) == pytest.approx(np.arange(14) / 25)


def test_colour_tags_follow_the_source(tmp_path: Path, moving_frames: Frames) -> None:
    frames = moving_frames(4)
    first = tmp_path / "tagged.mp4"
    with av.open(str(first), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 6, 6, 6, 2
        context.sample_aspect_ratio = Fraction(4, 3)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image).reformat(
                format="yuv420p", dst_colorspace="ITU601", dst_color_range="JPEG"
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = probe(first)
    assert (info.colour.matrix, info.colour.full_range, info.pixel_aspect) == (6, True, Fraction(4, 3))
    second = tmp_path / "again.mp4"
    write_video(second, read_frames(first), like=info, encoding=Encoding(crf=4))
    assert probe(second).colour == info.colour
    assert probe(second).pixel_aspect == info.pixel_aspect
    assert psnr(read_frames(second), frames) > 33


def test_nothing_is_left_after_an_exception(tmp_path: Path, moving_frames: Frames) -> None:
    path = tmp_path / "out" / "a.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 96, 64, rate=25) as writer:
        for image in moving_frames(20):
            writer.write(image)
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no frame"), VideoWriter(path, 96, 64, rate=25):
        pass
    with pytest.raises(ValueError, match="must increase"), VideoWriter(path, 96, 64, rate=25) as writer:
        writer.write(moving_frames(1)[0], pts=4)
        writer.write(moving_frames(1)[0], pts=4)
    assert list(path.parent.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(
    make_clip: Callable[..., Path], moving_frames: Frames
) -> None:
    path = make_clip(sound=False)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), VideoWriter(path, 96, 64, rate=25) as writer:
        writer.write(moving_frames(1)[0])
        raise RuntimeError
    assert path.read_bytes() == before


def test_a_video_can_be_rewritten_in_place(make_clip: Callable[..., Path]) -> None:
    path = make_clip()
    with VideoReader(path) as reader, VideoWriter(path, 96, 64, rate=25, audio_from=path) as writer:
        for frame in reader:
            writer.write(255 - frame.image)
    assert probe(path).frame_count == 25 and probe(path).has_audio


def test_outputs_that_cannot_be(tmp_path: Path, moving_frames: Frames) -> None:
    frames = moving_frames(2)
    for name, options, word in (
        ("a.xyz", {}, "suffix"),
        ("a.webm", {"encoding": Encoding("libx264")}, "libx264"),
        ("a.mp4", {"encoding": Encoding("nonsense")}, "nonsense"),
        ("a.mp4", {"encoding": Encoding(pix_fmt="nonsense")}, "nonsense"),
        ("a.mp4", {"audio_from": tmp_path / "absent.wav"}, "absent.wav"),
    ):
        with pytest.raises(UserError, match=word) as error:
            write_video(tmp_path / "out" / name, frames, **options)
        assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_no_video_is_told_in_one_sentence(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 99)
    (tmp_path / "text.txt").write_text("not a video\n" * 99)
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "empty.mp4").touch()
    make_clip("sound.mp4")
    with av.open(str(tmp_path / "picture.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        container.mux(stream.encode(None))
    names = [
        "absent.mp4",
        "text.mp4",
        "text.txt",
        "random.mp4",
        "empty.mp4",
        "picture.png",
        "sound.sound.wav",
        ".",
    ]
    for name in names:
        for function in (probe, read_frames, frame_times):
            with pytest.raises(UserError) as error:
                function(tmp_path / name)
            text = str(error.value)
            assert str(tmp_path / name) in text and "\n" not in text and text.endswith(".")


def test_a_file_without_its_index_is_refused(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    whole = make_clip(sound=False).read_bytes()
    # The index stands in front, so cut within it.
    (tmp_path / "cut.mp4").write_bytes(whole[:600])
    with pytest.raises(UserError, match=r"cut\.mp4"):
        probe(tmp_path / "cut.mp4")


def test_a_cut_download_gives_what_is_there_and_a_warning(
    make_clip: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_clip(sound=False)
    whole = read_frames(path)
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 7 // 10])
    with caplog.at_level(logging.WARNING):
        info = probe(tmp_path / "cut.mp4")
        read = read_frames(tmp_path / "cut.mp4")
    assert 3 < len(read) == info.frame_count < 25
    assert len(frame_times(tmp_path / "cut.mp4")) == len(read)
    assert (read[:3] == whole[:3]).all()
    assert "cut.mp4" in caplog.text


def test_damage_in_the_middle_keeps_positions(
    tmp_path: Path, moving_frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    frames = moving_frames(30)
    path = raw_video(tmp_path / "hurt.mp4", frames, "libx264", crf="10", g="5", bf="0")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        where = [(p.pos, p.size) for p in packets[11:14]]
    data = bytearray(path.read_bytes())
    for position, size in where:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING), VideoReader(path) as reader:
        read = [frame.image for frame in reader]
    assert len(read) == reader.info.frame_count == 30
    assert psnr(np.stack(read[:11]), frames[:11]) > 30
    assert psnr(np.stack(read[15:]), frames[15:]) > 30
    assert "hurt.mp4" in caplog.text


def test_memory_stays_small(make_clip: Callable[..., Path]) -> None:
    import tracemalloc

    path = make_clip(count=150, height=128, width=128, sound=False)
    tracemalloc.start()
    with VideoReader(path) as reader:
        seen = sum(1 for _ in reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 150
    assert peak < 20 * 128 * 128 * 3
