"""Pixels of own mouths: what is between the lips, smooth displacements, light, alignment, blur."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import drawn_talker, mouth
from scipy.interpolate import PchipInterpolator, RBFInterpolator

from common.own_mouths.drawn import MouthColours, drawn_inside, drawn_share, mouth_colours
from common.own_mouths.inside import Opening, lower_share, splitting_line
from common.own_mouths.plates import pulled, thin_plate, thin_plates
from common.own_mouths.skin import Aligner, lit, motion_blurred

EDGE = 0.02  # eye-corner distances about a lip's edge in which plates pass into each other


def _grid(opening: Opening, columns: int = 41) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the face's axes: columns across the mouth, rows from far above to far below, 0.001 apart."""
    left, right = opening.upper[[0, -1], 0]
    x, y = np.meshgrid(np.linspace(left - 0.1, right + 0.1, columns), np.arange(0.6, 1.4, 0.001))
    return x.astype(np.float32), y.astype(np.float32)


def _opening(gap: float) -> Opening:
    return Opening.of(mouth(gap)[:, :2])


def _texture(height: int = 120, width: int = 160, seed: int = 0, coarse: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), coarse)
    return np.asarray(128 + 40 * soft / soft.std(), np.float32).clip(5, 250)


class TestInside:
    @settings(max_examples=40, deadline=None)
    @given(
        gap=st.floats(0, 0.35),
        shown=st.floats(0, 0.35),
        split=st.none() | st.floats(0.25, 0.85),
    )
    def test_above_the_lips_the_upper_plate_below_them_the_lower_one(self, gap, shown, split):
        opening = _opening(gap)
        x, y = _grid(opening)
        upper, lower = opening.edges(x)
        share = lower_share(x, y, opening, shown, split)
        assert (share >= 0).all() and (share <= 1).all()
        away = EDGE + opening.beyond(x)
        assert (share[y < upper - away] == 0).all()
        assert (share[y > lower + away] == 1).all()
        assert (np.diff(share, axis=0) >= -1e-6).all(), "the farther down, the more of the lower plate"

    @settings(max_examples=30, deadline=None)
    @given(shown=st.floats(0.08, 0.2), more=st.floats(1.1, 1.7), split=st.floats(0.3, 0.7))
    def test_rows_of_teeth_keep_their_size_when_the_mouth_opens(self, shown, more, split):
        opening = _opening(shown * more)
        x, y = _grid(opening)
        upper, lower = (edge[0] for edge in opening.edges(x))
        middle = x.shape[1] // 2
        share = lower_share(x, y, opening, shown, split)[:, middle]
        column, top, bottom = y[:, middle], float(upper[middle]), float(lower[middle])
        # What was above the splitting line goes with the upper plate, what was below it with the lower one.
        of_upper = (column > top) & (column < top + split * shown - 0.005)
        of_lower = (column < bottom) & (column > bottom - (1 - split) * shown + EDGE)
        assert of_upper.any() and of_lower.any()
        assert (share[of_upper] < 1e-3).all() and (share[of_lower] > 1 - 1e-3).all()

    def test_without_a_splitting_line_the_inside_is_stretched_as_a_whole(self):
        opening = _opening(0.3)
        x, y = _grid(opening)
        middle = x.shape[1] // 2
        upper, lower = (float(edge[0, middle]) for edge in opening.edges(x))
        share = lower_share(x, y, opening, 0.15, None)[:, middle]
        heights = (y[:, middle] - upper) / (lower - upper)
        np.testing.assert_allclose(share, heights.clip(0, 1), atol=0.02)

    @pytest.mark.parametrize("split", [None, 0.4])
    def test_a_mouth_that_closes_is_covered_from_below(self, split):
        shown = 0.3
        opening = _opening(0.1)
        x, y = _grid(opening)
        middle = x.shape[1] // 2
        upper, lower = (float(edge[0, middle]) for edge in opening.edges(x))
        share, column = lower_share(x, y, opening, shown, split)[:, middle], y[:, middle]
        between = (column > upper) & (column < lower - EDGE)
        # What is still seen is the upper part of what was there, at its own size.
        assert between.any() and (share[between] < 1e-3).all()

    def test_no_step_from_opening_to_closing(self):
        opening = _opening(0.2)
        x, y = _grid(opening)
        shares = [lower_share(x, y, opening, float(s), 0.5) for s in np.linspace(0.19, 0.25, 61)]
        steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(shares)]
        assert max(steps) < 0.01

    def test_pressed_lips_show_the_lower_one(self):
        face = mouth(0.0)[:, :2]
        face[[65, 66, 67], 1] -= 0.02
        opening = Opening.of(face)
        x, y = _grid(opening)
        upper, lower = opening.edges(x)
        np.testing.assert_allclose(upper, np.minimum(upper, lower))
        assert opening.gap == 0
        assert lower_share(x, y, opening, 0.1, 0.5)[y > lower + EDGE + opening.beyond(x)].min() == 1

    def test_an_opening_knows_its_gap_and_its_edges(self):
        opening = _opening(0.17)
        assert opening.gap == pytest.approx(0.17)
        at = opening.upper[:, 0].astype(np.float32)[None]
        upper, lower = opening.edges(at)
        np.testing.assert_allclose(upper[0], opening.upper[:, 1], atol=1e-4)
        np.testing.assert_allclose(lower[0, 1:-1], opening.lower[1:-1, 1], atol=1e-3)
        outside = np.array([[opening.upper[0, 0] - 0.1, 0.0, opening.upper[-1, 0] + 0.2]], np.float32)
        np.testing.assert_allclose(opening.beyond(outside)[0], [0.1, 0, 0.2], atol=1e-5)

    @settings(max_examples=20, deadline=None)
    @given(heights=st.lists(st.floats(-0.05, 0.2), min_size=5, max_size=5), seed=st.integers(0, 99))
    def test_edges_are_the_curves_of_scipy(self, heights, seed):
        opening = _opening(0.1)
        aside = opening.lower[:, 0] + np.random.default_rng(seed).uniform(-0.02, 0.02, 5)
        lower = np.stack([aside, opening.lower[:, 1] + heights], axis=1)
        x, _ = _grid(opening, 301)
        found = Opening(opening.upper, lower).edges(x[:1])[1]
        exact = PchipInterpolator(*lower.T)(np.clip(x[:1], aside[0], aside[-1]))
        # The curve is tabulated: it is furthest off where it is bent most.
        np.testing.assert_allclose(found, exact, atol=2e-3)

    def test_corners_that_share_a_column_are_no_trouble(self):
        face = mouth(0.2)[:, :2]
        face[[60, 61, 67], 0] = face[61, 0]
        x, y = _grid(Opening.of(face))
        assert np.isfinite(lower_share(x, y, Opening.of(face), 0.1, 0.5)).all()

    @settings(max_examples=20, deadline=None)
    @given(at=st.floats(0.3, 0.8), light=st.floats(0.4, 1.0))
    def test_the_splitting_line_is_the_dark_band(self, at, light):
        heights = (np.arange(24) + 0.5) / 24
        rows = np.where(np.abs(heights - at) < 0.1, 20, 220) * light
        inside = np.broadcast_to(rows[:, None, None], (24, 24, 3)).astype(np.uint8)
        assert splitting_line(inside) == pytest.approx(at, abs=0.05)

    def test_a_mouth_of_one_colour_is_split_in_its_middle(self):
        assert splitting_line(np.full((24, 24, 3), 90, np.uint8)) == 0.5

    def test_a_line_at_the_very_edge_is_not_believed(self):
        inside = np.full((24, 24, 3), 200, np.uint8)
        inside[:2] = 0
        assert 0.2 < splitting_line(inside) < 0.5
        assert 0.5 < splitting_line(inside[::-1]) < 0.9


class TestDrawnInside:
    colours = MouthColours(np.array([160, 70, 70], np.float32), np.array([200, 160, 140], np.float32))

    @settings(max_examples=20, deadline=None)
    @given(gap=st.floats(0, 0.4))
    def test_nothing_is_drawn_outside_of_the_lips(self, gap):
        opening = _opening(gap)
        x, y = _grid(opening)
        upper, lower = opening.edges(x)
        picture, opacity = drawn_inside(x, y, opening, self.colours)
        assert picture.shape == (*x.shape, 3) and np.isfinite(picture).all()
        assert (picture >= 0).all() and (picture <= 255).all()
        assert (opacity >= 0).all() and (opacity <= 1).all()
        outside = (y <= upper) | (y >= lower) | (opening.beyond(x) > 0)
        assert (opacity[outside] == 0).all()
        if gap > 0.1:
            assert (opacity[~outside] == 1).mean() > 0.5

    def test_teeth_above_darkness_below_and_the_faces_own_light(self):
        opening = _opening(0.3)
        x, y = _grid(opening)
        middle = x.shape[1] // 2
        upper = float(opening.edges(x)[0][0, middle])
        picture, _ = drawn_inside(x, y, opening, self.colours)
        luma, depth = picture[:, middle].mean(axis=-1), y[:, middle] - upper
        teeth, dark = (
            luma[(depth > 0.03) & (depth < 0.06)].mean(),
            luma[(depth > 0.12) & (depth < 0.15)].mean(),
        )
        assert teeth > 2 * dark
        dim = MouthColours(0.4 * self.colours.lips, 0.4 * self.colours.skin)
        np.testing.assert_allclose(drawn_inside(x, y, opening, dim)[0], 0.4 * picture, atol=12)

    def test_it_is_drawn_only_beyond_what_film_can_fill_and_comes_in_softly(self):
        shares = [drawn_share(g, 0.2) for g in (0.0, 0.2, 0.21, 0.22, 0.4)]
        assert shares[0] == shares[1] == 0 and shares[-1] == 1
        assert shares == sorted(shares) and 0 < shares[2] < shares[3] <= 1

    def test_colours_are_those_of_the_face(self):
        clip = drawn_talker(np.array([0.1]))
        colours = mouth_colours(clip.frames[0], clip.landmarks[0, :, :2].astype(float))
        np.testing.assert_allclose(colours.lips, [160, 60, 60], atol=15)
        np.testing.assert_allclose(colours.skin, [190, 150, 130], atol=20)
        # A moustache, and hair on the chin: neither lips nor skin.
        hairy, points = clip.frames[0].copy(), clip.landmarks[0]
        top, bottom = int(points[33, 1]) + 3, int(points[51, 1]) + 2
        hairy[top:bottom, int(points[48, 0]) : int(points[54, 0])] = 60
        hairy[int(points[57, 1]) + 3 : int(points[8, 1])] = 60
        shaved = mouth_colours(hairy, points[:, :2].astype(float))
        np.testing.assert_allclose(shaved.lips, colours.lips, atol=15)
        np.testing.assert_allclose(shaved.skin, colours.skin, atol=20)
        away = mouth_colours(clip.frames[0], clip.landmarks[0, :, :2] + 1000.0)
        assert np.isfinite(away.lips).all()


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
    @given(red=st.floats(-35, 35), green=st.floats(-35, 35), blue=st.floats(-35, 35))
    def test_another_light_is_taken_away(self, red, green, blue):
        base, alpha = _texture(), _alpha()
        piece = base - np.array([red, green, blue], np.float32)
        np.testing.assert_allclose(lit(base, piece, alpha, self.unit), base, atol=0.5)

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
