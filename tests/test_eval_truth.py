"""Nearness to a known answer: the truth of a rendered row, the source of a cycle row."""

import numpy as np
import pytest
from film_toys import COUNT, SIZE, Film, dubbed_clip, film, paste_mouth, talk

from common.psnr import psnr_of_mse
from evaluation.metrics.cycle import Cycle, region_rmse, way_back
from evaluation.metrics.truth import Truth
from evaluation.similarity import PSNR_CAP


@pytest.fixture(scope="module")
def source() -> Film:
    return film(talk())


@pytest.fixture(scope="module")
def other(source: Film) -> Film:
    return paste_mouth(source, film(talk(phase=2.0)))


def hand() -> np.ndarray:
    """Covers the left of the crop, and with it a part of the face."""
    mask = np.zeros((COUNT, SIZE, SIZE), bool)
    mask[:, :, : SIZE // 2 - 14] = True
    return mask


def test_the_truth_itself_gets_the_best(source, other):
    values = Truth()(dubbed_clip(source, other, truth=other))
    assert set(values) == {
        f"truth_{x}_{y}" for x in ("psnr", "ssim") for y in ("mouth", "face", "background")
    }
    for key, value in values.items():
        assert value == pytest.approx(PSNR_CAP if "psnr" in key else 1.0, abs=1e-5)


def test_the_copied_input_is_wrong_in_the_mouth_alone(source, other):
    values = Truth()(dubbed_clip(source, source, truth=other))
    assert values["truth_psnr_mouth"] < 30
    assert values["truth_psnr_face"] > 40
    assert values["truth_psnr_background"] == PSNR_CAP


def test_without_a_truth_there_is_nothing(source):
    assert Truth()(dubbed_clip(source, source)) == {}


def test_an_occluder_is_a_region_of_its_own(source, other):
    mask = hand()
    wrong = Film(other.frames.copy(), other.landmarks)
    inside = wrong.frames[:, 32:-32, 32:-32]
    inside[mask] = np.where(inside[mask] > 127, inside[mask] - 10, inside[mask] + 10)
    values = Truth()(dubbed_clip(source, wrong, truth=other, occluder=mask))
    assert values["truth_psnr_occluder"] == pytest.approx(psnr_of_mse(100.0))
    for region in ("mouth", "face", "background"):
        assert values[f"truth_psnr_{region}"] == PSNR_CAP


def test_an_occluder_of_a_few_pixels_is_left_out(source, other):
    mask = np.zeros((COUNT, SIZE, SIZE), bool)
    mask[0, 50:60, 60:70] = True
    assert "truth_psnr_occluder" not in Truth()(dubbed_clip(source, other, truth=other, occluder=mask))


# Cycle


def cycle(source: Film, made: Film, first: Film) -> dict[str, float]:
    return Cycle()(dubbed_clip(source, made, first_dub=first, kind="cycle"))


def test_coming_back_is_0_and_staying_away_is_1(source, other):
    assert cycle(source, source, other) == pytest.approx({"cycle_mouth": 0.0, "cycle_lips": 0.0}, abs=1e-9)
    assert cycle(source, other, other) == {"cycle_mouth": 1.0, "cycle_lips": pytest.approx(1.0)}


def test_half_way_back_is_half(source, other):
    half = Film(
        ((source.frames.astype(int) + other.frames) // 2).astype(np.uint8),
        (source.landmarks + other.landmarks) / 2,
    )
    values = cycle(source, half, other)
    assert values["cycle_mouth"] == pytest.approx(0.5, abs=0.02)
    assert values["cycle_lips"] == pytest.approx(0.5, abs=0.02)


def test_a_copied_input_says_nothing(source):
    assert cycle(source, source, source) == {}


def test_other_rows_and_lost_lips_are_left_out(source, other):
    assert Cycle()(dubbed_clip(source, source, first_dub=other, kind="cross")) == {}
    assert Cycle()(dubbed_clip(source, source, kind="cycle")) == {}
    unseen = Film(source.frames, np.full_like(source.landmarks, np.nan))
    assert set(cycle(source, unseen, other)) == {"cycle_mouth"}


def test_the_way_is_a_ratio_of_known_distances():
    a = np.zeros((1, 4, 4, 3), np.uint8)
    region = np.ones((1, 4, 4), bool)
    assert region_rmse(a, a + np.uint8(3), region) == 3.0
    assert region_rmse(a, a, ~region) is None
    assert way_back(1.0, 4.0, 0.5) == 0.25
    assert way_back(0.1, 0.2, 0.5) is None
    assert way_back(None, 2.0, 0.5) is None
