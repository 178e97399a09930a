"""An edit that is softer than its source is sharpened, one that is not is left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stage2_dubber.dub.compositing.detail import MOST, DetailMatch, lower_middle, matching_strength, sharpened

SIDE = 128


def picture(side: int, finest: float, seed: int = 0) -> np.ndarray:
    """(side, side, 3) uint8 noise without details below ``finest`` pixels."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    grey = cv2.GaussianBlur(noise, (0, 0), finest)
    return np.clip(128 + 40 * grey / grey.std(), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def shrunk(square: np.ndarray) -> np.ndarray:
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def seen(square: np.ndarray) -> tuple[np.ndarray, int]:
    """What is looked at of a square in the frame."""
    return square[lower_middle(len(square))], len(square)


def sharpness(crop: np.ndarray, side: int) -> float:
    shown = cv2.resize(crop.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)[..., 0]
    middle = cv2.GaussianBlur(shown, (0, 0), 1.0)[side // 2 : side * 19 // 20, side // 4 : side * 3 // 4]
    return float(cv2.Laplacian(middle, cv2.CV_32F).var())


@pytest.mark.parametrize("side", [SIDE, 200, 330])
def test_a_soft_crop_becomes_as_sharp_as_its_source(side: int) -> None:
    source = picture(side, 2.5 * side / SIDE)
    soft = cv2.GaussianBlur(shrunk(source).astype(np.float32), (0, 0), 0.8)
    strength = matching_strength(*seen(source), soft)
    assert 0 < strength < MOST
    assert sharpness(sharpened(soft, strength), side) == pytest.approx(sharpness(source, side), rel=0.1)


def test_what_lost_nothing_is_left_as_it_was() -> None:
    source = picture(SIDE, 2.0)
    assert matching_strength(*seen(source), source) == 0
    assert np.array_equal(DetailMatch()(lambda: seen(source), source), source)
    sharper = picture(SIDE, 1.0, seed=1)
    assert np.array_equal(DetailMatch()(lambda: seen(source), sharper), sharper)


def test_what_no_sharpening_brings_back_is_not_forced() -> None:
    assert matching_strength(*seen(picture(400, 1.0)), np.full((SIDE, SIDE, 3), 128.0)) == 0
    assert matching_strength(*seen(picture(400, 1.0)), shrunk(picture(400, 20.0))) == MOST
    assert matching_strength(*seen(picture(8, 1.0)), picture(SIDE, 1.0)) == 0


def test_the_strength_does_not_jump() -> None:
    match, edit = DetailMatch(), picture(SIDE, 3.0)
    calm = [match(lambda: seen(picture(SIDE, 3.2)), edit) for _ in range(5)]
    changed = [match(lambda: seen(picture(SIDE, 2.0)), edit) for _ in range(60)]
    assert all(np.array_equal(one, calm[0]) for one in calm)
    steps = [np.abs(b.astype(int) - a).mean() for a, b in zip([calm[-1], *changed], changed, strict=False)]
    assert max(steps) < np.abs(changed[-1].astype(int) - calm[0]).mean() / 3
    assert np.array_equal(changed[-1], changed[-2])
