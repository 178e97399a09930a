"""Resampling in time: never relabelling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.media import model_frame_count, nearest_model_frame, resample_indices

rates = st.sampled_from([10.0, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0])
origins = st.floats(-5, 50, allow_nan=False)


@st.composite
def variable_times(draw: st.DrawFn) -> np.ndarray:
    gaps = draw(st.lists(st.floats(0.005, 0.4), min_size=0, max_size=60))
    return draw(origins) + np.concatenate([[0.0], np.cumsum(gaps)])


@st.composite
def constant_times(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    rate = draw(rates)
    count = draw(st.integers(1, 150))
    times = np.arange(count) / rate
    if draw(st.booleans()):  # as Matroska stores them
        times = np.round(times, 3)
    return times + draw(origins), rate


@given(variable_times())
def test_both_maps_are_monotone_and_in_range(times: np.ndarray) -> None:
    to_model = resample_indices(times)
    back = nearest_model_frame(times)
    assert len(to_model) == model_frame_count(times) >= 1
    assert len(back) == len(times)
    assert to_model.dtype == back.dtype == np.int64
    for indices, limit in ((to_model, len(times)), (back, len(to_model))):
        assert (np.diff(indices) >= 0).all()
        assert indices.min() >= 0 and indices.max() < limit
    assert to_model[0] == 0 or times[1] - times[0] < 0.02 + 1e-5


@given(st.integers(1, 400), origins, st.integers(0, 2**31))
def test_the_models_own_rate_is_left_as_it_is(count: int, origin: float, seed: int) -> None:
    jitter = np.random.default_rng(seed).uniform(-0.004, 0.004, count)
    times = np.sort(origin + np.arange(count) / 25 + jitter)
    assert (resample_indices(times)[:count] == np.arange(count)).all()
    assert (nearest_model_frame(times, count=count) == np.arange(count)).all()


@given(constant_times())
def test_duration_is_kept_within_one_frame(case: tuple[np.ndarray, float]) -> None:
    times, rate = case
    # How long a single frame lasts is not in its time; it counts as one of the model's.
    duration = len(times) / rate if len(times) > 1 else 1 / 25
    assert abs(model_frame_count(times) / 25 - duration) <= 1 / 25 + 2e-3


@given(constant_times())
def test_a_models_frame_shows_what_was_seen_then(case: tuple[np.ndarray, float]) -> None:
    times, rate = case
    times = times - times[0]
    shown = times[resample_indices(times)]
    # On display in the middle of the model's frame: begun before that, and not over yet.
    middles = (np.arange(len(shown)) + 0.5) / 25
    inner = middles < times[-1]
    assert (shown[inner] <= middles[inner] + 2e-3).all()
    assert (middles[inner] - shown[inner] <= 1 / rate + 2e-3).all()
    # The way back is as close as the model's rate allows. (At the end the model may be half a frame short.)
    back = (nearest_model_frame(times) + 0.5) / 25
    wanted = times + 0.5 / max(rate, 25)
    assert (np.abs(back - wanted)[times < times[-1] - 0.04] <= 0.02 + 2e-3).all()


@given(constant_times())
def test_there_and_back_stays_at_the_same_moment(case: tuple[np.ndarray, float]) -> None:
    times, rate = case
    round_trip = times[resample_indices(times)[nearest_model_frame(times)]]
    assert np.abs(round_trip - times).max() <= 1 / min(rate, 25) + 2e-3


def test_neither_map_leads_or_lags_on_average() -> None:
    for rate in (24.0, 29.97, 30.0, 60.0):
        times = np.arange(int(rate * 20)) / rate
        indices = resample_indices(times)
        middles_shown = times[indices] + 0.5 / rate
        middles_model = (np.arange(len(indices)) + 0.5) / 25
        assert abs((middles_shown - middles_model).mean()) < 0.004
        back = (nearest_model_frame(times) + 0.5) / 25
        assert abs((back - times - 0.5 / rate).mean()) < 0.004


def test_a_held_picture_changes_when_its_frame_begins() -> None:
    times = np.array([0.0, 0.04, 2.04, 2.08])  # the second frame stays for two seconds
    indices = resample_indices(times)
    assert indices.tolist() == [0] + [1] * 50 + [2, 3]
    assert nearest_model_frame(times).tolist() == [0, 1, 51, 52]


def test_what_cannot_be_times_is_refused() -> None:
    for times in ([], [0.0, -1.0], [0.0, np.nan], [[0.0]]):
        with pytest.raises(ValueError):
            resample_indices(np.array(times))
    with pytest.raises(ValueError):
        nearest_model_frame(np.array([0.0]), count=0)
    with pytest.raises(ValueError):
        resample_indices(np.array([0.0]), rate=0)
