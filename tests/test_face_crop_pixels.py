"""Crops cut out and put back, pixel by pixel, against the same in plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.face.crops import CropTrack
from common.face.release_crops import ReleaseCropTrack

HALF = 0.5 + 1e-3  # of a grey level, and what floats lose

eighths = st.integers(-100, 400).map(lambda value: value / 8)  # OpenCV resamples at 1/32 pixel


def square(x: float, y: float, size: float) -> CropTrack:
    return CropTrack(np.array([[x, y]]), np.array([size]))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def reflected(place: int, count: int) -> int:
    while not 0 <= place < count:
        place = -place if place < 0 else 2 * (count - 1) - place
    return place


def coverage(middle: float, size: float, out: int, count: int) -> np.ndarray:
    """(out, count): how much of each of ``out`` equal parts of a stretch every source pixel fills."""
    weights = np.zeros((out, count))
    edges = middle + (np.arange(out + 1) / out - 0.5) * size
    for row, low, high in zip(weights, edges[:-1], edges[1:], strict=True):
        for place in range(int(np.floor(low)) - 1, int(np.ceil(high)) + 2):
            common = min(high, place + 0.5) - max(low, place - 0.5)
            row[reflected(place, count)] += max(0.0, common) / (high - low)
    return weights


@given(
    shrink=st.floats(2, 13),
    out=st.integers(3, 12),
    shape=st.tuples(st.integers(8, 50), st.integers(8, 50)),
    place=st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_crop_of_a_large_face_is_the_mean_of_what_its_pixels_cover(
    shrink: float, out: int, shape: tuple[int, int], place: tuple[float, float], seed: int
) -> None:
    """Also over the picture's edges, where it is reflected."""
    image = noise(seed, *shape, 3)
    (y, x), size = np.array(place) * shape, shrink * out
    down, across = coverage(y, size, out, shape[0]), coverage(x, size, out, shape[1])
    exact = np.einsum("ij,jkc,lk->ilc", down, image.astype(np.float64), across)
    assert np.abs(square(x, y, size).extract(image, 0, out) - exact).max() <= HALF


def test_large_crops_are_the_same_in_bands() -> None:
    """More rows than are summed at once."""
    image = noise(0, 700, 900, 3)
    crop = square(450.3, 349.8, 640.9).extract(image, 0, 300)
    down, across = coverage(349.8, 640.9, 300, 700), coverage(450.3, 640.9, 300, 900)
    exact = np.einsum("ij,jkc,lk->ilc", down, image.astype(np.float64), across, optimize=True)
    assert np.abs(crop - exact).max() <= HALF


def test_a_square_in_its_own_pixels_is_as_sharp_whichever_way_its_side_is_rounded() -> None:
    image = noise(1, 120, 120, 3)
    larger, smaller = (square(60, 60, size).extract(image, 0, 80) for size in (80.02, 79.98))
    assert np.abs(larger.astype(int) - smaller).mean() < 2


@pytest.mark.parametrize("out", [20, 64, 150])
def test_a_part_of_a_crop_is_cut_as_in_the_whole(out: int) -> None:
    image, part = noise(2, 90, 100, 3), (slice(out // 2, out - 2), slice(3, out // 2 + 1))
    ours = square(50.5, 45.25, 80)
    release = ReleaseCropTrack(ours.centers, ours.sizes, np.array([[10, 5, 90, 85]]))
    for crops in (ours, release):
        off = crops.extract(image, 0, out, part).astype(int) - crops.extract(image, 0, out)[part]
        assert np.abs(off).max() <= 1


def bilinear(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(len(y), len(x), C) of (S, S, C) at these places; 0 beyond."""
    near = [
        np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))
        for at, count in ((y, values.shape[0]), (x, values.shape[1]))
    ]
    return np.einsum("ij,jkc,lk->ilc", near[0], values, near[1])


def opacity(seed: int, size: int) -> np.ndarray:
    """0 but in a rectangle clear of the border."""
    draw = np.random.default_rng(seed)
    (top, left), (bottom, right) = draw.integers(1, size // 2, 2), draw.integers(size // 2, size, 2)
    alpha = np.zeros((size, size), np.float32)
    alpha[top:bottom, left:right] = draw.random((bottom - top, right - left), np.float32)
    return alpha


@given(place=st.tuples(eighths, eighths), scale=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_change_is_added_as_it_is_between_the_pixels_of_the_crop(
    place: tuple[float, float], scale: int, seed: int
) -> None:
    size = 12
    image, alpha = noise(seed, 40, 50, 3), opacity(seed, size)
    change = np.random.default_rng(seed).normal(0, 60, (size, size, 3)).astype(np.float32)
    crops = square(*place, scale * size)
    x, y = (
        ((np.arange(count) - middle) / scale + (size - 1) / 2)
        for count, middle in zip((50, 40), place, strict=True)
    )
    added = bilinear(change * alpha[..., None], x, y)
    done = crops.add(image, change, alpha, 0)
    assert np.abs(done - np.clip(image + added, 0, 255)).max() <= HALF
    np.testing.assert_array_equal(done[(added == 0).all(axis=-1)], image[(added == 0).all(axis=-1)])


@given(place=st.tuples(st.integers(-10, 60), st.integers(-10, 50)), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_crop_is_mixed_with_the_picture(place: tuple[int, int], seed: int) -> None:
    size = 13
    image, crop, alpha = noise(seed, 40, 50, 3), noise(seed + 1, size, size, 3), opacity(seed, size)
    x, y = place
    wide = np.zeros((40 + 2 * 30, 50 + 2 * 30, 3))
    top, left = 30 + y - size // 2, 30 + x - size // 2
    corner = (slice(top, top + size), slice(left, left + size))
    inner = (slice(30, 70), slice(30, 80))
    wide[inner] = image
    wide[corner] += alpha[..., None] * (crop - wide[corner])
    done = square(x, y, size).paste(image, crop, alpha, 0)
    # blendLinear divides by the sum of the weights and 1e-5.
    assert np.abs(done - wide[inner]).max() <= HALF + 255e-5
    kept = (wide[inner] == image).all(axis=-1)
    np.testing.assert_array_equal(done[kept], image[kept])


@pytest.mark.parametrize("scale", [0.3, 0.8, 1.0, 1.7, 6.1])
@pytest.mark.parametrize("way", ["paste", "add"])
def test_what_is_not_seen_need_not_be_resampled(scale: float, way: str) -> None:
    """An edit of a part of the square is put back as if all of it was looked at."""
    size = 32
    down, across = np.mgrid[0:size, 0:size] * (255 / (size - 1))
    crop = np.rint(np.stack([down, across, (down + across) / 2], axis=-1)).astype(np.uint8)
    image, crops = noise(0, 120, 140, 3), square(71.3, 52.8, scale * size)
    value = crop if way == "paste" else crop.astype(np.float32) / 2
    for seed in range(5):
        alpha = opacity(seed, size)
        part, whole = (getattr(crops, way)(image, value, a, 0) for a in (alpha, alpha + np.float32(1e-20)))
        off = np.abs(part.astype(int) - whole)
        # OpenCV resamples at 1/32 pixel.
        assert (part != image).any() and off.max() <= 255 / 32 and off.mean() < 0.01
