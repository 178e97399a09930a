"""Heads that are carried from pose to pose, and lips that are bent: what moves, and how far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import head, mean_gap_of, mouth

from common.face.layout import CHIN, INNER_LIP_PAIRS, JAW, MOUTH, OUTER_EYE_CORNERS
from common.face.mouth import LIP_SHAPE, LIP_SHAPE_UNIT, lip_shape
from common.own_mouths.frame import FaceAxes
from common.own_mouths.goal import bent_lips, change_to_predicted, filmed_gap, frontality, goal_face, mean_gap
from common.own_mouths.heads import Heads, fitted

UPPER, LOWER = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
BEYOND_LIPS = [i for i in range(68) if i not in MOUTH]
ANGLE = st.floats(-20, 20)


def change(**values: float) -> np.ndarray:
    """A change of lip shape, given in eye-corner distances; ``gap`` is that of all three pairs."""
    shape = np.zeros(len(LIP_SHAPE))
    for name, value in values.items():
        names = [n for n in LIP_SHAPE if n.startswith("gap")] if name == "gap" else [name]
        for n in names:
            shape[LIP_SHAPE.index(n)] = value / LIP_SHAPE_UNIT
    return shape


def widest(gap: float) -> float:
    """What a mouth with this gap is opened to where as much as possible is wanted."""
    return mean_gap_of(bent_lips(mouth(gap)[:, :2], change(gap=50.0)))


class TestHeads:
    @settings(max_examples=25, deadline=None)
    @given(yaw=ANGLE, pitch=ANGLE, roll=st.floats(-60, 60), scale=st.floats(25, 200), gap=st.floats(0, 0.3))
    def test_a_face_turned_onto_another_head_is_the_face_held_like_that(self, yaw, pitch, roll, scale, gap):
        face = mouth(gap, wider=0.05, chin=gap / 2)
        here = Heads.of(head(face, yaw=-8, pitch=5, roll=3, scale=70)[None])
        there = Heads.of(head(mouth(), yaw, pitch, roll, scale, at=(300, 150))[None])
        truth = head(face, yaw, pitch, roll, scale, at=(300, 150))[:, :2]
        apart = np.linalg.norm(here.turned(0, there, 0) - truth, axis=1) / scale
        assert apart.max() < 0.01

    def test_the_other_heads_lips_do_not_matter(self):
        here = Heads.of(head(mouth(0.1))[None])
        there = Heads.of(np.stack([head(mouth(g), yaw=10, scale=80) for g in (0.0, 0.3)]))
        np.testing.assert_allclose(here.turned(0, there, 0), here.turned(0, there, 1), atol=1e-9)

    def test_flat_landmarks_are_turned_in_the_plane(self):
        here = Heads.of(head(mouth(0.2))[None, :, :2])
        there = Heads.of(head(mouth(), roll=30, scale=90, at=(50, 60))[None, :, :2])
        truth = head(mouth(0.2), roll=30, scale=90, at=(50, 60))[:, :2]
        np.testing.assert_allclose(here.turned(0, there, 0), truth, atol=0.2)

    def test_a_nod_is_no_lip_movement(self):
        nods = 14 * np.sin(np.linspace(0, 6, 40))
        landmarks = np.stack([head(mouth(0.15), pitch=p, yaw=0.6 * p) for p in nods])
        raw, upright = lip_shape(landmarks), Heads.of(landmarks).lip_shapes()
        assert np.ptp(upright, axis=0).max() < 0.1
        assert np.ptp(raw, axis=0).max() > 1.5

    @pytest.mark.parametrize("pose", [{"yaw": 25}, {"pitch": -12}, {"yaw": -15, "pitch": 8, "roll": 20}])
    def test_a_head_that_is_always_turned_keeps_its_view(self, pose):
        """Faces are brought to the clip's usual pose, not to the front, which would be guessed."""
        landmarks = np.stack([head(mouth(g), **pose) for g in (0.0, 0.1, 0.2)])
        np.testing.assert_allclose(Heads.of(landmarks).lip_shapes(), lip_shape(landmarks), atol=1e-3)

    def test_speech_is_lip_movement_whatever_the_head_does(self):
        gaps = 0.12 + 0.1 * np.sin(np.arange(30))
        nods = 10 * np.sin(np.linspace(0, 6, 30))
        landmarks = np.stack([head(mouth(g), pitch=p) for g, p in zip(gaps, nods, strict=True)])
        shown = Heads.of(landmarks).lip_shapes()[:, 1] * LIP_SHAPE_UNIT
        assert np.corrcoef(shown, gaps)[0, 1] > 0.999 and np.abs(shown - gaps).max() < 0.015

    @settings(max_examples=20, deadline=None)
    @given(shift=st.floats(-300, 300), roll=st.floats(-40, 40), scale=st.floats(20, 200))
    def test_lip_shapes_see_neither_place_nor_tilt_nor_size(self, shift, roll, scale):
        gaps = (0.0, 0.1, 0.25, 0.05)
        plain = Heads.of(np.stack([head(mouth(g)) for g in gaps])).lip_shapes()
        other = np.stack([head(mouth(g), roll=roll, scale=scale, at=(shift, -shift)) for g in gaps])
        np.testing.assert_allclose(Heads.of(other).lip_shapes(), plain, atol=0.02)

    def test_speech_is_no_expression_and_a_grimace_is(self):
        calm = np.stack([mouth(g) for g in np.linspace(0, 0.25, 8)])
        # The corners go along with the jaw by a part.
        calm[:, [48, 54, 60, 64], 1] += 0.3 * np.linspace(0, 0.25, 8)[:, None]
        smile, aside, crooked = (np.stack([mouth(0.1)] * 8) for _ in range(3))
        smile[4:, [48, 54, 60, 64], 1] -= 0.06
        aside[4:, 48:68, 0] += 0.06
        crooked[4:, [48, 60], 1] -= 0.03
        crooked[4:, [54, 64], 1] += 0.03
        spread = [np.ptp(Heads.of(70 * faces).expressions(), axis=0) for faces in (smile, aside, crooked)]
        assert min(s.max() for s in spread) > 0.05
        assert len({int(s.argmax()) for s in spread}) == 3, "each is told by another number"
        assert np.ptp(Heads.of(70 * calm).expressions(), axis=0).max() < 0.01

    def test_angles_tell_the_turn_in_radians(self):
        wanted = [(12, 0, 0), (0, 9, 0), (0, 0, -25), (-15, 6, 8)]
        heads = Heads.of(np.stack([head(mouth(), *angles, scale=50) for angles in wanted]))
        told = np.rad2deg(heads.angles[:, :3])
        for (yaw, pitch, roll), row in zip(wanted, told, strict=True):
            np.testing.assert_allclose(np.abs(row), np.abs([yaw, pitch, roll]), atol=2.5)
            assert np.sign(row[2]) == np.sign(roll) or roll == 0
        np.testing.assert_allclose(heads.angles[:, 3], np.log(50), atol=1e-3)
        # Opposite turns are told apart.
        yaws = Heads.of(np.stack([head(mouth(), yaw=y) for y in (-12, 12)])).angles[:, 0]
        assert yaws[0] * yaws[1] < 0

    def test_parts_of_heads_are_the_heads_of_the_parts(self):
        heads = Heads.of(np.stack([head(mouth(), yaw=y) for y in range(6)]))
        part = heads[np.array([4, 1])]
        assert len(part) == 2
        np.testing.assert_array_equal(part.landmarks, heads.landmarks[[4, 1]])
        np.testing.assert_allclose(part.angles, heads.angles[[4, 1]])
        np.testing.assert_allclose(part.cheeks, heads.cheeks[[4, 1]])

    def test_cheeks_lie_beside_the_nose_and_move_with_the_head(self):
        heads = Heads.of(np.stack([head(mouth(), scale=60), head(mouth(), scale=60, at=(140, 70))]))
        face, cheeks = heads.landmarks[0], heads.cheeks
        assert cheeks.shape == (2, 6, 2)
        inside = (face[:17, 0].min() < cheeks[0, :, 0]) & (cheeks[0, :, 0] < face[:17, 0].max())
        assert (
            inside.all() and (cheeks[0, :, 1] > face[27, 1]).all() and (cheeks[0, :, 1] < face[51, 1]).all()
        )
        np.testing.assert_allclose(cheeks[1] - cheeks[0], np.tile([40, -10], (6, 1)), atol=1e-6)

    def test_fitting_undoes_a_similarity(self):
        face = head(mouth(0.2))[:, :2]
        other = head(mouth(0.2), roll=35, scale=150, at=(10, 500))[:, :2]
        np.testing.assert_allclose(fitted(face, other), other, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(roll=st.floats(-80, 80), unit=st.floats(10, 300), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_the_faces_axes_go_there_and_back(roll, unit, x, y):
    axes = FaceAxes.of(head(mouth(), roll=roll, scale=unit), unit)
    point = np.array([[x, y]])
    np.testing.assert_allclose(axes.to_face(axes.to_pixels(point)), point, atol=1e-9)
    eyes = axes.to_face(head(mouth(), roll=roll, scale=unit)[list(OUTER_EYE_CORNERS), :2])
    np.testing.assert_allclose(eyes[1] - eyes[0], [1, 0], atol=1e-6)
    assert axes.to_face(head(mouth(), roll=roll, scale=unit)[CHIN : CHIN + 1, :2])[0, 1] > 0.8


class TestBentLips:
    @settings(max_examples=60, deadline=None)
    @given(gap=st.floats(0.03, 0.35), wanted=st.floats(0.03, 0.6))
    def test_the_wanted_gap_is_reached_within_the_limit(self, gap, wanted):
        bent = bent_lips(mouth(gap)[:, :2], change(gap=wanted - gap))
        assert mean_gap_of(bent) == pytest.approx(min(wanted, widest(gap)), abs=2e-3)

    @settings(max_examples=30, deadline=None)
    @given(gap=st.floats(0.03, 0.3), wider=st.floats(-0.08, 0.08), more=st.floats(-0.02, 0.1))
    def test_the_wanted_width_is_reached_whatever_the_gap_does(self, gap, wider, more):
        face = mouth(gap)[:, :2]
        bent = bent_lips(face, change(gap=more, width=wider))
        assert bent[54, 0] - bent[48, 0] == pytest.approx(face[54, 0] - face[48, 0] + wider, abs=1e-6)
        assert bent[[48, 54], 0].mean() == pytest.approx(face[[48, 54], 0].mean(), abs=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(gap=st.floats(0.03, 0.35))
    def test_no_change_of_an_open_mouth_moves_nothing(self, gap):
        face = mouth(gap)[:, :2]
        np.testing.assert_allclose(bent_lips(face, change()), face, atol=1e-12)

    def test_closed_lips_that_shall_be_closed_are_hardly_moved(self):
        for gap in (0.0, 0.01, 0.02):
            face = mouth(gap)[:, :2]
            assert np.abs(bent_lips(face, change()) - face).max() < 0.025

    @settings(max_examples=40, deadline=None)
    @given(gap=st.floats(0, 0.35), less=st.floats(0, 1.5), width=st.floats(-0.3, 0.3))
    def test_lips_that_close_are_pressed_by_little_and_never_cross(self, gap, less, width):
        bent = bent_lips(mouth(gap)[:, :2], change(gap=-less, width=width))
        assert (bent[LOWER, 1] - bent[UPPER, 1]).min() > -0.06
        # The outer lips stay outside.
        assert (bent[[57], 1] > bent[[51], 1] + 0.03).all()

    def test_a_bend_that_closes_leaves_no_slit(self):
        for gap in (0.05, 0.15, 0.3):
            bent = bent_lips(mouth(gap)[:, :2], change(gap=-gap))
            assert (bent[LOWER, 1] - bent[UPPER, 1]).max() <= 1e-9

    @settings(max_examples=30, deadline=None)
    @given(gap=st.floats(0, 0.3), low=st.floats(-0.4, 0.4), high=st.floats(-0.4, 0.4))
    def test_what_shall_be_opened_further_is(self, gap, low, high):
        low, high = sorted((low, high))
        bent = [bent_lips(mouth(gap)[:, :2], change(gap=by)) for by in (low, high)]
        assert mean_gap_of(bent[0]) <= mean_gap_of(bent[1]) + 1e-9
        assert bent[0][57, 1] <= bent[1][57, 1] + 1e-9 and bent[0][51, 1] >= bent[1][51, 1] - 1e-9

    def test_nothing_but_lips_moves(self):
        face = mouth(0.1)[:, :2]
        wild = change(gap=0.1, width=0.05, chin=0.1, upper_lip=-0.03, lower_lip=0.08)
        bent = bent_lips(face, wild)
        np.testing.assert_array_equal(bent[BEYOND_LIPS], face[BEYOND_LIPS])
        assert np.abs(bent[list(MOUTH)] - face[list(MOUTH)]).max() > 0.03

    def test_the_jaw_opens_more_than_the_upper_lip(self):
        face = mouth(0.1)[:, :2]
        moved = bent_lips(face, change_to_predicted(change(gap=0.08))) - face
        assert moved[62, 1] < 0 < moved[66, 1] and moved[66, 1] > 1.5 * -moved[62, 1]

    @settings(max_examples=40, deadline=None)
    @given(gap=st.floats(0.04, 0.3), to=st.floats(0, 0.3), low=st.floats(-0.05, 0.05))
    def test_the_line_between_the_lips_goes_with_the_outer_lips_whatever_the_gap_does(self, gap, to, low):
        # Else a mouth that closes is counted twice, and its line is drawn up: it frowns.
        face = mouth(gap)[:, :2]
        moved = (bent_lips(face, change(gap=to - gap, upper_lip=low, lower_lip=low)) - face)[:, 1]
        middle = moved[[51, 57]].mean()
        assert moved[[62, 66]].mean() == pytest.approx(middle, abs=1e-3)
        assert middle == pytest.approx(0.9 * low, abs=1e-3)

    @settings(max_examples=20, deadline=None)
    @given(low=st.floats(-0.05, 0.05))
    def test_corners_follow_the_lips_by_about_a_half(self, low):
        face = mouth(0.1)[:, :2]
        moved = (bent_lips(face, change(upper_lip=low, lower_lip=low)) - face)[:, 1]
        np.testing.assert_allclose(moved[[48, 54, 60, 64]], 0.55 * moved[51], atol=1e-3)

    def test_both_lips_move_with_a_change_of_both(self):
        face = mouth(0.1)[:, :2]
        moved = bent_lips(face, change(upper_lip=0.03, lower_lip=0.03)) - face
        # The middle of the outer lips follows, the gap stays.
        np.testing.assert_allclose(moved[[51, 57], 1], 0.027, atol=3e-3)
        assert mean_gap_of(face + moved) == pytest.approx(mean_gap_of(face), abs=1e-6)

    def test_of_predicted_outer_lips_half_is_done_beyond_what_goes_with_the_gap(self):
        for gap in (-0.1, 0.0, 0.1):
            without, with_more = (
                change_to_predicted(change(gap=gap, upper_lip=up, lower_lip=up)) for up in (0.0, 0.04)
            )
            np.testing.assert_allclose((with_more - without)[-2:] * LIP_SHAPE_UNIT, 0.02, atol=1e-9)
            np.testing.assert_array_equal(with_more[:-2], change(gap=gap)[:-2])

    @pytest.mark.parametrize("gap", [0.08, 0.15, 0.25])
    def test_a_mouth_that_closes_as_mouths_do_keeps_its_expression(self, gap):
        # Outer lips by what medians of film say: its corners lie about as far below its line as before.
        film = change(gap=-gap, upper_lip=0.15 * gap, lower_lip=-0.76 * gap)
        for told in (film, change_to_predicted(change(gap=-gap))):
            face = mouth(gap)[:, :2]
            bent = bent_lips(face, told)
            line, corners = (bent[ids, 1].mean() - face[ids, 1].mean() for ids in ([62, 66], [48, 54]))
            assert abs(corners - line) < 0.15 * gap

    def test_a_gap_and_the_most_it_can_be_opened(self):
        assert mean_gap(change(gap=0.2)) == pytest.approx(0.2)
        assert mean_gap(change(gap=0.2, width=0.5, chin=1)) == pytest.approx(0.2)
        assert [filmed_gap(g) >= g for g in (0.0, 0.1, 0.3)] == [True] * 3
        assert all(gap + 0.02 < widest(gap) < 1.0 for gap in (0.0, 0.1, 0.2, 0.3))
        far = bent_lips(mouth(0.1)[:, :2], change(gap=5.0, width=5.0))
        assert far[54, 0] - far[48, 0] < mouth()[54, 0] - mouth()[48, 0] + 0.25


class TestGoalFace:
    own, turned = mouth(0.02)[:, :2], mouth(0.2, chin=0.12)[:, :2]

    def test_the_upper_face_is_the_frames_own(self):
        goal = goal_face(self.own, self.turned, change(gap=0.05, chin=0.05))
        still = [i for i in BEYOND_LIPS if i not in JAW]
        np.testing.assert_array_equal(goal[still], self.own[still])

    def test_as_filmed_the_lips_are_the_moments(self):
        goal = goal_face(self.own, self.turned, None)
        np.testing.assert_array_equal(goal[list(MOUTH)], self.turned[list(MOUTH)])
        assert goal[CHIN, 1] == pytest.approx(self.turned[CHIN, 1])

    def test_the_chin_moves_fully_and_the_ends_of_the_jaw_little(self):
        goal = goal_face(self.own, self.turned, change(chin=0.05))
        down = goal[:, 1] - self.own[:, 1]
        assert down[CHIN] == pytest.approx(0.12 + 0.05, abs=1e-6)
        assert max(abs(down[JAW[0]]), abs(down[JAW[-1]])) < 0.1 * down[CHIN]
        half = list(down[CHIN : JAW[-1] + 1])
        assert half == sorted(half, reverse=True)

    def test_the_nearer_to_a_profile_the_less_is_bent_and_moved(self):
        wanted = change(gap=0.08, chin=0.05, width=0.05)
        before = wanted.copy()
        moved = [
            np.abs(
                goal_face(self.own, self.turned, wanted, share)
                - goal_face(self.own, self.turned, None, share)
            )
            for share in (0.0, 0.5, 1.0)
        ]
        np.testing.assert_array_equal(wanted, before)
        lips, jaw = list(MOUTH), list(JAW)
        assert moved[0][lips].max() < 0.3 * moved[1][lips].max() < 0.3 * moved[2][lips].max()
        side = goal_face(self.own, self.turned, wanted, 0.0)
        np.testing.assert_allclose(side[jaw], self.own[jaw])
        np.testing.assert_allclose(side[lips], self.turned[lips], atol=0.01)

    def test_how_frontal_a_face_is(self):
        told = frontality(np.deg2rad([0, 10, -10, 35, -35, 60, -90]))
        assert told[0] == told[1] == told[2] == 1 and told[5] == told[6] == 0
        assert told[3] == told[4] and 0 < told[3] < 1

    def test_the_chin_is_not_carried_off(self):
        goal = goal_face(self.own, self.own, change(chin=3.0))
        assert 0.05 < goal[CHIN, 1] - self.own[CHIN, 1] < 0.2

    def test_a_frame_that_takes_itself_stays(self):
        face = mouth(0.1)[:, :2]
        np.testing.assert_allclose(goal_face(face, face, change()), face, atol=1e-12)
        np.testing.assert_array_equal(goal_face(face, face, None), face)
