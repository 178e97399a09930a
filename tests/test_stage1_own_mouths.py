"""Companions drawn with a clip's own mouths: which moments, what changes, and how they become pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from stage1_clips import write_clip, write_config

from common.config import load_config
from common.data.batch import collate
from common.data.dataset import ShardDataset
from common.face.canonical import face_in_box
from common.files import read_json
from common.media import LOSSLESS, save_wav, write_video
from common.models.package_info import ModelTask, read_info
from common.own_mouths.painting.painter import InsidePainter
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from common.own_mouths.planes import CONDITION_CHANNELS
from common.own_mouths.reliability import SURE
from common.training.launch import open_shards, train
from stage1_generator import own_mouths, pack, prepare, report
from stage1_generator.companions import rebuilt as rebuilding
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.rebuilt import (
    APART,
    collect_mouths,
    enough_moments,
    rebuilt,
    shapes_elsewhere,
)
from stage2_dubber.config import Stage2Config, check
from stage2_dubber.training.strategy import EditorStrategy

SIZE = 96
FRAMES = 60
SPAN = slice(20, 37)


def _speaking() -> tuple[np.ndarray, np.ndarray]:
    """A flat face that moves a little, whose mouth opens and closes irregularly: crops and landmarks."""
    crops, landmarks = [], []
    gaps = 3 + 3 * np.sin(0.5 * np.arange(FRAMES) + np.sin(0.13 * np.arange(FRAMES)))
    for i, gap in enumerate(gaps):
        points = face_in_box(np.array([16, 12, 80, 84], np.float32)).astype(np.float32)
        points[:, 0] += 2 * np.sin(0.3 * i)
        points[[56, 57, 58, 65, 66, 67], 1] += gap
        points[[7, 8, 9], 1] += gap / 2
        picture = np.full((SIZE, SIZE, 3), 120, np.uint8) + np.arange(SIZE, dtype=np.uint8)[:, None, None]
        cv2.fillPoly(picture, [points[48:60, :2].round().astype(np.int32)], (150, 60, 60))
        cv2.fillPoly(picture, [points[60:68, :2].round().astype(np.int32)], (20, 10, 10))
        crops.append(picture)
        landmarks.append(points)
    return np.stack(crops), np.stack(landmarks)


def _drawn(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, rebuilding.Rebuilt]:
    crops, landmarks = _speaking()
    mouths = collect_mouths(crops, landmarks)
    assert mouths is not None
    wanted = mouths.shapes[SPAN]
    if kind == "other":
        wanted = shapes_elsewhere(mouths.shapes, landmarks, SPAN, np.random.default_rng(0))
    mask = clip_masks(landmarks[SPAN], SIZE).inpaint
    made = rebuilt(crops, mouths, SPAN, wanted, mask, 4.0)
    assert made is not None
    return crops[SPAN], mask, wanted, made


def _openings(frames: np.ndarray) -> np.ndarray:
    return (frames[..., 1] < 40).sum(axis=(1, 2)).astype(float)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 80), st.integers(0, 60), st.integers(0, 60))
def test_clips_are_tried_where_every_frame_has_other_moments(length, before, after):
    total = before + length + after
    far = [
        sum(abs(q - t) > APART + rebuilding.FADE for q in range(total))
        for t in range(before, before + length)
    ]
    assert enough_moments(total, before, length) == (min(far) >= rebuilding.LEAST_MOMENTS)


@pytest.mark.parametrize("kind", ["rebuilt", "other"])
def test_no_frame_takes_itself_or_its_neighbours_and_only_the_mouth_changes(kind: str):
    original, mask, _, made = _drawn(kind)
    for frame, shown in enumerate(made.moments, SPAN.start):
        assert shown and all(abs(moment - frame) > APART for moment in shown)
    np.testing.assert_array_equal(made.frames[~mask], original[~mask])
    assert (made.frames[mask] != original[mask]).any()
    np.testing.assert_array_equal(made.frames, _drawn(kind)[3].frames)
    assert (made.reliability[~mask] == SURE).all() and (made.reliability[mask] < SURE).any()


def test_rebuilt_mouths_are_as_open_as_they_were_and_others_as_is_wanted():
    original, mask, wanted, made = _drawn("rebuilt")
    truth = _openings(original)
    assert np.abs(_openings(made.frames) - truth).mean() < 0.25 * truth.mean()
    # Nothing but the drawing of the lips differs.
    assert np.abs(made.frames[mask].astype(int) - original[mask]).mean() < 2
    np.testing.assert_allclose(made.lip_shapes, wanted, atol=1e-9)
    original, _, wanted, made = _drawn("other")
    assert np.corrcoef(_openings(made.frames), wanted[:, 1])[0, 1] > 0.9
    assert np.abs(_openings(made.frames) - truth).mean() > 0.5 * truth.mean()


def test_moments_that_were_not_seen_lend_nothing():
    crops, landmarks = _speaking()
    landmarks[40:] = np.nan
    assert collect_mouths(crops[40:], landmarks[40:]) is None
    crops, landmarks = _speaking()
    mouths = collect_mouths(crops[SPAN], landmarks[SPAN])
    assert mouths is not None
    mask = clip_masks(landmarks[SPAN], SIZE).inpaint
    whole = slice(0, len(mask))
    # All the other moments of so short an entry are too near.
    assert rebuilt(crops[SPAN], mouths, whole, mouths.shapes, mask, 4.0) is None


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos, "one", 40, 1, speaker="a")
    write_clip(videos, "short", 25, 3, speaker="a")
    write_clip(videos, "two", 40, 2, speaker="b", occluded=True)
    words = write_config(tmp_path, videos, tmp_path / "work")
    assert prepare.main(words) == 0
    return words


@pytest.mark.parametrize("kind", ["rebuilt", "other"])
def test_they_become_shards_of_their_own(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, kind: str
):
    work, words = tmp_path / "work", [*words, f"pairs.own_mouths={kind}"]
    assert own_mouths.main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "own mouths: 3 clips" in told and "1 clips are too short" in told
    assert not (work / "own_mouths").exists()
    assert own_mouths.main(words) == 0 and pack.main(words) == 0 and report.main(words) == 0
    samples = list(ShardDataset(work / "pairs_own_mouths"))
    assert len(samples) == 3
    for sample in samples:
        assert sample.meta["kind"] == "own_mouths" and sample.meta["own_mouths"] == kind
        assert sample.meta["entry"].startswith("one") and 0 <= sample.meta["covered"] <= 1
        assert ("lips_psnr" in sample.meta["scores"]) == (kind == "rebuilt")
        assert sample.source.shape == sample.target.shape == (13, 32, 32, 3)
        assert (sample.source != sample.target).any()
        outside = ~clip_masks(sample.arrays["landmarks"].numpy(), 32).inpaint
        np.testing.assert_array_equal(sample.source[outside], sample.target[outside])
        assert {"target_latents", "source_latents", "audio_features"} <= set(sample.cache)
        assert ({"reliability", "lip_shapes"} <= set(sample.arrays)) == (kind == "rebuilt")
    batch = collate(samples, extra_window=4)
    assert batch.reference_latents.shape == batch.target_latents.shape
    assert (batch.reliability is not None) == (batch.lip_shapes is not None) == (kind == "rebuilt")
    told = read_json(work / "report.json")
    assert told["pack_own_mouths"]["samples"] == told["own_mouths"]["accepted"] == 3
    assert [row["reason"] for row in told["own_mouths"]["without_companion"]] == [
        f"no moments that are more than {APART} frames away"
    ]
    assert told["speakers"]["a"]["own_mouths"] == 3 and told["speakers"]["b"]["own_mouths"] == 0
    assert "own mouths: 3 of 3 accepted, 1 clips are too short" in (work / "report.md").read_text()


def _rebuilt_pairs(folder: Path) -> Path:
    """The pairs of a speaking face, each with a mirrored copy."""
    crops, landmarks = _speaking()
    save_wav(folder / "sound.wav", np.zeros(FRAMES * 640, np.float32), 16000)
    (folder / "videos").mkdir()
    video = folder / "videos" / "one.mkv"
    write_video(video, crops, rate=25, audio_from=folder / "sound.wav", encoding=LOSSLESS)
    save_file({"landmarks": landmarks}, video.with_name("one.track.safetensors"))
    words = write_config(folder, video.parent, folder / "work", "pairs.own_mouths=rebuilt")
    words += ["pairs.augmented_copies=1", "augment.flip=1"]
    assert prepare.main(words) == 0 and own_mouths.main(words) == 0 and pack.main(words) == 0
    return folder / "work" / "pairs_own_mouths"


def test_a_refiner_of_own_mouths_is_trained_on_them(tmp_path: Path):
    words = [
        f"data.shards=[{_rebuilt_pairs(tmp_path)}]",
        "data.own_mouths=true",
        f"model.condition_channels={CONDITION_CHANNELS}",
        "model.prediction=edit",
        "diffusion.reference_scale=1",
        f"vae.path={tmp_path / 'vae'}",
        f"train.output={tmp_path / 'run'}",
        "train.max_steps=1",
        "train.global_batch_size=2",
        "train.mixed_precision=float32",
        "train.num_workers=0",
    ]
    config = check(load_config(Stage2Config, [tmp_path / "base.yaml"], words))
    dataset = open_shards(config.data)
    result = train(config, EditorStrategy(config, dataset), dataset)
    assert result.step == 1 and read_info(result.package).task is ModelTask.refine_own_mouths


def test_rebuilt_pairs_say_how_far_their_pixels_can_be_relied_on(tmp_path: Path):
    samples = {sample.key: sample for sample in ShardDataset(_rebuilt_pairs(tmp_path))}
    assert len(samples) == 8
    for key, sample in samples.items():
        reliability, shapes = sample.arrays["reliability"], sample.arrays["lip_shapes"]
        assert reliability.dtype == torch.uint8 and reliability.shape == sample.arrays["lip_mask"].shape
        assert shapes.shape == (13, 7) and (reliability < 255).any()
        # Cells outside of what may be drawn are the clip's own.
        assert (reliability[sample.arrays["lower_face_mask"] == 0] == 255).all()
        if sample.meta.get("copy_of"):
            plain = samples[sample.meta["copy_of"]].arrays
            assert torch.equal(reliability, plain["reliability"].flip(-1))
            assert torch.equal(shapes, plain["lip_shapes"][:, [2, 1, 0, 3, 4, 5, 6]])
            continue
        made = read_json(tmp_path / "work" / "own_mouths" / key / "meta.json")
        np.testing.assert_allclose(shapes, made["lip_shapes"], atol=1e-5)


def test_insides_that_no_film_shows_are_painted_as_in_a_dub():
    crops, landmarks = _speaking()
    mouths = collect_mouths(crops, landmarks)
    assert mouths is not None
    wanted, mask = mouths.shapes[SPAN].copy(), clip_masks(landmarks[SPAN], SIZE).inpaint
    wanted[:, :3] += 6
    painter = InsidePainter.load(SHIPPED_PAINTER.folder())
    drawn, painted = (rebuilt(crops, mouths, SPAN, wanted, mask, 4.0, one) for one in (None, painter))
    assert drawn is not None and painted is not None and drawn.moments == painted.moments
    differ = (drawn.frames != painted.frames).any(axis=-1)
    assert differ.any() and painted.reliability[differ].mean() < 128


@pytest.mark.parametrize("kind", ["rebuilt", "other"])
def test_the_painter_of_dubs_is_for_what_shall_be_repaired(
    words: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
):
    painters = []

    def spy(*given: object) -> None:
        painters.append(given[-1])

    monkeypatch.setattr(own_mouths, "rebuilt", spy)
    assert own_mouths.main([*words, f"pairs.own_mouths={kind}"]) == 0
    assert len(painters) == 3 and all((one is not None) == (kind == "rebuilt") for one in painters)


def test_what_is_made_stays_and_is_the_same_when_made_again(words: list[str], tmp_path: Path):
    words = [*words, "pairs.own_mouths=rebuilt"]
    folder = tmp_path / "work" / "own_mouths"
    assert own_mouths.main(words) == 0
    made = sorted(folder.rglob("companion.mkv"))
    content, times = [path.read_bytes() for path in made], [path.stat().st_mtime_ns for path in made]
    made[0].parent.joinpath("meta.json").unlink()
    assert own_mouths.main(words) == 0
    again = [path.stat().st_mtime_ns for path in made]
    assert again[1:] == times[1:] and again[0] != times[0] and len(made) == 3
    assert [path.read_bytes() for path in made] == content
    # Other thresholds ask for other verdicts, not for other pictures.
    assert own_mouths.main([*words, "filters.sharpness_min=1e8"]) == 0
    assert [path.stat().st_mtime_ns for path in made] == again
    verdicts = [read_json(path) for path in sorted(folder.rglob("verdict.json"))]
    assert len(verdicts) == 3 and all("sharpness is" in verdict["reasons"][0] for verdict in verdicts)


def test_the_lips_of_rebuilt_clips_must_be_the_same(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The drawn clips come with tracks; here their lips are measured all the same.
    monkeypatch.setattr("stage1_generator.companions.quality.lip_landmark_distance", lambda *_: 1.5)
    for path in (tmp_path / "work" / "prepared").glob("*/meta.json"):
        path.write_text(path.read_text().replace('"detector": "box"', '"detector": "mediapipe"'))
    for kind, most, kept in (("rebuilt", 1.2, 0), ("rebuilt", 1.6, 3), ("other", 1.2, 3)):
        given_words = [f"pairs.own_mouths={kind}", f"filters.rebuilt_lip_distance_max={most}"]
        assert own_mouths.main([*words, *given_words]) == 0
        assert report.main([*words, *given_words]) == 0
        told = read_json(tmp_path / "work" / "report.json")["own_mouths"]
        assert told["judged"] == 3 and told["accepted"] == kept
    assert told["filters"]["lip_distance"]["median"] == 1.5


def test_an_entry_that_shows_no_mouths_is_rejected_with_the_reason(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(own_mouths, "collect_mouths", lambda *_: None)
    words = [*words, "pairs.own_mouths=rebuilt"]
    assert own_mouths.main(words) == 0 and pack.main(words) == 0 and report.main(words) == 0
    assert read_json(tmp_path / "work" / "pairs_own_mouths" / "index.json")["num_samples"] == 0
    assert "-rebuilt: the mouth is seen in too few frames" in (tmp_path / "work" / "report.md").read_text()


def test_without_the_switch_nothing_is_made_and_unknown_kinds_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert own_mouths.main(words) == 0 and own_mouths.main([*words, "--dry-run"]) == 0
    assert "none (pairs.own_mouths is none)" in capsys.readouterr().out
    assert not (tmp_path / "work" / "own_mouths").exists()
    assert own_mouths.main([*words, "pairs.own_mouths=both"]) == 2
    assert "expected one of [none, rebuilt, other]" in capsys.readouterr().err


def test_pairs_of_the_other_kind_are_not_packed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert pack.main([*words, "pairs.own_mouths=other"]) == 2
    assert "stage1_generator.own_mouths` first" in capsys.readouterr().err
    assert own_mouths.main([*words, "pairs.own_mouths=rebuilt"]) == 0
    assert pack.main([*words, "pairs.own_mouths=other"]) == 2
    assert "pairs.own_mouths=rebuilt, not other" in capsys.readouterr().err
    assert not (tmp_path / "work" / "pairs_own_mouths" / "index.json").exists()
