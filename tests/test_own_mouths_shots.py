"""Shots of a film: cuts, and persons who are strange to each other."""

from __future__ import annotations

import numpy as np

from common.face.canonical import face_points
from common.face.pose import fit_pose
from common.own_mouths.shots import Shots


def _film(wider_nose: float = 0.0, skin: tuple[int, int, int] = (200, 150, 130)) -> Shots:
    """Two shots of 20 frames before grounds of 40 and 200 levels; the second person may differ."""
    shots = Shots()
    for index in range(40):
        second = index >= 20
        points = 100 * face_points() + [128, 100, 0]
        if second:
            points[31:36, 0] = 128 + (1 + wider_nose) * (points[31:36, 0] - 128)
        image = np.full((256, 256, 3), 200 if second else 40, np.uint8)
        image[60:240, 40:220] = skin if second else (200, 150, 130)
        shots.add(index, image, points, fit_pose(points[None]), int(second))
    return shots


def test_a_cut_begins_a_shot_and_nothing_else_does() -> None:
    shots = _film()
    np.testing.assert_array_equal(shots.numbers(np.arange(40)), np.arange(40) >= 20)


def test_frames_that_were_not_seen_belong_to_the_shot_before_them() -> None:
    shots = _film()
    np.testing.assert_array_equal(shots.numbers(np.array([-3, 19, 20, 70])), [0, 0, 1, 1])


def test_another_person_is_stranger_than_another_shot_of_the_same() -> None:
    same = _film().moment_costs(0)
    other_nose = _film(wider_nose=0.6).moment_costs(0)
    other_skin = _film(skin=(150, 150, 200)).moment_costs(0)
    assert same[0] == other_nose[0] == 0
    assert 0 < same[1] < 1
    assert other_nose[1] > 4 * same[1] and other_skin[1] > 4 * same[1]
