"""Files as the world has them: clocks that repeat, start again or begin late, odd sound, odd names."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from dub_clips import BOX, picture, steady, write_clip, write_speech
from hypothesis import given
from hypothesis import strategies as st
from test_media_table import tagged_beside

from common.errors import UserError
from common.face.box_backend import BoxDetector
from common.files import require_file
from common.media import (
    Encoding,
    VideoReader,
    VideoWriter,
    frame_times,
    load_audio,
    probe,
    read_frames,
    save_wav,
)
from common.media.colour import ColourTags
from common.media.stamps import increasing, measured_rate, unwrapped
from common.speech.mel import MelEncoder
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.request import DubRequest

GREYS = [20, 60, 100, 140, 180, 220]


def pictures(count: int = 6, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Flat pictures that are told apart by their level."""
    return [np.full((height, width, 3), GREYS[i % len(GREYS)], np.uint8) for i in range(count)]


def stamped(
    path: Path,
    stamps: Sequence[int],
    codec: str = "mpeg4",
    base: Fraction = Fraction(1, 1000),
    **container: str,
) -> Path:
    """Packets with exactly these time stamps, as some recorders write them; every frame is a key frame."""
    with av.open(str(path), "w", options=container) as output:
        stream = output.add_stream(codec, rate=25, options={"g": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        encoded = []
        for number, image in enumerate(pictures(len(stamps))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            encoded += stream.encode(frame)
        encoded += stream.encode(None)
        for packet, stamp in zip(encoded, stamps, strict=True):
            packet.pts = packet.dts = stamp
            packet.time_base = base
            output.mux(packet)
    return path


def levels(frames: np.ndarray) -> list[int]:
    """Which of GREYS each frame shows."""
    means = frames.reshape(len(frames), -1).mean(axis=1)
    return [int(np.argmin(np.abs(np.array(GREYS) - mean))) for mean in means]


def test_repeated_time_stamps_show_every_frame_for_a_while(tmp_path: Path) -> None:
    video = stamped(tmp_path / "v.mkv", [0, 40, 40, 120, 160, 160])
    times = frame_times(video)
    np.testing.assert_allclose(times, [0, 0.04, 0.08, 0.12, 0.16, 0.18], atol=0.021)
    assert (np.diff(times) > 0).all()
    assert levels(read_frames(video)) == [0, 1, 2, 3, 4, 5]
    with VideoWriter(tmp_path / "o.mp4", 64, 48, time_base=probe(video).time_base) as writer:
        for frame in VideoReader(video):
            writer.write(frame.image, frame.pts, frame.duration)
    assert len(frame_times(tmp_path / "o.mp4")) == 6


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264", "libx265"])
def test_joined_streams_go_on_where_the_clock_starts_again(
    tmp_path: Path, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The packet at the joint is marked as broken, but whole."""
    part = tmp_path / "part.ts"
    with VideoWriter(part, 64, 48, rate=25, encoding=Encoding(codec=codec)) as writer:
        for image in pictures(50):
            writer.write(image)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    times = frame_times(joined)
    assert len(times) == 100
    assert (np.diff(times) > 0).all() and np.diff(times).max() < 0.1
    assert times[-1] == pytest.approx(4.0, abs=0.15)
    shown = levels(read_frames(joined))
    assert shown == 2 * [i % 6 for i in range(50)]
    assert not caplog.text


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264", "libx265"])
def test_a_packet_with_a_hole_costs_no_other(
    tmp_path: Path, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the one before it that a transport stream marks as broken."""
    part = tmp_path / "part.ts"
    packets = written(part, codec, 30)
    number = next(n for n, packet in enumerate(packets) if n >= 15 and packet.size > 6 * 188)
    place = packets[number].pos
    assert place is not None
    data, hole = part.read_bytes(), (place + packets[number].size // 2) // 188 * 188
    (tmp_path / "hole.ts").write_bytes(data[:hole] + data[hole + 188 :])
    assert len(marked(tmp_path / "hole.ts")) == 1
    whole, made = read_frames(part), read_frames(tmp_path / "hole.ts")
    assert len(made) == len(frame_times(tmp_path / "hole.ts")) == 30
    first = min(packet.pts or 0 for packet in packets[number:])
    before = sorted(packet.pts or 0 for packet in packets).index(first)
    np.testing.assert_array_equal(made[:before], whole[:before])
    assert "marked as broken" not in caplog.text and (made != whole).any()
    assert codec == "libx265" or "guessed from their neighbours" in caplog.text


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
def test_a_packet_that_was_cut_off_is_left_out(
    tmp_path: Path, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    """MOV with its list of packets in front, which names more than the file holds."""
    video = tmp_path / "v.mov"
    packets = written(video, codec, 20)
    cut = packets[12]
    assert cut.pos is not None
    data = video.read_bytes()
    assert data.index(b"moov") < cut.pos, "the writer puts the list first"
    (tmp_path / "cut.mov").write_bytes(data[: cut.pos + cut.size // 2])
    assert len(marked(tmp_path / "cut.mov")) == 1
    shown = sorted(packet.pts or 0 for packet in packets[:12])
    assert len(frame_times(tmp_path / "cut.mov")) == len(read_frames(tmp_path / "cut.mov")) == len(shown)
    assert "marked as broken" in caplog.text


def written(path: Path, codec: str, count: int) -> list[av.Packet]:
    """Write a video of ``count`` pictures; its packets."""
    with VideoWriter(path, 320, 240, rate=25, encoding=Encoding(codec=codec, crf=4)) as writer:
        for index in range(count):
            writer.write(picture(index, 320, 240))
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def marked(path: Path) -> list[int]:
    """Numbers of the packets that FFmpeg marks as broken."""
    with av.open(str(path)) as container:
        return [number for number, packet in enumerate(container.demux(video=0)) if packet.is_corrupt]


def test_a_clock_that_begins_late_is_known(tmp_path: Path) -> None:
    hours = 36_000_000
    video = stamped(tmp_path / "v.mkv", [hours + 40 * i for i in range(6)])
    info = probe(video)
    assert info.start == pytest.approx(36000.0) and info.duration == pytest.approx(0.24, abs=0.002)
    assert info.clock_start * info.time_base == pytest.approx(36000.0)
    assert probe(stamped(tmp_path / "zero.mkv", [40 * i for i in range(6)])).clock_start == 0


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40).map(sorted),
    st.integers(1, 40),
)
def test_time_stamps_increase_whatever_is_given(stamps: list[int], step: int) -> None:
    mended = increasing(np.asarray(stamps, np.int64), step)
    assert len(mended) == len(stamps)
    assert (np.diff(mended) > 0).all() and mended[0] == stamps[0]
    if len(set(stamps)) == len(stamps):
        assert mended.tolist() == stamps


def test_reordered_frames_are_no_new_clock() -> None:
    reordered = [0, 160, 80, 40, 120, 320, 240, 200, 280]
    assert not unwrapped(reordered, 40, 1000).any()
    again = unwrapped([0, 40, 5000, 5040, 0, 40], 40, 1000)
    assert (again + np.array([0, 40, 5000, 5040, 0, 40])).tolist() == [0, 40, 5000, 5040, 5080, 5120]


@pytest.mark.parametrize(
    ("said", "wanted"), [(60000, 25), (25, 25), (Fraction(30000, 1001), 25), (Fraction(25025, 1000), None)]
)
def test_rates_are_those_of_the_time_stamps(said: Fraction | int, wanted: int | None) -> None:
    stamps = np.arange(100, dtype=np.int64) * 40
    rate = measured_rate(Fraction(said), stamps, Fraction(1, 1000))
    assert rate == (said if wanted is None else wanted)


@pytest.mark.parametrize(("width", "height", "tolerance"), [(1280, 720, 3), (640, 360, 3)])
def test_untagged_pictures_are_read_as_players_do(
    tmp_path: Path, width: int, height: int, tolerance: int
) -> None:
    """Saturated colours of the matrix that the size says, without tags."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = (200, 30, 40), (30, 60, 200)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    matrix = "itu709" if height >= 720 else "itu601"
    yuv = frame.reformat(format="yuv444p", dst_colorspace=matrix)
    path = tmp_path / "untagged.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        yuv.pts = 0
        output.mux([*stream.encode(yuv), *stream.encode(None)])
    assert np.abs(read_frames(path)[0].astype(int) - image).max() <= tolerance


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("libx265", ".mov", "yuv444p"),
        ("libx264", ".mp4", "yuv444p"),
        ("libvpx-vp9", ".mkv", "yuv444p"),
        ("prores_ks", ".mov", "yuv444p10le"),
        ("dnxhd", ".mov", "yuv422p10le"),
    ],
)
def test_pictures_are_read_by_the_tags_of_their_container(
    tmp_path: Path, codec: str, suffix: str, pix_fmt: str
) -> None:
    """Saturated colours in the matrix that the container alone tells."""
    image = np.zeros((144, 256, 3), np.uint8)
    image[:, :128], image[:, 128:] = (200, 30, 40), (30, 60, 200)
    yuv = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format=pix_fmt, dst_colorspace="BT2020", dst_color_range="MPEG"
    )
    options = {"profile": "dnxhr_hqx"} if codec == "dnxhd" else {"x265-params": "log-level=error"}
    options.update({} if codec in ("dnxhd", "prores_ks") else {"crf": "4"})
    with av.open(str(tmp_path / f"plain{suffix}"), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 256, 144, pix_fmt
        yuv.colorspace = 2
        for number in range(4):
            yuv.pts = number
            output.mux(stream.encode(yuv))
        output.mux(stream.encode(None))
    path, tags = tmp_path / f"tagged{suffix}", ColourTags(9, 9, 14, False)
    tagged_beside(tmp_path / f"plain{suffix}", path, tags)
    with VideoReader(path, samples=True) as reader:
        assert reader.info.colour.matrix == 9
        frame = next(iter(reader))
    flat = np.abs(frame.image.astype(int) - image)[:, np.r_[:112, 144:256]]
    assert flat.max() <= 8, "BT.601 and BT.709 are off by 14 and more"
    assert frame.samples is not None and int(frame.samples.colorspace) == 9


def test_samples_that_are_no_numbers_are_refused_before_any_work(tmp_path: Path) -> None:
    sound = np.zeros(16000, np.float32)
    sound[8000] = np.nan
    soundfile.write(tmp_path / "nan.wav", sound, 16000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"nan\.wav.*no numbers.*export"):
        load_audio(tmp_path / "nan.wav")


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_mp3_of_any_rate_goes_into_any_container(tmp_path: Path, rate: int, suffix: str) -> None:
    sound = tmp_path / "s.mp3"
    with av.open(str(sound), "w") as output:
        stream = output.add_stream("libmp3lame", rate=rate, layout="mono")
        samples = (0.2 * np.sin(np.arange(rate) / 20)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    with VideoWriter(tmp_path / f"o{suffix}", 64, 48, rate=25, audio_from=sound) as writer:
        for image in pictures(10):
            writer.write(image)
    assert len(load_audio(tmp_path / f"o{suffix}")) >= 15000


def test_opus_is_encoded_anew_for_mov(tmp_path: Path) -> None:
    sound = tmp_path / "s.opus"
    with av.open(str(sound), "w") as output:
        stream = output.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 48000), 0.1, np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    with VideoWriter(tmp_path / "o.mov", 64, 48, rate=25, audio_from=sound) as writer:
        for image in pictures(10):
            writer.write(image)
    assert len(load_audio(tmp_path / "o.mov")) >= 15000


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "two.mka"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for stream, level in zip(streams, (1000, 9000), strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 16000), level, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = 16000
            output.mux([*stream.encode(frame), *stream.encode(None)])
    assert load_audio(path)[8000] == pytest.approx(9000 / 32768, abs=1e-3)


def test_names_with_a_colon_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "plain.mp4", steady(5, 25))
    (tmp_path / "plain.mp4").rename(tmp_path / "take1:final.mp4")
    monkeypatch.chdir(tmp_path)
    assert probe("take1:final.mp4").frame_count == 5
    assert len(read_frames(Path("take1:final.mp4"))) == 5


def test_a_name_that_no_file_system_takes_is_one_sentence(tmp_path: Path) -> None:
    name = "x" * 300
    with pytest.raises(UserError, match="does not exist"):
        require_file(tmp_path / name, "video")
    video = write_clip(tmp_path / "v.mp4", steady(5, 25))
    audio = write_speech(tmp_path / "a.wav", 0.2)
    with pytest.raises(UserError, match="shorten"):
        check_request(DubRequest(video, audio, tmp_path / f"{name}.mp4", box=BOX))


@pytest.mark.parametrize("box", [(5000, 5000, 5100, 5100), (-90, 10, -10, 90), (10, 120, 60, 170)])
def test_a_box_outside_the_picture_is_refused(tmp_path: Path, box: tuple[float, ...]) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(5, 25))
    audio = write_speech(tmp_path / "a.wav", 0.2)
    with pytest.raises(UserError, match="outside the picture of 160x120"):
        check_request(DubRequest(video, audio, tmp_path / "o.mp4", box=box))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [4, 6])
def test_a_track_has_one_row_per_frame(tmp_path: Path, rows: int) -> None:
    track = tmp_path / "t.json"
    track.write_text('{"boxes": [' + ", ".join(["[50, 30, 110, 90]"] * rows) + "]}")
    with pytest.raises(UserError, match=f"{rows} rows.*5 frames"):
        BoxDetector(track_file=track).check(160, 120, 5)


def test_damage_is_told_once_however_often_a_file_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_clip(tmp_path / "v.mkv", steady(30, 25))
    video.write_bytes(video.read_bytes()[:-2000])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            read_frames(video)
    assert len(caplog.records) == len({record.message for record in caplog.records})


def test_speech_that_no_picture_hears_is_not_encoded(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(5, 25))
    save_wav(tmp_path / "long.wav", np.full(16000 * 90, 0.1, np.float32))
    inputs = check_request(DubRequest(video, tmp_path / "long.wav", tmp_path / "o.mp4", box=BOX))
    assert len(inputs.features(MelEncoder(), 0.2)) <= 50 * 31
    assert len(inputs.features(MelEncoder(), 100.0)) == 50 * 100
