"""Real files as cameras, phones and websites make them."""

from pathlib import Path

import numpy as np
import pytest

from common.media import (
    VideoReader,
    VideoWriter,
    frame_times,
    load_audio,
    model_frame_count,
    nearest_model_frame,
    probe,
    read_frames,
    resample_indices,
)

ORIGINALS = {
    # name: (frames, width, height, average rate)
    "orig_av2av10_vp9.webm": (77, 1280, 720, 25.0),
    "orig_vrt_face1_vfr22.mp4": (135, 700, 700, 22.13),
    "orig_vrt_face4_30.mp4": (199, 700, 700, 30.0),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_facts_of_odd_formats(footage: Path, name: str) -> None:
    path = footage / "dev" / "originals" / name
    frames, width, height, rate = ORIGINALS[name]
    info = probe(path)
    assert (info.frame_count, info.width, info.height) == (frames, width, height)
    assert float(info.average_rate) == pytest.approx(rate, abs=0.01)
    assert info.duration == pytest.approx(frames / rate, abs=0.05)
    assert info.has_audio
    times = frame_times(path)
    assert len(times) == frames and times[0] == 0 and (np.diff(times) > 0).all()


def test_resampling_follows_the_clock(footage: Path) -> None:
    for name in ORIGINALS:
        path = footage / "dev" / "originals" / name
        times, duration = frame_times(path), probe(path).duration
        assert abs(model_frame_count(times) / 25 - duration) <= 1 / 25
        assert np.abs(times[resample_indices(times)] - np.arange(model_frame_count(times)) / 25).max() < 0.06
        assert np.abs(nearest_model_frame(times) / 25 - times).max() < 0.06


@pytest.mark.parametrize("name", ["orig_av2av10_vp9.webm", "orig_vrt_face1_vfr22.mp4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_rewritten_file_keeps_times_and_sound(
    footage: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    path, count = footage / "dev" / "originals" / name, 20
    output = tmp_path / f"again{suffix}"
    info = probe(path)
    with (
        VideoReader(path) as reader,
        VideoWriter(output, 160, 90, time_base=info.time_base, like=info, audio_from=path) as writer,
    ):
        stamps = []
        for frame in reader.frames(0, count):
            stamps.append(frame.pts * info.time_base)
            writer.write(np.ascontiguousarray(frame.image[:90, :160]), frame.pts, frame.duration)
    with VideoReader(output) as reader:
        rounding = 0 if suffix == ".mp4" else 0.0005
        for frame, stamp in zip(reader, stamps, strict=True):
            assert abs(float(frame.pts * reader.info.time_base - stamp)) <= rounding
    before, after = load_audio(path), load_audio(output)
    assert len(after) == pytest.approx(len(before), abs=400)
    shared = slice(2000, min(len(before), len(after)) - 2000)
    lags = range(-16, 17)  # within a millisecond
    best = max(np.corrcoef(before[shared], np.roll(after, lag)[shared])[0, 1] for lag in lags)
    assert best > 0.97


def test_clips_of_every_kind_read(footage: Path) -> None:
    folders = ("clean", "hard", "stylized", "silent", "lrc_ar")
    clips = [sorted((footage / "dev" / folder).glob("*.mp4"))[0] for folder in folders]
    for clip in clips:
        info = probe(clip)
        assert info.average_rate == 25 and info.rotation == 0
        frames = read_frames(clip, 2, 3)
        assert frames.shape == (3, info.height, info.width, 3)
        assert frames.std() > 5
        if info.has_audio:
            audio = load_audio(clip)
            assert len(audio) / 16000 == pytest.approx(info.duration, abs=0.25)
            assert 0.001 < np.abs(audio).max() <= 1


def test_the_loader_agrees_with_the_files_samples(footage: Path) -> None:
    import soundfile

    for path in sorted((footage / "dev" / "audio").glob("*.flac"))[:4]:
        samples, rate = soundfile.read(str(path), dtype="float32")
        assert rate == 16000
        assert (load_audio(path) == samples).all()
