"""What is between the lips: which plate it follows, where rows of teeth part, what is drawn."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import Talker, drawn_talker, mouth
from scipy.interpolate import PchipInterpolator

from common.own_mouths.drawn import MouthColours, between_rows, drawn_inside, drawn_share, mouth_colours
from common.own_mouths.inside import Opening, plate_shares
from common.own_mouths.moments import moments_of
from common.own_mouths.parting import INSIDE_SIZE, Parting, parting_of

EDGE = 0.02  # eye-corner distances about a lip's edge in which plates pass into each other


def _grid(opening: Opening, columns: int = 41) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the face's axes: columns across the mouth, rows from far above to far below, 0.001 apart."""
    left, right = opening.upper[[0, -1], 0]
    x, y = np.meshgrid(np.linspace(left - 0.1, right + 0.1, columns), np.arange(0.6, 1.4, 0.001))
    return x.astype(np.float32), y.astype(np.float32)


def _opening(gap: float) -> Opening:
    return Opening.of(mouth(gap)[:, :2])


def _parting(shown: float, split: float) -> Parting:
    """Of a mouth that shows this gap, at this share of its heights."""
    opening = _opening(shown)
    at = np.linspace(*opening.upper[[0, -1], 0], INSIDE_SIZE[0], dtype=np.float32)[None]
    upper, lower = (edge[0].astype(float) for edge in opening.edges(at))
    return Parting(split * (lower - upper), (1 - split) * (lower - upper), np.zeros(3, np.float32))


def _found(inside: np.ndarray) -> Parting:
    """In gaps of 1."""
    return parting_of(inside, np.ones(inside.shape[1]))


def lower_share(
    x: np.ndarray, y: np.ndarray, opening: Opening, shown: float, split: float | None
) -> np.ndarray:
    return plate_shares(x, y, opening, shown, None if split is None else _parting(shown, split))[0]


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

    def test_a_mouth_that_opens_is_drawn_out_at_the_parting_alone(self):
        shown, gap, split = 0.1, 0.15, 0.6
        opening = _opening(gap)
        x, y = _grid(opening)
        middle = x.shape[1] // 2
        upper, lower = (float(edge[0, middle]) for edge in opening.edges(x))
        drawn_out = plate_shares(x, y, opening, shown, _parting(shown, split))[1]
        column = y[:, middle]
        top, bottom = upper + split * shown, lower - (1 - split) * shown
        assert (drawn_out[(column > top) & (column < bottom), middle] > 0.99).all()
        assert (drawn_out[(column < top - EDGE) | (column > bottom + EDGE), middle] == 0).all()
        assert not drawn_out[np.broadcast_to(opening.beyond(x) > 0, x.shape)].any()
        for still in (shown, shown + 0.01, shown - 0.05):
            assert not plate_shares(x, y, _opening(still), shown, _parting(shown, split))[1].any(), still


def _rows(line: np.ndarray) -> np.ndarray:
    """A rectified mouth: teeth, and a dark line three rows high whose middle lies at ``line`` (C,)."""
    rows = INSIDE_SIZE[1]
    heights = (np.arange(rows) + 0.5) / rows
    dark = np.abs(heights[:, None] - line) < 1.5 / rows
    return np.repeat(np.where(dark, 30, 220).astype(np.uint8)[..., None], 3, axis=2)


class TestParting:
    @settings(max_examples=20, deadline=None)
    @given(at=st.floats(0.35, 0.8), bow=st.floats(-0.15, 0.15))
    def test_it_follows_the_dark_line_between_curved_rows(self, at, bow):
        across = np.linspace(-1, 1, INSIDE_SIZE[0])
        line = np.clip(at + bow * (1 - across**2), 0.3, 0.85)
        found = _found(_rows(line))
        np.testing.assert_allclose(found.above, line, atol=1.5 / INSIDE_SIZE[1])
        np.testing.assert_allclose(found.colour, 30, atol=1)

    def test_a_mouth_of_one_colour_parts_in_its_middle(self):
        found = _found(np.full((24, 32, 3), 90, np.uint8))
        np.testing.assert_allclose(found.above, 0.5, atol=1 / 24)

    def test_a_line_at_the_very_edge_is_not_believed(self):
        inside = np.full((24, 32, 3), 200, np.uint8)
        inside[:2] = 0
        assert (_found(inside).above > 0.25).all()
        assert (_found(inside[::-1]).above < 0.9).all()

    @pytest.mark.parametrize("lower", [220, 130], ids=["teeth", "tongue"])
    def test_the_shadow_of_the_upper_lip_is_no_parting(self, lower):
        """Rows that bite: their line is fine and grey, the lip's shadow broad and dark."""
        inside = np.full((*INSIDE_SIZE[::-1], 3), 220, np.uint8)
        inside[:7], inside[15], inside[16:] = 25, 60, lower
        np.testing.assert_allclose(_found(inside).above, 15.5 / 24, atol=1.5 / 24)

    def test_dark_gaps_between_teeth_do_not_lead_it_astray(self):
        inside = _rows(np.full(INSIDE_SIZE[0], 0.6))
        inside[:, 5::8] = 30
        np.testing.assert_allclose(_found(inside).above, 0.6, atol=1.5 / 24)

    @pytest.mark.parametrize("roll", [0.0, 20.0])
    def test_a_moments_parting_is_where_its_picture_is_dark(self, roll):
        """The lower half of the mouth is painted white, but for a line; heads are tilted, too."""
        clip = drawn_talker(np.array([0.2]), size=320, scale=140)
        points = clip.landmarks[0].astype(float)
        opening = Opening.of(points[:, :2])
        image = clip.frames[0].copy()
        y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
        upper, lower = opening.edges(x)
        height = (y - upper) / np.maximum(lower - upper, 1)
        inside = (opening.beyond(x) <= 0) & (height > 0) & (height < 1)
        image[inside & (np.abs(height - 0.7) > 0.06)] = 220
        turn = cv2.getRotationMatrix2D((160, 160), roll, 1)
        image = cv2.warpAffine(image, turn, (320, 320), borderMode=cv2.BORDER_REPLICATE)
        points[:, :2] = points[:, :2] @ turn[:, :2].T + turn[:, 2]
        bank = Talker(image[None], points[None].astype(np.float32)).bank()
        found = moments_of(bank)[0].parting
        middle = slice(6, -6)
        gaps = (found.above + found.below)[middle]
        np.testing.assert_allclose(found.above[middle] / gaps, 0.7, atol=0.08)
        assert gaps.max() == pytest.approx(0.2, abs=0.02)
        assert found.colour.max() < 80

    def test_what_is_drawn_out_is_no_stripe_of_teeth(self):
        colours = MouthColours(np.array([160, 70, 70], np.float32), np.array([200, 160, 140], np.float32))
        picture = np.full((4, 6, 3), 220, np.float32)
        drawn_out = np.zeros((4, 6), np.float32)
        drawn_out[1:3] = 1
        between = between_rows(picture, drawn_out, np.array([20, 14, 14], np.float32), colours)
        assert (between[[0, 3]] == 220).all()
        np.testing.assert_allclose(between[1:3], np.broadcast_to([20, 14, 14], (2, 6, 3)))
        # Rows that touch have no dark line of their own, and are dark between; a tongue is a tongue.
        touching = between_rows(picture, drawn_out, np.array([210, 200, 190], np.float32), colours)
        assert touching[1:3].max() < 0.3 * colours.lips.mean()
        tongue = np.array([150, 65, 65], np.float32)
        seen = between_rows(picture, drawn_out, tongue, colours)
        np.testing.assert_allclose(seen[1:3], np.broadcast_to(0.64 * tongue, (2, 6, 3)), rtol=0.1)
        assert (between_rows(picture * 0, drawn_out, np.full(3, 90, np.float32), colours) == 0).all()


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

    def test_teeth_are_brighter_than_the_lips_about_them_even_in_a_beard(self):
        """Skin that is hair or in shade does not make the teeth dark, and red light not green."""
        opening = _opening(0.2)
        x, y = _grid(opening)
        middle = x.shape[1] // 2
        depth = y[:, middle] - float(opening.edges(x)[0][0, middle])
        bearded = MouthColours(np.array([119, 83, 87], np.float32), np.array([80, 50, 47], np.float32))
        teeth = drawn_inside(x, y, opening, bearded)[0][(depth > 0.035) & (depth < 0.06), middle].mean(axis=0)
        assert teeth.mean() > bearded.lips.mean()
        assert teeth[1] < 0.9 * teeth[0] and teeth[2] < 0.9 * teeth[0]

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
