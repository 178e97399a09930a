"""Straight seams: edges of known height and length on a flat face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from eval_clips import landmarks
from perfect_dubs import perfect_dub
from scipy.stats import norm

from evaluation.corruptions import paste_box
from evaluation.dubbed_clip import DubbedClip, FaceRegions, Footage
from evaluation.metrics.straight_seams import StraightSeams, added_edges, below_the_eyes, straight_edges

SIDE = 371  # 1.45 x 256: crops of this side are measured as they are
LEFT, RIGHT, TOP, BOTTOM = 60, 311, 40, 340  # the face of the toy: a rectangle


def still(side: int = SIDE, level: int = 100) -> np.ndarray:
    """(2, side, side) flat luma."""
    return np.full((2, side, side), level, np.uint8)


def toy(
    made: np.ndarray, source: np.ndarray, truth: np.ndarray | None = None, lips: bool = False
) -> DubbedClip:
    """A dubbed clip of gray pictures (N, S, S); the face is a rectangle, the lips, if any, are one in it."""
    side = made.shape[1]
    points = landmarks(np.full(len(made), 0.1)) * np.float32(side / 256)

    def footage(gray: np.ndarray, shape: np.ndarray) -> Footage:
        crops = np.repeat(gray[..., None], 3, axis=-1)
        return Footage(crops, shape, np.full(len(gray), 0.1))

    face, mouth = np.zeros(made.shape, bool), np.zeros(made.shape, bool)
    cut = (np.array([TOP, BOTTOM, LEFT, RIGHT]) * side / SIDE).round().astype(int)
    face[:, cut[0] : cut[1], cut[2] : cut[3]] = True
    if lips:
        mouth[:, 230:270, 140:230] = True
    lost = np.full_like(points, np.nan)  # so that the lips are those of the regions alone
    return DubbedClip(
        "toy",
        "cross",
        footage(source, points),
        footage(made, lost),
        FaceRegions(mouth, face & ~mouth, ~face),
        np.zeros(1, np.float32),
        None if truth is None else footage(truth, points),
    )


def value(*pictures: np.ndarray, **how) -> float:
    return StraightSeams()(toy(*pictures, **how))["straight_seams"]


def first_row(side: int = SIDE) -> int:
    """The first row below the eyes."""
    return int(np.floor(landmarks(np.array([0.1]))[0, 36:48, 1].max() * side / 256)) + 1


def pixels() -> int:
    return (BOTTOM - first_row()) * (RIGHT - LEFT)


def stepped(row: int, height: int) -> np.ndarray:
    """Lighter from a row on, over the whole width: one edge."""
    picture = still()
    picture[:, row:] += np.uint8(height)
    return picture


def test_a_step_across_the_face_gives_its_height_less_two_times_its_length():
    # One row of 251 pixels of the face has C = 10, all others 0.
    assert value(stepped(300, 10), still()) == pytest.approx(1000 * (10 - 2) * 251 / pixels(), rel=1e-4)
    # Nobody sees two levels.
    assert value(stepped(300, 2), still()) == pytest.approx(0, abs=1e-6)
    across = np.ascontiguousarray(np.swapaxes(stepped(200, 10), 1, 2))
    rows = BOTTOM - first_row()
    assert value(across, still()) == pytest.approx(1000 * (10 - 2) * rows / pixels(), rel=1e-4)


def test_a_box_has_four_edges_whose_ends_fade():
    height, wide, high = 12, 90, 50
    made = still()
    made[:, 220 : 220 + high, 100 : 100 + wide] += np.uint8(height)

    def edge(length: int) -> float:
        # Runs that lie on the edge as a whole, and those of 1 to 11 pixels of it at either end: h n / 12 - 2.
        return (length - 11) * (height - 2) + 2 * sum(max(0, height * n / 12 - 2) for n in range(1, 12))

    expected = 1000 * 2 * (edge(wide) + edge(high)) / pixels()
    assert expected == pytest.approx(1000 * 2 * ((790 + 90) + (390 + 90)) / pixels())
    assert value(made, still()) == pytest.approx(expected, rel=1e-4)


def test_frames_are_averaged():
    made = stepped(300, 10)
    made[1] = 100
    assert value(made, still()) == pytest.approx(0.5 * value(stepped(300, 10), still()), rel=1e-6)


def test_smaller_crops_are_enlarged_first():
    side = 256
    made = still(side)
    made[:, 200:] += np.uint8(20)
    # The step is spread over the rows between the middles of two pixels.
    at = ((np.arange(SIDE) + 0.5) * side / SIDE - 0.5).clip(0, side - 1)
    rows = np.interp(at, np.arange(side), made[0, :, 0].astype(float))
    per_column = np.maximum(np.diff(rows) - 2, 0).sum()
    assert 12 < per_column < 18
    face = round(BOTTOM * side / SIDE) * SIDE / side - first_row()
    assert value(made, still(side)) == pytest.approx(1000 * per_column / face, rel=0.01)


def test_a_slanting_edge_thins_out():
    rows, columns = np.ogrid[:SIDE, :SIDE]
    made = still() + np.where(rows + columns > 480, 20, 0).astype(np.uint8)
    # Each run of 12 crosses the edge once: 20 / 12 is less than 2.
    inner = straight_edges(made[0].astype(np.float32))[:, 12:-12, 12:-12]
    assert inner.max() == pytest.approx(20 / 12, rel=1e-5)
    assert value(made, still()) == 0


def grainy(levels: int) -> np.ndarray:
    """Independent grain, uniform between -levels and levels."""
    noise = np.random.default_rng(0).integers(-levels, levels + 1, (2, SIDE, SIDE))
    return (still() + noise).astype(np.uint8)


def test_grain_cancels_along_the_run_unless_it_is_strong():
    assert value(grainy(1), still()) == 0
    # Grain of variance 20 / 3: a step has twice that, the mean of 12 a twelfth of the step's. C is the size
    # of a normal variable; both axes, both signs: 4 sigma (phi(2 / sigma) - 2 / sigma (1 - Phi(2 / sigma))).
    sigma = np.sqrt(20 / 3 * 2 / 12)
    far = 2 / sigma
    expected = 4000 * sigma * (norm.pdf(far) - far * norm.sf(far))
    assert value(grainy(4), still()) == pytest.approx(expected, rel=0.15)
    assert value(grainy(4), grainy(4)) == 0


@pytest.mark.parametrize(("moved", "seen"), [(0, False), (3, False), (5, False), (6, True)])
def test_an_edge_that_the_source_has_is_none_even_a_little_beside(moved, seen):
    found = value(stepped(300 + moved, 30), stepped(300, 30))
    assert found == (pytest.approx(1000 * 28 * 251 / pixels(), rel=1e-4) if seen else 0)


def test_an_edge_of_the_true_answer_is_no_seam():
    made = stepped(300, 30)
    assert value(made, still(), made) == 0
    assert value(made, still(), still()) == value(made, still()) > 0


def test_lips_and_what_lies_above_the_eyes_have_edges_of_their_own():
    made = still()
    made[:, 231:269:4, 141:229] += np.uint8(40)
    assert value(made, still(), lips=True) == 0
    assert value(made, still()) > 100
    made = still()
    made[:, 50:80] += np.uint8(40)
    assert value(made, still()) == 0


def test_below_the_eyes_turns_with_the_head():
    points = landmarks(np.array([0.1]))[0, :, :2]
    upright = below_the_eyes(points, 256)
    lowest = points[36:48, 1].max()
    np.testing.assert_array_equal(upright, np.repeat((np.arange(256) > lowest)[:, None], 256, axis=1))
    # Turned by a right angle: x' = 255 - y, y' = x.
    turned = np.stack([255 - points[:, 1], points[:, 0]], axis=1)
    np.testing.assert_array_equal(below_the_eyes(turned, 256), np.rot90(upright, -1))
    # Upside down.
    np.testing.assert_array_equal(below_the_eyes(255 - points, 256), upright[::-1, ::-1])


def test_both_axes_are_added():
    made = np.full((60, 60), 100, np.float32)
    made[30:] += 10
    made[:, 30:] += 10
    found = added_edges(made, np.full((60, 60), 100, np.float32))
    assert found[10, 30] == found[30, 10] == pytest.approx(8, abs=1e-3)
    assert found[30, 30] == pytest.approx(16, abs=1e-3)


def test_a_perfect_dub_is_clean_and_a_box_is_not():
    clip = perfect_dub(count=6)
    assert StraightSeams()(clip)["straight_seams"] == 0
    assert StraightSeams()(replace(clip, truth=None, made=clip.source))["straight_seams"] == 0
    assert StraightSeams()(paste_box(30)(clip))["straight_seams"] > 3


def test_without_a_face_nothing_is_measured():
    clip = toy(still(), still())
    lost = replace(clip.source, landmarks=np.full_like(clip.source.landmarks, np.nan))
    assert StraightSeams()(replace(clip, source=lost)) == {}
    nothing = FaceRegions(clip.regions.mouth, clip.regions.mouth, ~clip.regions.mouth)
    assert StraightSeams()(replace(clip, regions=nothing)) == {}
