"""A box that is carried along by optical flow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.face import build_detector
from common.face.people import track_faces
from stage2_dubber.dub.request import DubRequest

SIZE = (320, 240)
GROUND = cv2.resize(
    np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC
)


def drawing(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A talking drawing that moves and grows over a still ground, and its box."""
    face = np.full((60, 60, 3), 220, np.uint8)
    for x in (18, 42):
        cv2.circle(face, (x, 20), 5, (20, 20, 20), -1)
    cv2.line(face, (30, 26), (30, 36), (90, 60, 60), 2)
    cv2.ellipse(face, (30, 47), (12, 2 + int(5 * abs(np.sin(index)))), 0, 0, 360, (180, 30, 40), -1)
    scale, x, y = 1 + 0.3 * np.sin(index / 15), 100 + 40 * np.sin(index / 9), 80 + 20 * np.cos(index / 11)
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    inside = cv2.warpAffine(np.ones((60, 60), np.float32), matrix, SIZE) > 0.5
    picture = np.where(inside[..., None], cv2.warpAffine(face, matrix, SIZE), GROUND)
    return picture.astype(np.uint8), np.array([x, y, x + 59 * scale, y + 59 * scale])


def test_a_drawn_face_is_followed_to_the_pixel_though_its_mouth_moves():
    pictures, boxes = zip(*(drawing(index) for index in range(60)), strict=True)
    detector = build_detector("box", box=boxes[0].tolist(), follow=True)
    for _ in range(2):  # a reset begins again at the first frame
        track = track_faces(pictures, detector).track((0,))
        assert track.present.all()
        np.testing.assert_allclose(track.boxes, boxes, atol=1)


def test_it_is_lost_at_a_cut_and_stays_lost():
    pictures = [drawing(index)[0] for index in range(12)]
    other = [cv2.flip(255 - picture, 0) for picture in pictures]
    detector = build_detector("box", box=drawing(0)[1].tolist(), follow=True)
    track = track_faces([*pictures, *other], detector).track((0,))
    assert track.present.tolist() == [True] * 12 + [False] * 12


def test_it_is_lost_where_nothing_can_be_followed():
    detector = build_detector("box", box=drawing(0)[1].tolist(), follow=True)
    flat = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    assert detector.detect(drawing(0)[0]) and not detector.detect(flat)


def test_a_box_to_follow_must_be_given(tmp_path: Path):
    clip = tmp_path / "a.mp4"
    with pytest.raises(UserError, match="needs a box to follow"):
        DubRequest(clip, clip, tmp_path / "b.mp4", follow_box=True).face_backend()
