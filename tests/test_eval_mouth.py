"""Mouth curves, LMD, MAR: constructed clips whose numbers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from eval_clips import dubbed_clip, footage, landmarks, speaking_curve
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.lmd import LandmarkDistance
from evaluation.metrics.mar import MouthAspectRatio, mouth_aspect_ratio
from evaluation.metrics.mouth_curve import MouthCurve, agreement
from evaluation.metrics.pooled_gain import PooledGain
from evaluation.metrics.pooled_lag import PooledLag

N = 75


def late(curve, k):
    """The curve, k frames later; the ends are held."""
    return curve[np.clip(np.arange(len(curve)) - k, 0, len(curve) - 1)]


@pytest.mark.parametrize("k", [-4, 0, 3])
def test_mouth_lag_is_the_shift(k):
    driver = speaking_curve(N)
    values = agreement(late(driver, k), driver)
    assert values["mouth_lag"] == k
    assert values["mouth_r_best"] > 0.99
    assert (values["mouth_r"] > 0.99) == (k == 0)
    assert values["mouth_gain"] == pytest.approx(1, abs=0.1)


def test_a_mouth_that_hardly_moves_is_told_by_its_gain():
    driver = speaking_curve(N)
    small = agreement(0.1 + 0.1 * driver, driver)
    assert small["mouth_r"] == pytest.approx(1) and small["mouth_gain"] == pytest.approx(0.1)
    frozen = agreement(np.full(N, 0.1), driver)
    assert frozen == {"mouth_gain": pytest.approx(0)}


def test_other_speech_has_no_r_and_no_lag():
    driver = speaking_curve(200)
    values = agreement(speaking_curve(200, seed=4), driver)
    assert abs(values["mouth_r"]) < 0.4 and "mouth_lag" not in values
    assert values["mouth_gain"] == pytest.approx(1, abs=0.3)


def test_mouth_curve_needs_a_driver_and_enough_frames():
    driver = speaking_curve(N)
    measure = MouthCurve()
    made = footage(driver)
    assert set(measure(dubbed_clip(made, driver_opening=driver))) == {m.key for m in measure.metrics}
    assert measure(dubbed_clip(made)) == {}
    assert measure(dubbed_clip(made, driver_opening=driver, kind="silence")) == {}
    hidden = driver.copy()
    hidden[11:] = np.nan
    assert measure(dubbed_clip(made, driver_opening=hidden)) == {}
    assert measure(dubbed_clip(made, driver_opening=np.full(N, 0.1))) == {}


@pytest.mark.parametrize("k", [-2, 0, 3])
def test_many_short_clips_tell_a_lag_that_none_of_them_tells(k):
    measure, short, seeds = PooledLag(), 30, range(24)
    drivers = [speaking_curve(short, seed) for seed in seeds]
    # Made mouths are mostly somebody else's: their own largest r may be anywhere.
    mades = [
        late(driver, k) + 0.8 * speaking_curve(short, seed + 1000)
        for seed, driver in zip(seeds, drivers, strict=True)
    ]
    alone = [
        agreement(made, driver).get("mouth_lag", 99) for made, driver in zip(mades, drivers, strict=True)
    ]
    assert any(value != k for value in alone)
    kept = [
        measure.features(dubbed_clip(footage(made), driver_opening=driver))
        for made, driver in zip(mades, drivers, strict=True)
    ]
    assert measure.pool([{}, *kept]) == {"mouth_lag_pooled": k}
    assert measure.pool(kept[:2]) == {}


def _spreads(pairs):
    measure = PooledGain()
    return [measure.features(dubbed_clip(footage(made), driver_opening=driver)) for made, driver in pairs]


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.3])
def test_drivers_that_hardly_move_do_not_decide_the_pooled_gain(gain):
    """The mean of the clips' own gains is: the lips of one driver hardly move."""
    drivers = [speaking_curve(N, seed) for seed in range(9)]
    pairs = [(0.2 + gain * (driver - driver.mean()), driver) for driver in drivers]
    still = 0.1 + 0.03 * (drivers[0] - drivers[0].mean())
    pairs.append((0.2 + 0.3 * (drivers[1] - drivers[1].mean()), still))
    assert np.mean([agreement(made, driver)["mouth_gain"] for made, driver in pairs]) > 1.5 * gain
    values = PooledGain().pool(_spreads(pairs))
    assert values["mouth_gain_pooled"] == pytest.approx(gain, rel=0.03)
    assert values["mouth_gain_low"] <= values["mouth_gain_pooled"] <= values["mouth_gain_high"]
    assert set(values) == {m.key for m in PooledGain().metrics}


def test_the_interval_of_the_pooled_gain_is_as_wide_as_the_clips_differ():
    drivers = [speaking_curve(N, seed) for seed in range(12)]
    alike = PooledGain().pool(_spreads([(d, d) for d in drivers]))
    assert alike["mouth_gain_low"] == alike["mouth_gain_high"] == pytest.approx(1)
    gains = [0.5, 1.5] * 6
    made = [0.2 + g * (d - d.mean()) for g, d in zip(gains, drivers, strict=True)]
    unlike = PooledGain().pool(_spreads(list(zip(made, drivers, strict=True))))
    assert unlike["mouth_gain_low"] < 0.95 < 1.3 < unlike["mouth_gain_high"]
    turned = PooledGain().pool(_spreads(list(zip(made, drivers, strict=True))[::-1]))
    assert turned == unlike, "the order of the clips does not matter"


def test_the_pooled_gain_needs_clips_and_frames():
    measure, driver = PooledGain(), speaking_curve(N)
    assert measure.features(dubbed_clip(footage(driver))) == {}
    assert measure.features(dubbed_clip(footage(driver), driver_opening=driver, kind="self")) == {}
    hidden = np.full(N, np.nan)
    hidden[:11] = 0.1
    assert measure.features(dubbed_clip(footage(driver), driver_opening=hidden)) == {}
    one = measure.features(dubbed_clip(footage(driver), driver_opening=driver))
    assert measure.pool([one, one, {}]) == {}
    still = measure.features(dubbed_clip(footage(driver), driver_opening=np.full(N, 0.1)))
    assert measure.pool([still] * 4) == {}


def test_clips_without_a_common_lag_have_no_pooled_one():
    measure = PooledLag()
    others = [
        measure.features(
            dubbed_clip(footage(speaking_curve(30, seed)), driver_opening=speaking_curve(30, seed + 500))
        )
        for seed in range(12)
    ]
    assert measure.pool(others) == {}
    driver = speaking_curve(30)
    assert measure.features(dubbed_clip(footage(driver), driver_opening=driver, kind="self")) == {}
    assert measure.features(dubbed_clip(footage(driver))) == {}
    hidden = np.full(30, np.nan)
    assert measure.features(dubbed_clip(footage(driver), driver_opening=hidden)) == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5), st.floats(-0.5, 0.5))
def test_r_does_not_depend_on_scale_or_rest(seed, gain, rest):
    made, driver = speaking_curve(40, seed), speaking_curve(40, seed + 1)
    plain, moved = agreement(made, driver), agreement(gain * made + rest, driver)
    assert moved["mouth_r"] == pytest.approx(plain["mouth_r"], abs=1e-9)
    assert moved["mouth_gain"] == pytest.approx(gain * plain["mouth_gain"])


def test_lmd_is_the_distance_in_an_aligned_face():
    still = np.full(20, 0.1)
    true, made = footage(still), footage(still)
    moved = made.landmarks.copy()
    moved[:, 48:68, 0] += 8.0  # a tenth of the eye-corner distance, which is 35.24 / .692 px when aligned
    # Size and place of the made face do not count.
    moved[..., :2] = 1.3 * moved[..., :2] + 11
    values = LandmarkDistance()(dubbed_clip(replace(made, landmarks=moved), truth=true))
    assert values["lmd"] == pytest.approx(0.1 * 35.24 / 0.692, rel=1e-4)
    assert LandmarkDistance()(dubbed_clip(made, truth=true))["lmd"] == pytest.approx(0, abs=1e-4)
    assert LandmarkDistance()(dubbed_clip(made)) == {}
    assert LandmarkDistance()(dubbed_clip(made, truth=footage(np.full(20, np.nan)))) == {}


def test_mouth_aspect_ratio_is_height_over_width():
    opening = np.array([0.0, 0.1, np.nan])
    points = landmarks(np.nan_to_num(opening))
    points[2] = np.nan
    width = np.linalg.norm(points[0, 60, :2] - points[0, 64, :2])
    ratio = mouth_aspect_ratio(points)
    assert ratio[0] == pytest.approx(0, abs=1e-6) and np.isnan(ratio[2])
    assert ratio[1] == pytest.approx(0.1 * 80 / width, rel=1e-4)
    assert mouth_aspect_ratio(3 * points)[1] == pytest.approx(ratio[1], rel=1e-5)


def test_a_frozen_mouth_has_no_diversity():
    measure = MouthAspectRatio()
    talking = measure(dubbed_clip(footage(speaking_curve(N))))["mar_div"]
    assert measure(dubbed_clip(footage(np.full(N, 0.1))))["mar_div"] < 0.01 * talking
    assert measure(dubbed_clip(footage(speaking_curve(N)), kind="silence")) == {}
    assert measure(dubbed_clip(footage(np.full(N, np.nan)))) == {}
