"""Lip leakage and silence: constructed clips whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from eval_clips import dubbed_clip, footage, speaking_curve

from evaluation.metrics.base import Better, Kind, Metric
from evaluation.metrics.curves import part_correlation
from evaluation.metrics.leak import LipLeak, lsd, lsd_metrics
from evaluation.metrics.silence import CLOSED, Silence, closed_below, closed_lips
from evaluation.metrics.sound import loudness

N = 150


def measured(made, source, driver, **known):
    return LipLeak()(dubbed_clip(footage(made), footage(source), driver_opening=driver, **known))


def test_copied_lips_leak_and_driven_lips_do_not():
    source, driver = speaking_curve(N, 1), speaking_curve(N, 2)
    assert measured(source, source, driver)["lip_leak"] > 0.9
    assert measured(driver, source, driver)["lip_leak"] == pytest.approx(0, abs=1e-9)
    frozen = measured(np.full(N, 0.1), source, driver)
    assert "lip_leak" not in frozen


def test_a_mixture_leaks_its_share():
    source, driver = speaking_curve(4000, 1), speaking_curve(4000, 2)
    source, driver = (c / c.std() for c in (source, driver))
    for share in (0.0, 0.3, 0.7):
        made = share * source + np.sqrt(1 - share**2) * driver
        assert part_correlation(made, source, driver) == pytest.approx(share, abs=0.07)


def test_what_source_and_driver_share_is_no_leak():
    rng = np.random.default_rng(0)
    common = rng.normal(size=3000)
    driver = common
    source = common + rng.normal(size=3000)
    made = driver + 0.2 * rng.normal(size=3000)
    assert np.corrcoef(made, source)[0, 1] > 0.6
    assert abs(part_correlation(made, source, driver)) < 0.05


def test_leak_is_of_cross_rows_alone_and_of_finite_frames():
    source, driver = speaking_curve(N, 1), speaking_curve(N, 2)
    assert LipLeak()(dubbed_clip(footage(source), footage(source), kind="self", driver_opening=driver)) == {}
    holes = source.copy()
    holes[::7] = np.nan
    assert measured(holes, source, driver)["lip_leak"] > 0.9
    assert "lip_leak" not in measured(source, source, source)  # nothing to tell them apart by


def test_without_a_filmed_driver_the_loudness_stands_in():
    source, driver = speaking_curve(N, 1), speaking_curve(N, 2)
    noise = np.random.default_rng(0).normal(size=640 * N)
    speech = (np.repeat(10 ** (driver * 4 - 2), 640) * noise).astype(np.float32)
    level = loudness(speech, N)
    assert np.corrcoef(level, driver)[0, 1] > 0.98
    copied = measured(source, source, None, speech=speech)
    assert set(copied) == {"lip_leak_heard"} and copied["lip_leak_heard"] > 0.9
    assert abs(measured(driver, source, None, speech=speech)["lip_leak_heard"]) < 0.1
    assert np.isnan(loudness(np.zeros(6400, np.float32), 10)).all()
    assert np.isnan(loudness(speech[:6400], N)[10:]).all()


def test_lsd_is_matched_minus_mismatched_per_judge():
    copier = lsd(
        {"lse_c_own": 0.5, "lse_c_syncnet": 7.0, "lse_d_own": 1.0}, {"lse_c_own": 0.1, "lse_d_own": 2.0}
    )
    assert copier == {"lsd_own": pytest.approx(0.4)}
    listener = lsd({"lse_c_syncnet": 6.0}, {"lse_c_syncnet": 6.1})
    assert listener["lsd_syncnet"] == pytest.approx(-0.1)
    column = Metric("lse_c_own", "LSE-C (own judge x)", "", Better.higher, "", "", "sync")
    (told,) = lsd_metrics([column, Metric("lse_d_own", "", "", Better.lower, "", "", "sync")])
    assert told.key == "lsd_own" and told.title == "LSD (own judge x)" and told.better is Better.zero


def test_silence_counts_closed_lips():
    opening = np.concatenate([np.full(30, CLOSED / 2), np.full(10, 0.1), np.full(5, np.nan)])
    film = speaking_curve(40)
    film[:4] = 0.0
    values = closed_lips(opening, film)
    assert values["silence_closed"] == pytest.approx(0.75)
    assert values["silence_opening"] == pytest.approx((30 * CLOSED / 2 + 1) / 40)
    assert closed_lips(np.full(40, np.nan), film) == {}
    hanging = Silence()(dubbed_clip(footage(np.full(40, 0.12)), kind="silence"))
    assert hanging["silence_closed"] == 0
    for kind in Kind:
        assert bool(Silence()(dubbed_clip(footage(opening), kind=kind.value))) == (kind is Kind.silence)


@pytest.mark.parametrize(
    ("least", "made", "closed"),
    [
        (0.002, 0.019, 1.0),
        (0.002, 0.03, 0.0),  # who closes his lips in the film shall close them in the dub
        (0.033, 0.03, 1.0),  # a moustache: no reading of this person's closed lips is less
        (0.033, 0.036, 0.0),
        (0.1, 0.039, 1.0),  # never closed in the film: nothing is known of what closed lips read
        (0.1, 0.05, 0.0),
    ],
)
def test_lips_are_closed_where_the_detector_reads_no_less_of_the_persons_film(least, made, closed):
    film = np.maximum(speaking_curve(60), least)
    film[10:16] = least
    clip = dubbed_clip(footage(np.full(40, made)), source=footage(film), kind="silence")
    assert Silence()(clip)["silence_closed"] == closed


def test_what_counts_as_closed_needs_no_film():
    assert closed_below(np.full(30, np.nan)) == CLOSED
    assert closed_below(np.concatenate([np.full(10, np.nan), np.full(20, 0.03)])) == pytest.approx(0.03)


def test_every_value_has_a_column():
    source, driver = speaking_curve(N, 1), speaking_curve(N, 2)
    assert set(measured(source, source, driver)) == {m.key for m in LipLeak().metrics}
    assert set(closed_lips(source, source)) == {m.key for m in Silence().metrics}
