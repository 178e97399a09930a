"""What lies beside the pictures of a source, and damage that decoders hide."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from dub_clips import BOX, picture, steady, write_clip, write_speech
from test_media_table import PatchEditor, dub
from typer.testing import CliRunner

from bootdub.cli.main import app
from bootdub.cli.options import CodecName
from common.errors import UserError
from common.media import VideoReader, VideoWriter, frame_times, load_audio, probe
from common.media.codecs import OUTPUT_CODECS
from common.media.following import WantedPictures, following
from common.media.soundtrack import SoundPlace
from common.media.source import warn_once
from common.media.writer import Tracks
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.request import DubRequest

assert PatchEditor.crop_size  # the stand-in of the table


def beep(rate: int, height: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * height * time)).astype(np.float32)


def write_master(path: Path) -> Path:
    """Pictures, three sounds of which the second is the default, subtitles, chapters, time code, a title."""
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "Reel 7"
        video = output.add_stream("libx264", rate=25)
        video.width, video.height = 160, 120
        holder = output if path.suffix == ".mkv" else video
        holder.metadata["timecode"] = "10:00:00:00"
        sounds = []
        for number, language in enumerate(("fra", "eng", "spa")):
            sound = output.add_stream("aac", rate=48000, layout="mono")
            sound.metadata["language"] = language
            sound.disposition = av.stream.Disposition.default if number == 1 else av.stream.Disposition(0)
            sounds.append(sound)
        words = output.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
        words.metadata["language"] = "eng"
        chapters = [
            {"id": n, "start": 500 * n, "end": 500 * n + 500, "time_base": Fraction(1, 1000)} for n in (0, 1)
        ]
        output.set_chapters([{**item, "metadata": {"title": f"Part {item['id']}"}} for item in chapters])
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        for number, sound in enumerate(sounds):
            block = beep(48000, 300 * (number + 1))[None]
            for start in range(0, block.shape[1], 1024):
                part = np.ascontiguousarray(block[:, start : start + 1024])
                piece = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 48000, start, Fraction(1, 48000)
                output.mux(sound.encode(piece))
            output.mux(sound.encode(None))
        text = b"hello" if path.suffix == ".mkv" else b"\0\5hello"
        packet = av.Packet(text)
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts = packet.dts = 200
        packet.duration = 300
        output.mux(packet)
        output.mux(video.encode(None))
    return path


def request(tmp_path: Path, video: Path, output: str) -> DubRequest:
    audio = write_speech(tmp_path / "a.wav", 1.0)
    return DubRequest(video=video, audio=audio, output=tmp_path / output, box=BOX)


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_what_lies_beside_the_pictures_is_carried_over(tmp_path: Path, suffix: str) -> None:
    video = write_master(tmp_path / f"v{suffix}")
    job = request(tmp_path, video, f"o{suffix}")
    assert not any("cannot hold" in warning for warning in dub(job))
    with av.open(str(video)) as before, av.open(str(job.output)) as after:
        assert after.metadata["title"] == "Reel 7"
        assert [sound.language for sound in after.streams.audio[1:]] == ["fra", "spa"]
        assert after.streams.audio[0].disposition & av.stream.Disposition.default
        assert not after.streams.audio[1].disposition & av.stream.Disposition.default
        assert [item["metadata"]["title"] for item in after.chapters()] == ["Part 0", "Part 1"]
        said = {**after.metadata, **after.streams.video[0].metadata}
        assert "10:00:00:00" in said.values()
        for old, new in ((0, 1), (2, 2)):
            given, kept = (
                [bytes(p) for p in container.demux(container.streams.audio[index]) if p.size]
                for container, index in ((before, old), (after, new))
            )
            assert kept == given[len(given) - len(kept) :] and len(given) - len(kept) <= 1
            before.seek(0)
            after.seek(0)
        words = [p for p in after.demux(after.streams.subtitles[0]) if p.size and b"hello" in bytes(p)]
        assert float(words[0].pts * words[0].time_base) == pytest.approx(0.2, abs=0.002)


def write_aac(path: Path, rate: int = 48000) -> Path:
    """A second of a tone that begins at once."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=rate, layout="mono")
        stream.metadata["title"] = "given"
        block = av.AudioFrame.from_ndarray(beep(rate, 440)[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
        output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    return path


def samples(path: Path) -> tuple[float, np.ndarray]:
    """Seconds at which a file's sound begins, and all that a decoder gives of it."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[0]))
    return float(frames[0].time), np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.mark.parametrize("suffix", [".m4a", ".mka", ".aac"])
@pytest.mark.parametrize(
    ("rate", "place"),
    [
        (48000, SoundPlace()),
        (44100, SoundPlace()),
        (48000, SoundPlace(Fraction(1, 5))),
        (48000, SoundPlace(Fraction(1, 5), Fraction(1, 5))),
    ],
)
def test_aac_in_matroska_is_what_was_given_from_its_first_sample_on(
    tmp_path: Path, suffix: str, rate: int, place: SoundPlace
) -> None:
    """Its decoder needs a packet before that, which no player shall play."""
    given, made = write_aac(tmp_path / f"a{suffix}", rate), tmp_path / "o.mkv"
    clip = probe(write_clip(tmp_path / "c.mp4", steady(10, 25)))
    like = replace(clip, pixel_aspect=Fraction(3, 2))
    with VideoWriter(
        made, 160, 120, rate=25, audio_from=given, tracks=Tracks(place=place), like=like
    ) as writer:
        for index in range(10):
            writer.write(picture(index))
    (_, expected), (begins, heard) = samples(given), samples(made)
    np.testing.assert_array_equal(heard, expected)
    assert begins == pytest.approx(float(place.zero), abs=0.001)
    with av.open(str(made)) as container:
        assert container.streams.audio[0].metadata.get("title") == ("given" if suffix == ".mka" else None)
        assert container.streams.video[0].sample_aspect_ratio == Fraction(3, 2)
    assert frame_times(made) == pytest.approx(np.arange(10) / 25, abs=0.001)


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_further_sounds_in_matroska_begin_with_their_first_sample(tmp_path: Path, suffix: str) -> None:
    video = write_master(tmp_path / f"v{suffix}")
    job = request(tmp_path, video, "o.mkv")
    dub(job)
    for old, new in ((1, 2), (3, 3)):
        before, after = load_audio(video, 48000, old), load_audio(job.output, 48000, new)
        assert len(before) == len(after)
        np.testing.assert_array_equal(before, after)


def test_what_a_container_cannot_hold_is_told_before_the_work(tmp_path: Path) -> None:
    job = request(tmp_path, write_master(tmp_path / "v.mkv"), "o.mp4")
    (warning,) = [text for text in check_request(job).warnings if "cannot hold" in text]
    assert "a subtitle track (srt)" in warning and ".mkv" in warning


def test_the_sound_track_can_be_chosen(tmp_path: Path) -> None:
    video = write_master(tmp_path / "v.mov")
    for track, height in ((None, 600), (1, 300), (3, 900)):
        sound = load_audio(video, track=track)
        spectrum = np.abs(np.fft.rfft(sound[4000:12000]))
        assert np.argmax(spectrum) * 2 == pytest.approx(height, abs=4)
    with VideoWriter(tmp_path / "w.mp4", 160, 120, rate=25, audio_from=video) as writer:
        writer.write(picture(0))
    words = ["dub", "--video", video, "--audio", video, "--output", tmp_path / "o.mp4", "--audio-track", 4]
    done = CliRunner().invoke(app, [*map(str, words), "--box", "50,30,110,90", "--dry-run"])
    assert done.exit_code != 0 and "has 3 audio tracks: there is no track 4" in done.stderr
    with pytest.raises(UserError, match="no track 4"):
        load_audio(video, track=4)


def test_damage_that_a_decoder_hides_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 160, 120, rate=25) as writer:
        for number in range(20):
            writer.write(picture(number))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        place, size = packets[9].pos, packets[9].size
    data = bytearray(path.read_bytes())
    data[place + size // 2 : place + size // 2 + 40] = bytes(range(40))
    path.write_bytes(data)
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert len(list(VideoReader(path))) == 20
    assert caplog.text.count("is damaged") == 1 and "of 20 frames" in caplog.text


def test_the_command_knows_the_codecs() -> None:
    assert [item.value for item in CodecName] == list(OUTPUT_CODECS)


@pytest.mark.parametrize(
    ("codec", "suffix", "crf", "words"),
    [("h264", ".mp4", 52, "takes 0 to 51"), ("vp9", ".webm", 64, "0 to 63"), ("prores", ".mov", 10, "leave")],
)
def test_a_quality_that_an_encoder_has_not_is_refused(
    codec: str, suffix: str, crf: int, words: str, tmp_path: Path
) -> None:
    info = probe(write_master(tmp_path / "master.mp4"))
    with pytest.raises(UserError, match=words):
        following(info, suffix, WantedPictures(codec=codec, crf=crf))
    assert following(info, suffix, WantedPictures(codec=codec))[0].crf
