"""Whole dubs with a randomly initialised toy model: the real code, end to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from dub_clips import BOX, picture, steady, uneven, write_clip, write_package, write_speech

from common.diffusion.options import SamplingOptions
from common.diffusion.sampler import EulerSampler
from common.errors import UserError
from common.media import VideoWriter, load_audio, probe, read_frames
from stage2_dubber.dub.editing.ahead import Ahead
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.pipeline import DubPipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="module")
def pipeline(model: Path) -> DubPipeline:
    return DubPipeline.from_pretrained(model)


def _stamps(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None)


def _sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


def _crops(count: int) -> np.ndarray:
    return np.stack([picture(index, 32, 32) for index in range(count)])


@pytest.mark.parametrize("stamps", [steady(33, 30), uneven(24), steady(16, 25)], ids=["30", "vfr", "25"])
def test_frames_times_rate_and_size_are_the_sources(
    tmp_path: Path, pipeline: DubPipeline, stamps: list[int]
) -> None:
    video = write_clip(tmp_path / "v.mp4", stamps)
    audio = write_speech(tmp_path / "a.wav", stamps[-1] / 600 + 0.04)
    result = pipeline(video=video, audio=audio, output=tmp_path / "o.mp4", box=BOX)
    before, after = probe(video), probe(result.output)
    assert result.frames == after.frame_count == before.frame_count == len(stamps)
    assert result.dubbed_frames == len(stamps)
    assert (after.width, after.height) == (before.width, before.height)
    assert after.time_base == before.time_base
    # The last frame's own length is all that a container may round.
    assert after.duration == pytest.approx(before.duration, abs=0.05)
    if stamps[-1] % (len(stamps) - 1) == 0:
        assert after.average_rate == before.average_rate
    np.testing.assert_array_equal(_stamps(result.output), _stamps(video))
    assert [warning[:24] for warning in result.warnings] == ["The sound is encoded as "]
    assert set(result.seconds) == {"checks", "face", "speech", "dubbing"}


def test_the_audio_track_is_the_users_own(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(14, 25))
    spoken = tmp_path / "spoken.mp4"
    with VideoWriter(spoken, 64, 64, rate=25, audio_from=write_speech(tmp_path / "a.wav", 1.2)) as writer:
        for index in range(30):
            writer.write(picture(index, 64, 64))
    result = pipeline(video=video, audio=spoken, output=tmp_path / "o.mp4", box=BOX)
    assert _sound(result.output) == _sound(spoken)
    assert "longer than the video" in result.warnings[0]
    assert probe(result.output).frame_count == 14


def test_short_speech_is_followed_by_silence(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(40, 25))
    short = write_speech(tmp_path / "short.wav", 0.4)
    result = pipeline(video=video, audio=short, output=tmp_path / "o.mp4", box=BOX)
    assert "ends 1.2 s before the video" in result.warnings[0]
    assert probe(result.output).frame_count == 40
    sound = load_audio(result.output)
    assert len(sound) < 16000


def test_only_the_square_is_touched(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(15, 25))
    audio = write_speech(tmp_path / "a.wav", 0.6)
    result = pipeline(video=video, audio=audio, output=tmp_path / "o.mkv", box=BOX, lossless=True)
    source, dubbed = read_frames(video), read_frames(result.output)
    changed = (source != dubbed).any(axis=(0, 3))
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    centre, reach = (80, 60), 1.6 * (BOX[2] - BOX[0]) / 2
    assert len(rows) > 20 and len(columns) > 20
    # A chroma sample of 4:2:0 is seen two pixels beyond those that it belongs to.
    assert abs(columns - centre[0]).max() < reach + 2 and abs(rows - centre[1]).max() < reach + 12


def test_the_same_seed_gives_the_same_file(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(16, 25))
    audio = write_speech(tmp_path / "a.wav", 0.64)
    files = []
    for name, seed in (("a.mkv", 5), ("b.mkv", 5), ("c.mkv", 6)):
        pipeline(
            video=video, audio=audio, output=tmp_path / name, box=BOX, seed=seed, num_steps=1, lossless=True
        )
        files.append(read_frames(tmp_path / name))
    np.testing.assert_array_equal(files[0], files[1])
    assert (files[0] != files[2]).any()


def test_pictures_to_look_at(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(14, 25))
    audio = write_speech(tmp_path / "a.wav", 0.56)
    sheet, beside = tmp_path / "looks" / "sheet.png", tmp_path / "beside.mp4"
    told: list[tuple] = []
    pipeline(
        video=video,
        audio=audio,
        output=tmp_path / "o.mp4",
        box=BOX,
        contact_sheet=sheet,
        side_by_side=beside,
        progress=lambda *args: told.append(args),
    )
    assert sheet.read_bytes().startswith(b"\x89PNG")
    info = probe(beside)
    assert info.frame_count == 14 and info.width == 2 * 160 and info.has_audio
    dubbing = [(done, total) for stage, done, total in told if stage == "dubbing"]
    assert dubbing[0][0] == 0
    assert dubbing[-1] == pytest.approx((14, 14))


def test_a_job_that_fails_leaves_nothing(tmp_path: Path, pipeline: DubPipeline) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(30, 25))
    audio = write_speech(tmp_path / "a.wav", 1.2)

    def stop(stage: str, done: float, total: float | None) -> None:
        if stage == "dubbing" and done > 0:
            raise RuntimeError("out of luck")

    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="luck"):
        pipeline(
            video=video,
            audio=audio,
            output=tmp_path / "o.mp4",
            side_by_side=tmp_path / "s.mp4",
            box=BOX,
            progress=stop,
        )
    assert sorted(tmp_path.iterdir()) == before


def test_crops_alone_are_edited_as_in_a_dub(pipeline: DubPipeline) -> None:
    crops = _crops(17)  # two windows
    audio = np.sin(np.arange(12000) / 9).astype(np.float32)
    sampling = SamplingOptions(seed=3)
    edited = pipeline.edit_crops(crops, audio, sampling=sampling)
    assert edited.shape == crops.shape and edited.dtype == np.uint8
    audio_features = pipeline.speech.encode(audio)
    np.testing.assert_array_equal(
        edited, pipeline.edit_crops(crops, audio_features=audio_features, sampling=sampling)
    )
    assert (edited != pipeline.edit_crops(crops, audio, sampling=SamplingOptions(seed=4))).any()
    assert (edited != pipeline.edit_crops(crops, audio * 0, sampling=sampling)).any(), "speech must matter"
    assert len(pipeline.edit_crops(crops[:1], audio)) == 1


def test_no_more_than_a_window_is_asked_for(pipeline: DubPipeline) -> None:
    """Memory is bounded by the window: crops are taken as edited frames are needed."""
    taken = 0

    def crops() -> Iterator[np.ndarray]:
        nonlocal taken
        for index in range(1000):
            taken += 1
            yield picture(index, 32, 32)

    editor = WindowEditor(pipeline.package, SamplingOptions(num_steps=1))
    features = np.zeros((2000, 80), np.float32)
    stream = editor.stream(crops(), 1000, features, 0)
    for number in range(20):
        assert next(stream).image.shape == (32, 32, 3)
        assert taken <= number + 1 + 13


def test_what_the_autoencoder_loses_is_no_change(
    pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, features = _crops(30), np.zeros((80, 80), np.float32)
    editor = WindowEditor(pipeline.package, SamplingOptions(num_steps=1), changes=True)
    # A model that gives back what it was shown, through an autoencoder that loses nearly everything.
    monkeypatch.setattr(
        EulerSampler, "sample", lambda sampler, model, noise, given, progress: given.reference
    )
    edits = list(editor.stream(iter(crops), len(crops), features, 0))
    assert np.abs(np.stack([edit.image for edit in edits]).astype(int) - crops).mean() > 5
    assert all(edit.change is not None and (edit.change == 0).all() for edit in edits)


def test_telling_changes_changes_no_picture(pipeline: DubPipeline) -> None:
    crops, features = _crops(30), np.zeros((80, 80), np.float32)
    sampling = SamplingOptions(num_steps=1)
    told, plain = (
        list(WindowEditor(pipeline.package, sampling, changes=changes).stream(iter(crops), 30, features, 0))
        for changes in (True, False)
    )
    assert all((a.image == b.image).all() for a, b in zip(told, plain, strict=True))
    assert all(edit.change is None for edit in plain)
    assert any(edit.change is not None and edit.change.any() for edit in told)


def test_working_ahead_changes_no_edit(pipeline: DubPipeline) -> None:
    crops, features = _crops(30), np.zeros((80, 80), np.float32)
    sampling = SamplingOptions(num_steps=1)
    ahead, plain = (
        list(
            WindowEditor(pipeline.package, sampling, changes=True, overlap=overlap).stream(
                iter(crops), 30, features, 0
            )
        )
        for overlap in (True, False)
    )
    assert len(ahead) == len(plain) == 30
    for one, other in zip(ahead, plain, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.change, other.change)


def test_the_next_window_is_made_while_the_edits_are_taken(pipeline: DubPipeline) -> None:
    told, made = [], threading.Event()

    def advance(frames: float) -> None:
        told.append(frames)
        if len(told) == 2:
            made.set()

    editor = WindowEditor(pipeline.package, SamplingOptions(num_steps=1), advance=advance, overlap=True)
    stream = editor.stream(iter(_crops(30)), 30, np.zeros((80, 80), np.float32), 0)
    next(stream)
    assert made.wait(60), "the second window waits for the first one's edits to be taken"
    stream.close()
    assert len(told) < len(editor.windows(30)) + 1


def test_a_stream_that_is_left_stops_its_worker(pipeline: DubPipeline) -> None:
    steps: list[float] = []
    sampling = SamplingOptions(num_steps=60)
    editor = WindowEditor(pipeline.package, sampling, advance=steps.append, overlap=True)
    stream = editor.stream(iter(_crops(30)), 30, np.zeros((80, 80), np.float32), 0)
    next(stream)
    stream.close()
    assert 60 <= len(steps) < 120


def test_a_worker_hands_on_results_and_errors() -> None:
    for active in (True, False):
        with Ahead(active) as ahead:
            first, second = ahead.start(lambda: 1), ahead.start(lambda: 1 // 0)
            assert first() == 1
            with pytest.raises(ZeroDivisionError):
                second()


@pytest.mark.parametrize("native", [False, True])
def test_weights_are_in_bf16_where_the_device_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, native: bool
) -> None:
    monkeypatch.setattr("common.arithmetic.has_bf16", lambda kind: native)
    package = write_package(tmp_path / "model")
    known = {"auto": torch.bfloat16 if native else torch.float32, "float32": torch.float32}
    edits = []
    for name, expected in known.items():
        made = DubPipeline.from_pretrained(package, dtype=name)
        assert made.package.transformer.patch_embedding.weight.dtype == expected
        edits.append(made.edit_crops(_crops(9), np.zeros(6400, np.float32)).astype(int))
    apart = np.abs(edits[0] - edits[1])
    assert apart.any() == native and apart.mean() < 2
    with pytest.raises(UserError, match="dtype is 'half'"):
        DubPipeline.from_pretrained(package, dtype="half")


def test_adapters_act_where_they_should(tmp_path: Path, pipeline: DubPipeline) -> None:
    crops, audio = _crops(5), np.sin(np.arange(4000) / 9).astype(np.float32)
    # Two steps with shift 5 are taken at t = 1 and t = 5/6.
    outside = DubPipeline.from_pretrained(write_package(tmp_path / "outside", adapter_at=0.4))
    inside = DubPipeline.from_pretrained(write_package(tmp_path / "inside", adapter_at=5 / 6))
    plain = pipeline.edit_crops(crops, audio)
    np.testing.assert_array_equal(outside.edit_crops(crops, audio), plain)
    assert (inside.edit_crops(crops, audio) != plain).any()


def test_the_border_of_a_crop_is_the_sources(pipeline: DubPipeline) -> None:
    """Every window ends with the source's own latents in the outer ring, whatever the model says."""
    crops = _crops(13)
    audio = np.sin(np.arange(10000) / 9).astype(np.float32)
    one = pipeline.edit_crops(crops, audio, sampling=SamplingOptions(seed=1)).astype(int)
    other = pipeline.edit_crops(crops, audio, sampling=SamplingOptions(seed=2)).astype(int)
    apart = np.abs(one - other).mean(axis=(0, 3))
    assert apart[:3].mean() < apart[12:20, 12:20].mean()


def test_wrong_crops_are_refused(pipeline: DubPipeline) -> None:
    with pytest.raises(ValueError, match="crops must be"):
        pipeline.edit_crops(np.zeros((5, 16, 16, 3), np.uint8), np.zeros(3200, np.float32))
    with pytest.raises(ValueError, match="either audio or audio_features"):
        pipeline.edit_crops(_crops(5))


def test_models_that_do_not_fit_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UserError, match="stage 1"):
        DubPipeline.from_pretrained(write_package(tmp_path / "stage1", stage=1))
    with pytest.raises(UserError, match="no model package"):
        DubPipeline.from_pretrained(tmp_path / "nothing")
    other = write_package(tmp_path / "other")
    text = (other / "bootdub.json").read_text()
    (other / "bootdub.json").write_text(text.replace('"crop_size": 32', '"crop_size": 40'))
    with pytest.raises(UserError, match="crops of 40 pixels"):
        DubPipeline.from_pretrained(other)
    (other / "bootdub.json").write_text(text.replace('"crop_size"', '"crop_sise"'))
    with pytest.raises(UserError, match="crop_sise"):
        DubPipeline.from_pretrained(other)


def test_a_device_that_is_not_there_is_refused(model: Path) -> None:
    with pytest.raises(UserError, match="no device 'toaster'"):
        DubPipeline.from_pretrained(model, device="toaster")
