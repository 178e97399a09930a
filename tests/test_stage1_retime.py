"""Companions made of a clip's own frames: which moments, what changes, and how they become pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage1_clips import write_clip, write_config

from common.data.dataset import ShardDataset
from common.face.canonical import face_in_box
from common.files import read_json, write_json
from stage1_generator import pack, prepare, report, retime
from stage1_generator.companions import retimed as retiming
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.retimed import draw_moments, retimed

SIZE = 64


@settings(max_examples=80, deadline=None)
@given(st.integers(5, 60), st.integers(0, 200), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_moments_move_slowly_and_leave_half_of_the_clip_unseen(length, before, after, seed):
    total = before + length + after
    moments = draw_moments(total, before, length, np.random.default_rng(seed))
    assert len(moments) == length and moments.min() >= 0 and moments.max() < total
    assert np.abs(np.diff(moments)).max() <= np.ceil(retiming.FASTEST)
    own = set(moments) & set(range(before, before + length))
    assert len(own) <= max(length // 2, 2)
    if max(before, after) >= length:
        assert not own


def _speaking(frames: int, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat face that moves a little, whose mouth opens and closes: crops and landmarks."""
    crops, landmarks = [], []
    for i in range(frames):
        points = face_in_box(np.array([12, 10, 52, 54], np.float32)).astype(np.float32)
        points[:, 0] += 2 * np.sin(0.3 * i)
        gap = 2 + 2 * np.sin(0.8 * i)
        points[[56, 57, 58, 65, 66, 67], 1] += gap
        picture = np.full((SIZE, SIZE, 3), 130, np.uint8) + np.arange(SIZE, dtype=np.uint8)[:, None, None]
        picture[:, :, 0] += np.uint8(turn * i)
        lips = points[48:60, :2].round().astype(np.int32)
        cv2.fillPoly(picture, [lips], (90, 20, 20))
        crops.append(picture)
        landmarks.append(points)
    return np.stack(crops), np.stack(landmarks)


def _make(crops, landmarks, least=0.3):
    span = slice(0, 13)
    mask = clip_masks(landmarks[span], SIZE).inpaint
    made = retimed(crops, landmarks, span, mask, 3.0, least, np.random.default_rng(0))
    return crops[span], mask, made


def test_other_lips_and_nothing_else():
    crops, landmarks = _speaking(40)
    original, mask, made = _make(crops, landmarks)
    assert made is not None and made.lip_distance >= 0.3
    np.testing.assert_array_equal(made.frames[~mask], original[~mask])
    dark = [(frames[..., 1] < 80).sum(axis=(1, 2)) for frames in (original, made.frames)]
    assert np.abs(dark[0].astype(int) - dark[1]).mean() > 3, "the mouths are as open as before"
    # Laid into place: lips are where the moved face has them.
    columns = [np.nonzero(frame[..., 1] < 80)[1].mean() for frame in made.frames]
    centres = landmarks[:13, 48:68, 0].mean(axis=1)
    np.testing.assert_allclose(columns, centres, atol=1.5)


def test_lips_that_never_differ_are_no_companion():
    crops, landmarks = _speaking(40)
    assert _make(crops, landmarks, least=50.0)[2] is None


def test_another_light_is_taken_over():
    crops, landmarks = _speaking(40, turn=2.5)
    original, mask, made = _make(crops, landmarks)
    assert made is not None
    skin = mask & (original[..., 1] > 100) & (made.frames[..., 1] > 100)
    apart = made.frames[skin].astype(float) - original[skin]
    assert np.abs(apart.mean(axis=0)).max() < 4


def test_other_surroundings_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retiming, "SEAM_MAX", 12.0)
    crops, landmarks = _speaking(40)
    # Later on something stands beside the head and across the cheek.
    crops[13:, :, :30] = np.random.default_rng(0).integers(0, 255, (27, SIZE, 30, 3), np.uint8)
    assert _make(crops, landmarks)[2] is None


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    # The test clips are rolling noise: no two of their moments fit.
    monkeypatch.setattr(retiming, "SEAM_MAX", 255.0)
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos, "one", 40, 1, speaker="a")
    write_clip(videos, "two", 30, 2, speaker="b", occluded=True)
    given_words = ["pairs.retimed=true", "filters.lip_distance_min=0"]
    words = write_config(tmp_path, videos, tmp_path / "work", *given_words)
    assert prepare.main(words) == 0
    return words


def test_they_become_shards_of_their_own(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    work = tmp_path / "work"
    assert retime.main([*words, "--dry-run"]) == 0
    assert "retime: 3 clips" in capsys.readouterr().out
    assert not (work / "retimed").exists()
    assert retime.main(words) == 0 and pack.main(words) == 0 and report.main(words) == 0
    samples = list(ShardDataset(work / "pairs_retimed"))
    assert len(samples) == 3
    for sample in samples:
        assert sample.meta["kind"] == "retimed" and sample.meta["entry"].startswith("one")
        assert sample.source.shape == sample.target.shape == (13, 32, 32, 3)
        assert (sample.source != sample.target).any()
        outside = ~clip_masks(sample.arrays["landmarks"].numpy(), 32).inpaint
        np.testing.assert_array_equal(sample.source[outside], sample.target[outside])
    told = read_json(work / "report.json")
    assert told["pack_retimed"]["samples"] == 3
    assert sum(row["retimed"] for row in told["speakers"].values()) == 3
    # The clip with an occluder has no retimed companion, and its speaker leads the table of the poor.
    assert told["speakers"]["b"]["retimed"] == 0
    table = (work / "report.md").read_text().split("| speaker | seconds | retimed |")[1]
    assert table.index("| b |") < table.index("| a |")


def test_a_second_run_makes_nothing_again(words: list[str], tmp_path: Path):
    assert retime.main(words) == 0
    made = sorted((tmp_path / "work" / "retimed").rglob("companion.mkv"))
    times = [path.stat().st_mtime_ns for path in made]
    made[0].parent.joinpath("meta.json").unlink()
    assert retime.main(words) == 0
    again = [path.stat().st_mtime_ns for path in made]
    assert again[1:] == times[1:] and again[0] != times[0] and len(made) == 3


def test_companions_of_clips_that_are_gone_are_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert retime.main(words) == 0
    index = tmp_path / "work" / "prepared" / "index.json"
    told = read_json(index)
    gone = next(name for name in told["entries"] if name.startswith("one"))
    write_json(index, {**told, "entries": [name for name in told["entries"] if name != gone]})
    assert pack.main(words) == 2
    said = capsys.readouterr().err
    assert f"does not hold '{gone}' any more" in said and "stage1_generator.retime" in said


def test_without_the_switch_nothing_is_made(words: list[str], tmp_path: Path):
    assert retime.main([*words, "pairs.retimed=false"]) == 0
    assert not (tmp_path / "work" / "retimed").exists()
