"""Brief closures of the driver's lips: constructed curves whose closures are known."""

from __future__ import annotations

import numpy as np
import pytest
from eval_clips import dubbed_clip, footage

from evaluation.metrics.bilabials import Bilabials, brief_closures, closing

N = 60


def lips(*closures: tuple[int, int], rest: float = 0.15, shut: float = 0.005) -> np.ndarray:
    """(60,) open lips that are shut from the first frame of each closure to before the last."""
    curve = np.full(N, rest)
    for first, last in closures:
        curve[first:last] = shut
    return curve


def spans(curve: np.ndarray) -> list[tuple[int, int]]:
    return [(closure.start, closure.stop) for closure in brief_closures(curve)]


def test_closures_of_one_to_six_frames_are_brief():
    assert spans(lips((10, 11), (20, 26), (40, 43))) == [(10, 11), (20, 26), (40, 43)]
    assert spans(lips((10, 17), (30, 33))) == [(30, 33)]


def test_pauses_and_the_ends_of_speech_are_none():
    # Closed for long but for a waver of the detector: open on one side of each part only, or on neither.
    pause = lips((10, 40))
    pause[[14, 24, 34]] = 0.03
    assert spans(pause) == []
    wide = pause.copy()
    wide[24] = 0.05
    assert spans(wide) == []
    # The clip begins or ends with closed lips.
    assert spans(lips((0, 4), (57, 60))) == []
    # Slightly open lips around it are not open.
    slight = lips((20, 23), rest=0.03)
    assert spans(slight) == []
    slight[[15, 27]] = 0.05
    assert spans(slight) == [(20, 23)]
    slight[[15, 27]] = 0.03
    slight[[13, 29]] = 0.05
    assert spans(slight) == []


def test_a_closure_beside_unknown_frames_might_be_longer():
    curve = lips((20, 23), (40, 42))
    curve[23] = np.nan
    assert spans(curve) == [(40, 42)]
    curve[39] = np.nan
    assert spans(curve) == []


def test_closed_is_the_share_and_gap_the_mean_of_what_is_left_open():
    driver = lips((10, 12), (20, 22), (30, 32), (40, 42))
    assert closing(driver, driver) == {"bilabial_closed": 1, "bilabial_gap": pytest.approx(0)}
    # One is met, one is met a frame late, one comes two frames too late, at one the lips stay .05 open.
    made = lips((10, 12), (22, 23), (33, 35), shut=0.015)
    made[40] = 0.05
    found = closing(made, driver)
    assert found["bilabial_closed"] == 0.5
    assert found["bilabial_gap"] == pytest.approx((0.01 + 0.01 + 0.145 + 0.045) / 4)
    # A frame early is as good as a frame late.
    assert closing(lips((9, 10), (19, 20), (29, 30), (39, 40)), driver)["bilabial_closed"] == 1


def test_lips_that_never_close_and_lips_that_never_open():
    driver = lips((10, 12), (30, 33))
    assert closing(np.full(N, 0.1), driver) == {"bilabial_closed": 0, "bilabial_gap": pytest.approx(0.095)}
    assert closing(np.full(N, 0.0), driver) == {"bilabial_closed": 1, "bilabial_gap": pytest.approx(-0.005)}


def test_one_closure_is_too_few_and_unseen_ones_do_not_count():
    driver = lips((10, 12), (30, 33))
    assert closing(driver, lips((10, 12))) == {}
    hidden = driver.copy()
    hidden[29:34] = np.nan
    assert closing(hidden, driver) == {}
    half = lips((10, 12), (30, 33))
    half[29:32] = np.nan
    assert closing(half, driver)["bilabial_closed"] == 1
    assert closing(driver[:20], driver) == {}


def test_the_measure_needs_a_filmed_driver_and_speech():
    driver = lips((10, 12), (30, 33))
    measure = Bilabials()
    assert set(measure(dubbed_clip(footage(driver), driver_opening=driver))) == {
        m.key for m in measure.metrics
    }
    assert measure(dubbed_clip(footage(driver))) == {}
    assert measure(dubbed_clip(footage(driver), driver_opening=driver, kind="silence")) == {}
    assert measure(dubbed_clip(footage(np.full(N, np.nan)), driver_opening=driver)) == {}
