"""pairs.reference_frames: which frame stands for which, and how they become pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from stage1_clips import write_clip, write_config
from training_toys import run_editor

from common.data.dataset import ShardDataset
from common.data.prepared import load_prepared
from common.face.canonical import face_in_box
from common.files import read_json
from stage1_generator import pack, prepare, report
from stage1_generator.pairs.reference_frames import NONE, nearest_frames, random_frames

CHOICE = "pairs.reference_frames"


def _faces(places: list[float], gaps: list[float]) -> np.ndarray:
    """(N, 68, 3): a face that stands at ``places``, with lips and chin that are ``gaps`` lower."""
    faces = np.stack([face_in_box(np.array([12, 10, 52, 54], np.float32))] * len(places)).astype(np.float32)
    faces[:, :, 0] += np.array(places)[:, None]
    for moved in (slice(48, 68), slice(5, 12)):
        faces[:, moved, 1] += np.array(gaps)[:, None]
    return faces


def test_the_nearest_head_is_chosen_whatever_its_lips_do() -> None:
    # Frame 0 stands as 5 does, whose lips differ, and not as 4, whose lips are the same.
    faces = _faces([0, 9, 8, 7, 3, 0, 6], [0, 0, 0, 0, 0, 20, 0])
    assert nearest_frames(faces, 0)[0] == 5 and nearest_frames(faces, 0)[5] == 0
    assert nearest_frames(faces, 5)[0] == 6, "5 is within the window"
    assert nearest_frames(faces, 4).tolist()[0] == 5
    assert nearest_frames(faces, 6).tolist() == [NONE] * 7
    assert nearest_frames(faces[:1], 0).tolist() == [NONE]


def test_random_frames_are_any_that_are_far_enough() -> None:
    drawn = np.stack([random_frames(9, 3, np.random.default_rng(seed)) for seed in range(200)])
    assert set(drawn[:, 0]) == {4, 5, 6, 7, 8} and set(drawn[:, 4]) == {0, 8}
    assert set(random_frames(5, 2, np.random.default_rng(0))[1:4]) == {NONE, 4, 0}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos, "one", 40, 1, speaker="a")
    write_clip(videos, "two", 30, 2, speaker="b", occluded=True)
    return write_config(tmp_path, videos, tmp_path / "work", "pairs.exclusion_frames=8")


def test_they_are_chosen_when_faces_are_prepared_and_stored_in_the_shards(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, landmarks = tmp_path / "work", f"{CHOICE}=landmarks"
    assert prepare.main(words) == 0
    assert pack.main([*words, landmarks]) == 2
    error = capsys.readouterr().err
    assert "error: " in error and "nearest_frames" in error and "stage1_generator.prepare" in error
    before = [path.name for path in (work / "prepared").iterdir()]
    assert prepare.main([*words, landmarks]) == 0
    assert [path.name for path in (work / "prepared").iterdir()] != before
    assert pack.main([*words, landmarks]) == 0 and report.main([*words, landmarks]) == 0
    samples = list(ShardDataset(work / "pairs_reference_frames"))
    entries = {entry.id: entry for entry in load_prepared(work / "prepared")}
    assert len(samples) == 3 == read_json(work / "report.json")["pack_reference_frames"]["samples"]
    for sample in samples:
        entry, start = entries[sample.meta["entry"]], sample.meta["start"]
        assert sample.meta["kind"] == "reference_frames" and sample.meta["choice"] == "landmarks"
        chosen = sample.arrays["reference_frames"].numpy()
        own = np.arange(start, start + 13)
        assert np.array_equal(chosen, nearest_frames(entry.track().landmarks, 8)[own])
        assert (np.abs(chosen - own) > 8).all()
        crops = entry.crops()
        assert np.array_equal(sample.source, crops[chosen]) and np.array_equal(sample.target, crops[own])
    first = [sample.arrays["reference_frames"].tolist() for sample in samples]

    # Another choice is another set; what was prepared for landmarks serves as well.
    assert pack.main([*words, f"{CHOICE}=random"]) == 0
    drawn = list(ShardDataset(work / "pairs_reference_frames"))
    assert [sample.arrays["reference_frames"].tolist() for sample in drawn] != first

    # An editor is trained on them as on other pairs.
    sets = [
        f"data.shards=[{work / 'pairs_reference_frames'}]",
        "geometry.clip_frames=13",
        "train.max_steps=1",
    ]
    run_editor(tmp_path, *sets, "train.global_batch_size=2")


def test_a_mask_that_covers_nothing_is_no_occluder(words: list[str], tmp_path: Path) -> None:
    """As of drawn characters, whose tracks have a mask with or without an occluder."""
    track = tmp_path / "videos" / "two.track.safetensors"
    arrays = load_file(track)
    save_file({**arrays, "occluder": np.zeros_like(arrays["occluder"])}, track)
    words += [f"{CHOICE}=random"]
    assert prepare.main(words) == 0 and pack.main(words) == 0
    entries = {entry.id: entry for entry in load_prepared(tmp_path / "work" / "prepared")}
    assert all(entry.track().occluder is None for entry in entries.values())
    samples = list(ShardDataset(tmp_path / "work" / "pairs_reference_frames"))
    assert {entries[sample.meta["entry"]].speaker for sample in samples} == {"a", "b"}


def test_values_that_are_none_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert pack.main([*words, f"{CHOICE}=lips"]) == 2
    assert pack.main([*words, "pairs.exclusion_frames=-1"]) == 2
    assert "pairs.exclusion_frames" in capsys.readouterr().err
