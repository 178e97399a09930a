"""Pixels of own mouths: what is between the lips, smooth displacements, light, alignment, blur."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator

from common.own_mouths.plates import pulled, thin_plate, thin_plates
from common.own_mouths.skin import Aligner, lit, motion_blurred


def _texture(height: int = 120, width: int = 160, seed: int = 0, coarse: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), coarse)
    return np.asarray(128 + 40 * soft / soft.std(), np.float32).clip(5, 250)


class TestPlates:
    roi = (10, 20, 90, 80)

    def test_control_points_go_where_they_shall(self):
        draw = np.random.default_rng(0)
        goal = np.stack(np.meshgrid(np.arange(20, 90, 15), np.arange(25, 80, 12)), axis=-1).reshape(-1, 2)
        goal = goal.astype(float)
        source = goal + draw.normal(0, 2, goal.shape)
        field = thin_plate(source, goal, self.roi, 2.0, 1e-4)
        assert field.shape == (2, 60, 80) and field.dtype == np.float32
        at = goal[:, 0].astype(int) - 10, goal[:, 1].astype(int) - 20
        np.testing.assert_allclose(goal + field[:, at[1], at[0]].T, source, atol=0.5)
        # With slack the plate is calmer than its points.
        calm = thin_plate(source, goal, self.roi, 2.0, 1e4)
        assert calm.std() < 0.6 * field.std()

    def test_points_that_stay_move_nothing(self):
        points = np.random.default_rng(1).uniform(0, 100, (20, 2))
        np.testing.assert_allclose(thin_plate(points, points, self.roi, 3.0, 0.01), 0, atol=1e-5)

    def test_a_similarity_is_exact_between_the_points_too(self):
        goal = np.random.default_rng(2).uniform(0, 100, (15, 2))
        turn = 1.1 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
        field = thin_plate(goal @ turn.T + [3, -4], goal, self.roi, 5.0, 0.01)
        y, x = np.mgrid[20:80, 10:90]
        place = np.stack([x, y], axis=-1)
        inner = (slice(7, -7), slice(7, -7))
        moved = place + np.moveaxis(field, 0, -1)
        np.testing.assert_allclose(moved[inner], (place @ turn.T + [3, -4])[inner], atol=0.1)

    def test_plates_are_those_of_scipy_each_by_itself(self):
        """On a grid that has every pixel; points that two plates share do not join them."""
        draw = np.random.default_rng(4)
        goal = draw.uniform(0, 100, (30, 2))
        source = goal + draw.normal(0, 3, goal.shape)
        members = [np.arange(20), np.arange(8, 30)]
        fields = thin_plates(source, goal, members, (10, 20, 90, 100), 80 / 79, 2.0)
        y, x = np.mgrid[20:100, 10:90]
        places = np.stack([x.ravel(), y.ravel()], axis=1)
        for ids, field in zip(members, fields, strict=True):
            plate = RBFInterpolator(
                goal[ids], (source - goal)[ids], kernel="thin_plate_spline", smoothing=2.0
            )
            exact = plate(places).reshape(80, 80, 2)
            np.testing.assert_allclose(np.moveaxis(field, 0, -1), exact, atol=1e-4)

    def test_a_zero_field_gives_the_patch_itself(self):
        image = _texture().astype(np.uint8)
        field = np.zeros((2, 60, 80), np.float32)
        np.testing.assert_array_equal(pulled(image, field, self.roi), image[20:80, 10:90])
        patch = image[15:100, 5:120]
        np.testing.assert_array_equal(pulled(patch, field, self.roi, (5, 15)), image[20:80, 10:90])

    def test_a_whole_pixel_is_a_whole_pixel(self):
        image = _texture().astype(np.uint8)
        field = np.zeros((2, 60, 80), np.float32)
        field[0], field[1] = 3, -2
        np.testing.assert_array_equal(pulled(image, field, self.roi), image[18:78, 13:93])

    def test_one_channel_is_seen_like_three(self):
        image = _texture().astype(np.uint8)
        field = np.full((2, 60, 80), 0.4, np.float32)
        seen = pulled(image, field, self.roi)
        np.testing.assert_array_equal(pulled(image[..., 1].copy(), field, self.roi), seen[..., 1])

    def test_beyond_the_patch_its_border_goes_on(self):
        patch = np.full((20, 20, 3), 77, np.uint8)
        assert (pulled(patch, np.zeros((2, 60, 80), np.float32), self.roi, (30, 30)) == 77).all()


def _alpha(height: int = 120, width: int = 160) -> np.ndarray:
    """An opacity with a soft border, as that of a mouth."""
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot((x - width / 2) / (0.44 * width), (y - height / 2) / (0.44 * height))
    return np.clip((1 - away) / 0.25, 0, 1).astype(np.float32)


class TestLight:
    unit = 90.0

    @settings(max_examples=15, deadline=None)
    @given(red=st.floats(0.25, 3), green=st.floats(0.25, 3), blue=st.floats(0.25, 3))
    def test_another_light_is_taken_away(self, red, green, blue):
        """Dark and full colours as well: a difference alone tore the lips of faded film."""
        base, alpha = _texture(), _alpha()
        piece = base * np.array([red, green, blue], np.float32)
        np.testing.assert_allclose(lit(base, piece, alpha, self.unit), base, atol=0.5)

    @pytest.mark.parametrize("haze", [-35.0, 20.0])
    def test_haze_is_taken_away_but_for_a_little_contrast(self, haze):
        base, alpha = _texture(), _alpha()
        left = np.abs(lit(base, base - haze, alpha, self.unit) - base)
        assert left.mean() < 0.35 * abs(haze)

    def test_a_light_that_changes_from_side_to_side_is_taken_away(self):
        base, alpha = _texture(), _alpha()
        slope = np.linspace(-20, 20, base.shape[1], dtype=np.float32)[None, :, None]
        left = np.abs(lit(base, base - slope, alpha, self.unit) - base)
        assert left[alpha > 0.02].mean() < 0.5 * np.abs(slope).mean()
        border = (alpha > 0.02) & (alpha < 0.6)
        assert left[border].mean() < 5

    def test_equal_pictures_stay_equal(self):
        base = _texture()
        np.testing.assert_allclose(lit(base, base, _alpha(), self.unit), base, atol=1e-4)

    def test_what_differs_within_the_mouth_says_nothing_of_the_light(self):
        base, alpha = _texture(), _alpha()
        piece = base.copy()
        piece[alpha > 0.95] += 60
        shown = lit(base, piece, alpha, self.unit)
        np.testing.assert_allclose(shown[alpha > 0.95], piece[alpha > 0.95], atol=1)

    def test_a_hair_across_the_border_does_not_colour_the_mouth(self):
        base, alpha = _texture(), _alpha()
        piece = base - 10
        base = base.copy()
        base[:, 78:82] = 0
        shown = lit(base, piece, alpha, self.unit)
        middle = (slice(50, 70), slice(60, 100))
        assert np.abs((shown - piece)[middle].mean() - 10) < 3

    def test_paper_that_both_show_stays_white_where_strokes_differ(self):
        """A drawing whose border has more strokes than the piece was given a grey chin."""
        strokes = np.random.default_rng(7).random((120, 160, 1)) < 0.5
        base = np.where(strokes, 180, 255).astype(np.float32).repeat(3, axis=-1)
        piece = np.full_like(base, 255)
        piece[50:70, 60:100] = 120
        shown = lit(base, piece, _alpha(), self.unit)
        np.testing.assert_array_equal(shown[piece == 255], 255)
        assert shown[60, 80, 0] < 115

    def test_without_a_border_nothing_is_done(self):
        base, piece = _texture(), _texture(seed=5)
        np.testing.assert_array_equal(lit(base, piece, np.ones((120, 160), np.float32), self.unit), piece)
        np.testing.assert_array_equal(lit(base, piece, np.zeros((120, 160), np.float32), self.unit), piece)

    def test_one_channel_is_lit_like_three_of_it(self):
        base, piece = (_texture(seed=seed)[..., :1] for seed in (3, 4))
        three = lit(base.repeat(3, axis=-1), piece.repeat(3, axis=-1), _alpha(), self.unit)
        np.testing.assert_allclose(
            lit(base[..., 0], piece[..., 0], _alpha(), self.unit), three[..., 2], atol=1e-3
        )


class TestAligner:
    @pytest.mark.parametrize(("dx", "dy"), [(1.5, 0.0), (0.0, -1.5), (-1.0, 1.0)])
    def test_a_small_shift_is_found(self, dx, dy):
        large = _texture(140, 180, coarse=2.5)[..., 0]
        base = large[10:130, 10:170]
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        piece = cv2.warpAffine(large, move, (180, 140), flags=cv2.INTER_CUBIC)[10:130, 10:170]
        field = Aligner()(base, piece, np.ones((120, 160), np.float32), 80.0)
        found = field[:, 30:-30, 30:-30].mean(axis=(1, 2))
        np.testing.assert_allclose(found, [dx, dy], atol=0.4)
        seen = pulled(piece.astype(np.uint8), field, (0, 0, 160, 120))
        inner = (slice(20, -20), slice(20, -20))
        assert np.abs(seen - base)[inner].mean() < 0.5 * np.abs(piece - base)[inner].mean()

    def test_equal_pictures_are_not_moved(self):
        base = _texture()[..., 0]
        assert np.abs(Aligner()(base, base, np.ones((120, 160), np.float32), 80.0)).max() < 0.05

    def test_no_more_than_a_little_and_nothing_where_nothing_counts(self):
        base, other = _texture()[..., 0], _texture(seed=9)[..., 0]
        assert np.abs(Aligner()(base, other, np.ones((120, 160), np.float32), 80.0)).max() < 0.05 * 80
        assert np.abs(Aligner()(base, other, np.zeros((120, 160), np.float32), 80.0)).max() < 1e-3

    def test_large_faces_are_aligned_in_their_own_pixels(self):
        large = _texture(480, 640, coarse=8.0)[..., 0]
        move = np.array([[1, 0, 6], [0, 1, 0]], np.float32)
        piece = cv2.warpAffine(large, move, (640, 480), flags=cv2.INTER_CUBIC)
        field = Aligner()(large, piece, np.ones((480, 640), np.float32), 320.0)
        np.testing.assert_allclose(field[:, 100:-100, 100:-100].mean(axis=(1, 2)), [6, 0], atol=1.5)

    @pytest.mark.parametrize("size", [(4, 6), (9, 12), (17, 30), (12, 60), (20, 100), (28, 200), (100, 6)])
    def test_small_pieces_and_strips_are_no_trouble(self, size):
        """Of faces that are small or cut off by the picture's border."""
        base = _texture(*size)[..., 0]
        field = Aligner()(base, base, np.ones(size, np.float32), 12.0)
        assert field.shape == (2, *size) and np.isfinite(field).all()


class TestMotionBlur:
    @settings(max_examples=20, deadline=None)
    @given(x=st.floats(-9, 9), y=st.floats(-9, 9))
    def test_the_mean_stays(self, x, y):
        blurred = motion_blurred(_texture(), np.array([x, y]))
        assert blurred.shape == (120, 160, 3)
        assert blurred.mean() == pytest.approx(_texture().mean(), abs=1)
        flat = np.full((30, 30, 3), 50, np.float32)
        np.testing.assert_allclose(motion_blurred(flat, np.array([x, y])), 50, rtol=1e-4)

    def test_below_a_pixel_nothing_is_done(self):
        picture = _texture()
        np.testing.assert_array_equal(motion_blurred(picture, np.array([0.6, -0.6])), picture)

    def test_only_along_the_movement(self):
        stripes = np.zeros((60, 60, 3), np.float32)
        stripes[:, ::6] = 200
        along, across = (motion_blurred(stripes, np.array(s)) for s in ([0.0, 8.0], [8.0, 0.0]))
        inner = (slice(10, -10), slice(10, -10))
        assert along[inner].std() > 0.9 * stripes[inner].std()
        assert across[inner].std() < 0.5 * stripes[inner].std()

    def test_a_longer_movement_blurs_more(self):
        spread = [motion_blurred(_texture(), np.array([s, 0.0])).std() for s in (0.0, 3.0, 6.0, 12.0)]
        assert spread == sorted(spread, reverse=True) and spread[-1] < 0.7 * spread[0]
