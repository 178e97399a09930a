"""Lower faces laid into other frames: heads in space, pixels after them, light and what is not light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.face.canonical import face_points
from stage1_generator.companions.transplant import in_light_of, laid_in, turn_apart

SIZE = 96


def _turn(yaw: float, roll: float = 0.0) -> np.ndarray:
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return around_z @ around_y


def _head(yaw: float, roll: float = 0.0, gap: float = 0.0, scale: float = 26.0) -> np.ndarray:
    """(1, 68, 3) landmarks of a canonical head whose lower lip has moved by ``gap`` of its units."""
    points = np.asarray(face_points(), np.float64).copy()
    points[[56, 57, 58, 65, 66, 67], 1] += gap
    return (points @ _turn(yaw, roll).T * scale + np.array([SIZE / 2, SIZE / 2 - 8, 0]))[None]


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-0.3, 0.3), st.floats(0, 0.4))
def test_angles_are_those_between_the_heads_whatever_the_mouths_do(yaw, other, roll, gap):
    apart = turn_apart(_head(yaw, gap=gap), _head(other, roll, scale=20))
    relative = _turn(other, roll) @ _turn(yaw).T
    expected = np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1))
    np.testing.assert_allclose(apart, [expected], atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.floats(-0.12, 0.12), st.floats(-0.12, 0.12), st.floats(-0.15, 0.15))
def test_pixels_follow_the_head_and_keep_their_mouth(yaw, other, roll):
    own, wanted = _head(yaw, gap=0.3), _head(other, roll)
    expected = _head(other, roll, gap=0.3)[0]
    for point in (33, 57, 8):
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        cv2.circle(frame, tuple(round(float(v) * 16) for v in own[0, point, :2]), 32, (255,) * 3, -1, shift=4)
        weight = laid_in(frame[None], own, wanted)[0, ..., 0].astype(float)
        y, x = np.mgrid[:SIZE, :SIZE]
        found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        assert np.linalg.norm(found - expected[point, :2]) < 1.5


def test_the_same_head_stays_as_it_is():
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 3)
    frames = frame.astype(np.uint8)[None]
    made = laid_in(frames, _head(0.1), _head(0.1))
    assert np.abs(made.astype(int) - frames).max() <= 2


@pytest.fixture
def border() -> np.ndarray:
    inside = np.zeros((1, SIZE, SIZE), bool)
    inside[:, 30:80, 20:76] = True
    inside[:, 36:74, 26:70] = False
    return inside


def test_smooth_light_is_taken_over_also_far_from_the_border(border):
    rng = np.random.default_rng(0)
    moved = rng.integers(90, 110, (1, SIZE, SIZE, 3)).astype(np.uint8)
    light = np.linspace(5, 20, SIZE)[:, None, None] * np.array([1.0, 0.5, -0.5])
    original = np.rint(moved + light).astype(np.uint8)
    made = in_light_of(original, moved, border)
    apart = made[:, 30:80, 20:76].astype(float) - original[:, 30:80, 20:76]
    assert np.abs(apart).max() <= 5 and np.abs(apart.mean()) < 1


def test_what_is_no_light_colours_nothing(border):
    moved = np.full((1, SIZE, SIZE, 3), 100, np.uint8)
    original = moved.copy()
    original[:, :, :30] = (255, 0, 0)
    made = in_light_of(original, moved, border)
    assert np.abs(made[:, 36:74, 40:70].astype(int) - 100).max() <= 3
