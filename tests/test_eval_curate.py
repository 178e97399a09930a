"""Curation: angles and covered points with known answers, cross-audio, the manifest."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from common.errors import UserError
from common.face.canonical import face_points
from evaluation.bench import verdicts
from evaluation.bench.curate import cross_audio, curate
from evaluation.bench.sight import covered_points, largest_angle
from evaluation.bench.verdicts import front_score, look_at, occlusion_score


def turned(yaw=0.0, pitch=0.0, roll=0.0):
    """Landmarks (68, 2) of the canonical head at these angles in degrees."""
    rotation = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    return 80.0 * (face_points() @ rotation.T)[:, :2] + 200.0


@pytest.mark.parametrize(
    ("angles", "largest"),
    [((0, 0, 0), 0), ((25, 0, 0), 25), ((0, -18, 0), 18), ((3, 2, -31), 31), ((-20, 12, 5), 20)],
)
def test_the_largest_angle_is_read_from_landmarks(angles, largest):
    frames = np.stack([turned(), turned(*angles)])
    assert largest_angle(frames) == pytest.approx(largest, abs=0.5)


def test_points_in_a_hull_are_counted_once():
    face = np.array([(x, y) for x in range(10) for y in range(10)], float)
    square = np.array([(1.5, 1.5), (1.5, 4.5), (4.5, 4.5), (4.5, 1.5), (3.0, 3.0)])
    assert covered_points(face, [square]) == 9
    assert covered_points(face, [square, square + np.array([2.0, 0.0])]) == 15
    assert covered_points(face, [square + 100.0]) == 0
    assert covered_points(face, []) == 0
    assert covered_points(np.zeros((0, 2)), [square]) == 0
    # Hollow hands are filled: only the hull matters.
    assert covered_points(face, [np.array([(0.0, 0.0), (9.0, 0.0), (0.0, 9.0)])]) == 55


def test_front_stops_at_the_first_frame_that_decides():
    asked = []

    def find(image):
        asked.append(image)
        return None if image is None else turned(yaw=float(image)).astype(np.float32)

    assert front_score([4, -9, 2], find, 10.0) == (pytest.approx(9, abs=0.5), None)
    asked.clear()
    score, reason = front_score([1, 22, 50], find, 10.0)
    assert score == pytest.approx(22, abs=0.5) and "turned" in reason and len(asked) == 2
    assert front_score([1, None, 2], find, 10.0)[1] == "no face in sampled frame 1"


def test_covered_points_are_summed_over_frames():
    face = np.array([(x, 0.0) for x in range(20)])
    hand = np.array([(-0.5, -1.0), (9.5, -1.0), (9.5, 1.0), (-0.5, 1.0)])
    assert occlusion_score([10, 0, 3], lambda n: (face[:n], [hand])) == (13, 10, 2)
    assert occlusion_score([], lambda n: (face, [hand])) == (0, 0, 0)


@given(st.integers(2, 12), st.integers(0, 5), st.integers(0, 99))
def test_nobody_speaks_for_himself(count, silent, seed):
    videos = [f"v{i}" for i in range(count)]
    drivers = videos[: max(2, count - silent)]
    spoken = cross_audio(videos, drivers, seed)
    assert all(a != b for a, b in zip(videos, spoken, strict=True))
    assert spoken == cross_audio(videos, drivers, seed)
    assert set(spoken) <= set(drivers)
    if len(drivers) == count:
        assert sorted(spoken) == sorted(videos)  # a derangement


def test_a_lonely_video_has_nobody_to_speak_for_it():
    with pytest.raises(UserError, match="another video with sound"):
        cross_audio(["a"], ["a"])
    assert cross_audio(["a"], ["a", "b"]) == ["b"]


def test_a_folder_becomes_a_manifest(make_clip, tmp_path, monkeypatch):
    """The height of a clip says how far its head is turned."""
    angles = {64: 9.0, 72: 2.0, 80: 40.0}
    make_clip(name="calm.mp4", count=12, height=64)
    make_clip(name="odd name.mp4", count=12, height=72, seed=1)
    make_clip(name="turned.mp4", count=12, height=80)
    make_clip(name="short.mp4", count=5)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    monkeypatch.setattr(verdicts, "LEAST_SECONDS", 0.4)
    monkeypatch.setattr(
        verdicts, "_finder", lambda rule: lambda image: turned(yaw=angles[image.shape[0]]).astype(np.float32)
    )
    output = tmp_path / "lists" / "front.csv"
    result = curate(tmp_path, output, "front", workers=1)
    rows = list(csv.DictReader(output.open()))
    assert [row["name"] for row in rows] == ["odd name", "calm"], "the calmest first"
    assert [row["audio"] for row in rows] == [row["video"] for row in rows[::-1]]
    assert all((output.parent / row["video"]).is_file() for row in rows)
    assert float(rows[0]["score"]) == pytest.approx(2, abs=0.5) and rows[0]["group"] == "real-front"
    reasons = {v.video.name: v.reason for v in result.verdicts if v.reason}
    assert set(reasons) == {"turned.mp4", "short.mp4", "broken.mp4"}
    assert "40" in reasons["turned.mp4"] and "shorter" in reasons["short.mp4"]
    (only,) = curate(tmp_path, output, "front", workers=1, limit=1, seed=3).rows
    assert only["audio"] != only["video"]
    with pytest.raises(UserError, match=r"turned by.*loosen"):
        curate(tmp_path, output, "front", threshold=0.5, workers=1)
    # No threshold helps where all are too short: the reasons are named, and the advice is another.
    monkeypatch.setattr(verdicts, "LEAST_SECONDS", 6.0)
    with pytest.raises(UserError, match=r"short\.mp4 \(0\.2 s, shorter than 6 s\).*give other videos"):
        curate(tmp_path, output, "front", workers=1)


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(UserError, match="no rule"):
        curate(tmp_path, tmp_path / "m.csv", "sideways")
    with pytest.raises(UserError, match="No video"):
        curate(tmp_path, tmp_path / "m.csv", "front")


def test_a_real_face_is_measured(footage):
    clip = footage / "dev" / "clean" / "vox2_00473.mp4"
    if not clip.is_file():
        pytest.skip("this clip is not here")
    verdict = look_at(clip, "front", 25.0)
    assert verdict.reason is None and 1.0 < verdict.score < 25.0 and verdict.has_audio
    assert look_at(clip, "front", 1.0).reason is not None
