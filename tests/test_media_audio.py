"""Sound: loading, saving, and as the track of a written video."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from common.errors import UserError
from common.media import VideoWriter, load_audio, probe, save_flac, save_wav, write_video

Tone = Callable[..., np.ndarray]
Frames = Callable[..., np.ndarray]


def encode_sound(
    path: Path, samples: np.ndarray, rate: int, codec: str, start: float = 0.0, holes: tuple[int, ...] = ()
) -> Path:
    """Write (channels, samples) with FFmpeg; blocks of 1024 samples named in ``holes`` are left out."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.time_base = Fraction(1, rate)
        for index in range(0, samples.shape[1], 1024):
            if index // 1024 in holes:
                continue
            block = np.ascontiguousarray(samples[:, index : index + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = index + round(start * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def delay(a: np.ndarray, b: np.ndarray, rate: int = 16000) -> float:
    """Seconds by which ``b`` comes after ``a``, from the peak of their correlation."""
    size = 1 << int(np.ceil(np.log2(len(a) + len(b))))
    peak = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    lag = int(np.argmax(peak))
    return (lag if lag < size // 2 else lag - size) / rate


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


@pytest.mark.parametrize(("save", "suffix"), [(save_wav, ".wav"), (save_flac, ".flac")])
def test_saved_sound_comes_back_exactly(tmp_path: Path, save: Callable[..., None], suffix: str) -> None:
    samples = (np.random.default_rng(0).integers(-32768, 32768, 5000) / 32768).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    save(path, samples, 16000)
    loaded = load_audio(path)
    assert loaded.dtype == np.float32 and (loaded == samples).all()
    assert soundfile.info(str(path)).subtype == "PCM_16"
    assert (load_audio(io.BytesIO(path.read_bytes())) == samples).all()
    save(path, np.array([2.0, -2.0, 0.0], dtype=np.float32), 16000)
    assert load_audio(path) == pytest.approx([32767 / 32768, -1.0, 0.0])


def test_saving_is_the_same_every_time(tmp_path: Path, tone: Tone) -> None:
    for name in ("a.flac", "b.flac"):
        save_flac(tmp_path / name, tone(), 16000)
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()
    with pytest.raises(ValueError):
        save_wav(tmp_path / "c.wav", np.zeros((2, 5)), 16000)


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8000, 1, "PCM_U8"),
        (22050, 2, "PCM_24"),
        (44100, 2, "PCM_16"),
        (48000, 6, "FLOAT"),
        (96000, 1, "FLOAT"),
    ],
)
def test_every_kind_becomes_16_khz_mono(
    tmp_path: Path, tone: Tone, rate: int, channels: int, subtype: str
) -> None:
    sound = tone(1.0, rate)
    soundfile.write(str(tmp_path / "a.wav"), np.stack([sound] * channels, axis=1), rate, subtype=subtype)
    loaded = load_audio(tmp_path / "a.wav")
    wanted = tone(1.0, 16000)
    assert abs(len(loaded) - 16000) <= 1
    assert np.abs(loaded).max() <= 1
    assert abs(delay(wanted, loaded)) <= 1 / 16000
    assert np.corrcoef(loaded[100:15900], wanted[100:15900])[0, 1] > 0.98
    assert (load_audio(tmp_path / "a.wav") == loaded).all()


def test_full_scale_stereo_does_not_clip(tmp_path: Path) -> None:
    wave = np.sin(np.arange(16000) / 7).astype(np.float32)
    soundfile.write(str(tmp_path / "a.wav"), np.stack([wave, wave], axis=1), 16000, subtype="FLOAT")
    assert np.abs(load_audio(tmp_path / "a.wav") - wave).max() < 1e-3


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus")])
def test_coded_sound_is_not_shifted(tmp_path: Path, tone: Tone, name: str, codec: str) -> None:
    rate = 48000
    path = encode_sound(tmp_path / name, tone(1.5, rate)[None], rate, codec)
    assert abs(delay(tone(1.5), load_audio(path))) < 0.002


def test_sound_is_counted_from_the_first_picture(tmp_path: Path, tone: Tone, moving_frames: Frames) -> None:
    sound = tmp_path / "s.wav"
    save_wav(sound, tone(2.0), 16000)
    late = tmp_path / "late.mp4"
    # Pictures begin at 0.4 s on the file's clock, and the sound's beginning goes with them.
    with VideoWriter(late, 96, 64, rate=25, time_base=Fraction(1, 1000), audio_from=sound) as writer:
        for index, image in enumerate(moving_frames(25)):
            writer.write(image, pts=400 + 40 * index)
    assert probe(late).start == pytest.approx(0.4)
    assert abs(delay(tone(2.0), load_audio(late))) < 0.002
    with av.open(str(late)) as container:
        audio = container.streams.audio[0]
        # The encoder's warming up (1024 samples) comes before.
        assert 0.4 - 1024 / 16000 <= float(audio.start_time * audio.time_base) <= 0.4


def test_sound_that_starts_before_or_after_the_pictures(
    tmp_path: Path, tone: Tone, moving_frames: Frames
) -> None:
    def mux(path: Path, picture_start: int, sound_start: float) -> Path:
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            audio = container.add_stream("aac", rate=16000, layout="mono")
            for index, image in enumerate(moving_frames(25)):
                picture = av.VideoFrame.from_ndarray(image)
                picture.pts = index + picture_start
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            block = av.AudioFrame.from_ndarray(tone(2.0)[None], format="fltp", layout="mono")
            block.sample_rate, block.time_base, block.pts = (
                16000,
                Fraction(1, 16000),
                round(16000 * sound_start),
            )
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))
        return path

    early = load_audio(mux(tmp_path / "early.mp4", 10, 0.0))  # pictures at 0.4 s
    late = load_audio(mux(tmp_path / "late.mp4", 0, 0.5))
    assert delay(tone(2.0), early) == pytest.approx(-0.4, abs=0.002)
    assert delay(tone(2.0), late) == pytest.approx(0.5, abs=0.002)
    assert np.abs(late[:7500]).max() < 0.02

    # The same sound under new pictures keeps its place against them.
    for source, wanted in (("early.mp4", early), ("late.mp4", late)):
        for suffix in (".mp4", ".mkv"):
            output = tmp_path / f"out{suffix}"
            write_video(output, moving_frames(25), audio_from=tmp_path / source)
            got = load_audio(output)
            assert abs(delay(wanted, got)) < 0.002
            assert len(got) == pytest.approx(len(wanted), abs=1100)
            assert probe(output).start == 0


def test_holes_are_filled_with_silence(tmp_path: Path, tone: Tone) -> None:
    sound = tone(2.0)
    path = encode_sound(tmp_path / "holes.mkv", sound[None], 16000, "pcm_s16le", holes=(5, 6, 7, 20))
    loaded = load_audio(path)
    assert len(loaded) == pytest.approx(32000, abs=32)
    assert np.abs(loaded[5 * 1024 + 40 : 8 * 1024 - 40]).max() == 0
    after = slice(9 * 1024, 19 * 1024)
    assert abs(delay(sound[after], loaded[after])) <= 0.001


def test_what_has_no_sound_is_told_in_one_sentence(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    (tmp_path / "text.wav").write_text("no sound\n" * 50)
    (tmp_path / "empty.wav").touch()
    soundfile.write(str(tmp_path / "zero.wav"), np.zeros(0, np.float32), 16000)
    make_clip("mute.mp4", sound=False)
    words = {"absent.wav": "exist", "text.wav": "media", "empty.wav": "empty", "zero.wav": "length zero"}
    for name, word in {**words, "mute.mp4": "no audio stream", ".": "folder"}.items():
        with pytest.raises(UserError, match=word) as error:
            load_audio(tmp_path / name)
        text = str(error.value)
        assert str(tmp_path / name) in text and "\n" not in text and text.endswith(".")
        with pytest.raises(UserError, match=word):
            make_clip("out.mp4", sound=False, audio_from=tmp_path / name)
        assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("name", "codec", "rate", "output"),
    [
        ("a.m4a", "aac", 44100, "o.mp4"),
        ("a.mp3", "libmp3lame", 44100, "o.mp4"),
        ("a.mka", "ac3", 48000, "o.mp4"),
        ("a.m4a", "alac", 44100, "o.mp4"),
        ("a.ogg", "libopus", 48000, "o.mp4"),
        ("a.ogg", "libopus", 48000, "o.webm"),
        ("a.flac", "flac", 16000, "o.mkv"),
        ("a.wav", "pcm_s16le", 16000, "o.mov"),
    ],
)
def test_packets_go_over_untouched(
    tmp_path: Path, tone: Tone, moving_frames: Frames, name: str, codec: str, rate: int, output: str
) -> None:
    sound = np.stack([tone(2.0, rate)] * 2)
    source = encode_sound(tmp_path / name, sound, rate, codec)
    # The sound is twice as long as the pictures: all of it stays.
    write_video(tmp_path / output, moving_frames(25), audio_from=source)
    original, copied = packets(source), packets(tmp_path / output)
    # At the front Matroska has no room for what only warms the decoder up.
    assert copied == original[len(original) - len(copied) :]
    assert len(original) - len(copied) <= 1
    assert abs(delay(load_audio(source), load_audio(tmp_path / output))) < 0.003
    assert len(load_audio(tmp_path / output)) == pytest.approx(32000, abs=1300)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "output"),
    [
        ("a.flac", "flac", 16000, 1, "o.mp4"),
        ("a.wav", "pcm_s16le", 44100, 2, "o.mp4"),
        ("a.wav", "pcm_f32le", 96000, 6, "o.mp4"),
        ("a.mka", "pcm_s16le", 11111, 1, "o.mp4"),
        ("a.m4a", "aac", 44100, 2, "o.webm"),
    ],
)
def test_what_the_container_does_not_take_is_encoded(
    tmp_path: Path,
    tone: Tone,
    moving_frames: Frames,
    name: str,
    codec: str,
    rate: int,
    channels: int,
    output: str,
) -> None:
    source = encode_sound(tmp_path / name, np.stack([tone(2.0, rate)] * channels), rate, codec)
    write_video(tmp_path / output, moving_frames(25), audio_from=source)
    with av.open(str(tmp_path / output)) as container:
        codec_name = container.streams.audio[0].codec_context.name
        assert codec_name in (("aac",) if output.endswith("mp4") else ("opus", "libopus"))
        assert float(container.duration / 1e6) == pytest.approx(2.0, abs=0.08)
    before, after = load_audio(source), load_audio(tmp_path / output)
    assert abs(delay(before, after)) < 0.002
    assert len(after) == pytest.approx(len(before), abs=1100)
    shared = min(len(before), len(after)) - 400
    assert np.corrcoef(before[400:shared], after[400:shared])[0, 1] > 0.95


def test_a_short_sound_leaves_the_rest_silent(tmp_path: Path, tone: Tone, moving_frames: Frames) -> None:
    save_wav(tmp_path / "a.wav", tone(0.3), 16000)
    write_video(tmp_path / "o.mp4", moving_frames(50), audio_from=tmp_path / "a.wav")
    assert probe(tmp_path / "o.mp4").frame_count == 50
    assert len(load_audio(tmp_path / "o.mp4")) == pytest.approx(4800, abs=1100)


def test_sound_and_pictures_are_interleaved(tmp_path: Path, tone: Tone, moving_frames: Frames) -> None:
    save_wav(tmp_path / "a.wav", tone(8.0), 16000)
    write_video(tmp_path / "o.mp4", moving_frames(200), audio_from=tmp_path / "a.wav")
    with av.open(str(tmp_path / "o.mp4")) as container:
        places: dict[str, list[tuple[int, float]]] = {"audio": [], "video": []}
        for packet in container.demux():
            if packet.size and packet.dts is not None:
                places[packet.stream.type].append((packet.pos, float(packet.dts * packet.time_base)))
    for position, moment in places["video"]:
        near = min(places["audio"], key=lambda item: abs(item[0] - position))
        assert abs(near[1] - moment) < 1.0
