"""Landmarks that a detector throws for a frame are found, mended, and give no moment of a mouth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from common.face import FaceObservation, track_face
from common.face.canonical import face_points
from common.face.jumps import JUMP, jumps, repair
from common.face.layout import RIGID_UPPER
from common.face.people import track_faces
from common.face.pose import fit_pose
from common.own_mouths.clip import MouthCollector
from common.own_mouths.config import OwnMouthsConfig

SIDE = 128
UNIT = 40.0
NOSE = [27, 28, 29, 30]


def head(count: int, sway: float = 0.0, period: float = 8.0) -> np.ndarray:
    """(count, 68, 3) landmarks of a head that shakes by ``sway`` radians, once in ``period`` frames."""
    points = face_points() - face_points().mean(axis=0)
    points = points / np.linalg.norm(points[45] - points[36]) * UNIT
    yaw = sway * np.sin(2 * np.pi * np.arange(count) / period)
    turned = np.repeat(points[None], count, axis=0)
    turned[..., 0] = points[:, 0] * np.cos(yaw)[:, None] + points[:, 2] * np.sin(yaw)[:, None]
    turned[..., 2] = points[:, 2] * np.cos(yaw)[:, None] - points[:, 0] * np.sin(yaw)[:, None]
    turned[..., :2] += SIDE / 2
    return turned.astype(np.float32)


def found(landmarks: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """What is lost, in the unit of the heads' own poses."""
    return jumps(landmarks, frames, float(np.median(fit_pose(landmarks).scale)))


def thrown(landmarks: np.ndarray, frames: tuple[int, ...], by: float = 0.2) -> np.ndarray:
    """The same with the nose beside the face."""
    hurt = landmarks.copy()
    for frame in frames:
        hurt[frame, NOSE, 0] += by * UNIT
    return hurt


@pytest.mark.parametrize("frames", [(9,), (9, 10), (5, 14), (2,), (17,)], ids=str)
def test_lost_landmarks_are_found_and_mended(frames: tuple[int, ...]) -> None:
    true = head(20)
    hurt, boxes, at = thrown(true, frames), np.zeros((20, 4), np.float32), np.arange(20)
    assert np.flatnonzero(found(hurt, at)).tolist() == list(frames)
    repair(hurt, boxes, at)
    np.testing.assert_allclose(hurt, true, atol=1e-3)


def test_heads_that_shake_and_noise_are_no_jumps() -> None:
    # 20 degrees to either side, three times a second.
    shaking = head(75, sway=0.35, period=25 / 3)
    assert not found(shaking, np.arange(75)).any()
    noise = np.random.default_rng(0).normal(0, 0.25 * JUMP * UNIT / 3, shaking.shape)
    assert not found((shaking + noise).astype(np.float32), np.arange(75)).any()


def test_gaps_and_short_runs_are_left_alone() -> None:
    hurt = thrown(head(20), (9,))
    apart = np.arange(20) * 10
    assert not found(hurt, apart).any()
    assert not found(hurt[7:11], np.arange(4)).any()
    gap = np.concatenate([np.arange(8), np.arange(9, 20)])
    assert np.flatnonzero(found(hurt[gap], gap)).tolist() == [8], "a frame that is missing is no jump"


class _Detector:
    """Sees given landmarks."""

    def __init__(self, landmarks: np.ndarray) -> None:
        self._landmarks = landmarks

    def reset(self) -> None:
        self._next = iter(self._landmarks)

    def new_shot(self) -> None:
        pass

    def detect(self, image: np.ndarray) -> list[FaceObservation]:
        points = next(self._next)
        box = np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])
        return [FaceObservation(box.astype(np.float32), points, 1.0)]


def pictures(count: int) -> Iterator[np.ndarray]:
    shades = np.random.default_rng(1).integers(60, 180, (SIDE, SIDE, 3)).astype(np.uint8)
    return (shades for _ in range(count))


def test_whoever_follows_a_face_gets_mended_landmarks() -> None:
    true = head(20)
    hurt = thrown(true, (9,))
    one = track_face(pictures(20), _Detector(hurt))
    faces = track_faces(pictures(20), _Detector(hurt))
    for track in (one, faces.track(range(len(faces.stretches)))):
        assert track.present.all()
        assert np.abs(track.landmarks[9] - true[9])[list(RIGID_UPPER)].max() < 1e-3


def test_lost_landmarks_give_no_mouth() -> None:
    hurt = thrown(head(20), (9,))
    collector = MouthCollector(OwnMouthsConfig(occluders=False))
    track_faces(pictures(20), _Detector(hurt), watch=collector.watch)
    mouths = collector.finish()
    assert mouths is not None
    assert mouths.bank.frames.tolist() == [frame for frame in range(20) if frame != 9]
    assert not mouths.bank.follows[9], "the moments beside the gap do not follow each other"
