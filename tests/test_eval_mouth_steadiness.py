"""Pops and jumps of the mouth: pictures whose changes from frame to frame are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from eval_clips import landmarks
from perfect_dubs import perfect_dub

from evaluation.corruptions import freeze_mouth
from evaluation.dubbed_clip import DubbedClip, FaceRegions, Footage
from evaluation.metrics.mouth_steadiness import MouthSteadiness, frame_changes, steadiness

N, SIZE = 50, 32
MOUTH = np.zeros((N, SIZE, SIZE), bool)
MOUTH[:, 20:26, 10:22] = True


def flat(levels: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) mouths of these levels on a gray that does not change."""
    crops = np.full((len(levels), SIZE, SIZE, 3), 90, np.uint8)
    crops[MOUTH] = np.repeat(levels.astype(np.uint8), MOUTH[0].sum())[:, None]
    return crops


def steady(change: int) -> np.ndarray:
    """(N,) levels that change by so much from each frame to the next."""
    return 100 + change * (np.arange(N) % 2)


def toy(made: np.ndarray, source: np.ndarray, kind: str = "cross") -> DubbedClip:
    points = landmarks(np.full(N, 0.1))
    lost = np.full_like(points, np.nan)
    # Lips of landmarks lie outside these small pictures.
    footage = [Footage(x, p, np.full(N, 0.1)) for x, p in ((source, points + 500), (made, lost))]
    return DubbedClip("toy", kind, *footage, FaceRegions(MOUTH, ~MOUTH, ~MOUTH), np.zeros(1, np.float32))


def measure(made: np.ndarray, source: np.ndarray, **how) -> dict[str, float]:
    return MouthSteadiness()(toy(made, source, **how))


def test_the_change_is_the_mean_of_luma_over_the_mouth():
    levels = 100 + np.cumsum(np.arange(N) % 4)
    crops = flat(levels)
    np.testing.assert_allclose(frame_changes(crops, MOUTH), np.diff(levels), atol=1e-4)
    # A pixel counts that is inside in either frame.
    wider = MOUTH.copy()
    wider[10, 0:6, 0:12] = True
    changes = frame_changes(crops, wider)
    assert changes[9] == pytest.approx((levels[10] - levels[9]) / 2, abs=1e-4)
    assert changes[10] == pytest.approx((levels[11] - levels[10]) / 2, abs=1e-4)
    assert np.isnan(frame_changes(crops, np.zeros_like(MOUTH))).all()
    assert frame_changes(crops[:1], MOUTH[:1]).shape == (0,)


def test_equal_mouths_neither_pop_nor_jump():
    assert measure(flat(steady(8)), flat(steady(8))) == {"mouth_pop": pytest.approx(1), "mouth_jump": 0}


def test_one_pop_is_two_jumps():
    levels = steady(4)
    levels[21] += 60
    found = measure(flat(levels), flat(steady(4)))
    # Into the pop and out of it: 2 of 49 pairs, which a 95th percentile leaves out.
    assert found == {"mouth_pop": pytest.approx(1), "mouth_jump": pytest.approx(2 / 49)}


def test_many_pops_move_the_percentile():
    levels = steady(4)
    levels[[11, 21, 31]] += 60
    found = measure(flat(levels), flat(steady(4)))
    # 6 of 49 pairs change by 60 + 4 (the mouth's own change has the same sign): more than 5 %.
    assert found == {"mouth_pop": pytest.approx(64 / 4), "mouth_jump": pytest.approx(6 / 49)}


def test_flicker_doubles_and_freezing_stops_every_change():
    assert measure(flat(steady(8)), flat(steady(4))) == {"mouth_pop": pytest.approx(2), "mouth_jump": 1}
    # A quarter more is not more than a quarter more.
    assert measure(flat(steady(5)), flat(steady(4)))["mouth_jump"] == 0
    assert measure(flat(steady(0)), flat(steady(4))) == {"mouth_pop": 0, "mouth_jump": 0}


def test_what_changes_outside_the_mouth_does_not_count():
    made = flat(steady(4))
    made[::2, :10] = 200
    assert measure(made, flat(steady(4))) == {"mouth_pop": pytest.approx(1), "mouth_jump": 0}


def test_percentiles_are_those_of_the_pairs_that_both_know():
    source, made = np.arange(1.0, 101), np.arange(1.0, 101)
    made[:50] = np.nan
    # 51 .. 100: the same pairs of both.
    assert steadiness(made, source) == {"mouth_pop": pytest.approx(1), "mouth_jump": 0}
    assert steadiness(2 * source, source)["mouth_jump"] == pytest.approx(np.mean(2 * source > 1.25 * 99.01))


def test_still_sources_short_clips_and_other_rows_give_nothing():
    assert measure(flat(steady(4)), flat(steady(0))) == {}
    assert steadiness(np.full(11, 2.0), np.full(11, 2.0)) == {}
    assert steadiness(np.full(20, np.nan), np.full(20, 2.0)) == {}
    assert measure(flat(steady(4)), flat(steady(4)), kind="silence") == {}
    clip = toy(flat(steady(4)), flat(steady(4)))
    lost = replace(clip.source, landmarks=np.full_like(clip.source.landmarks, np.nan))
    assert MouthSteadiness()(replace(clip, source=lost)) == {}


def test_pairs_without_the_source_s_face_are_passed_over():
    clip = toy(flat(steady(4)), flat(steady(4)))
    levels = steady(4)
    levels[21] += 60
    points = clip.source.landmarks.copy()
    points[21] = np.nan
    popped = replace(clip.made, crops=flat(levels))
    hidden = replace(clip, made=popped, source=replace(clip.source, landmarks=points))
    assert MouthSteadiness()(hidden)["mouth_jump"] == 0
    assert MouthSteadiness()(replace(clip, made=popped))["mouth_jump"] > 0


def test_a_perfect_dub_is_as_lively_as_its_source_and_a_frozen_one_is_not():
    clip = perfect_dub()
    found = MouthSteadiness()(clip)
    assert 0.7 < found["mouth_pop"] < 1.4 and found["mouth_jump"] < 0.05
    assert MouthSteadiness()(freeze_mouth()(clip))["mouth_pop"] < 0.8 * found["mouth_pop"]
