"""What the dub looks like, against the source: known answers on a drawn head."""

import cv2
import numpy as np
import pytest
from film_toys import MARGIN, SIZE, Film, dubbed_clip, film, paste_mouth, talk

from common.face import CropTrack
from common.psnr import psnr_of_mse
from evaluation.metrics.base import Better
from evaluation.metrics.colour import Colour, offset_and_drift
from evaluation.metrics.flicker import Flicker
from evaluation.metrics.quality import Quality
from evaluation.metrics.sharpness import Sharpness, sharpness_ratio
from evaluation.native import Square, as_curves, measure_frame, mouth_sharpness, square_of
from evaluation.similarity import PSNR_CAP, compare, ssim_map


@pytest.fixture(scope="module")
def source() -> Film:
    return film(talk())


@pytest.fixture(scope="module")
def dub(source: Film) -> Film:
    return paste_mouth(source, film(talk(phase=2.0)))


def grey(seed: int, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


# Pictures


def test_ssim_is_that_of_the_paper_written_out():
    a, b = grey(0), grey(1)
    at = np.arange(11) - 5
    weights = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    for y, x in ((5, 5), (20, 30), (34, 42)):
        window = np.s_[y - 5 : y + 6, x - 5 : x + 6]
        p, q = a[window].astype(float), b[window].astype(float)
        mp, mq = (weights * p).sum(), (weights * q).sum()
        vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
        cov = (weights * (p - mp) * (q - mq)).sum()
        c1, c2 = 2.55**2, 7.65**2
        expected = (2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
        assert ssim_map(a, b)[y, x] == pytest.approx(expected, abs=1e-4)


def test_ssim_of_equal_and_of_flat_pictures():
    assert ssim_map(grey(3), grey(3)) == pytest.approx(1.0, abs=1e-5)
    flat = ssim_map(np.full((20, 20), 100, np.float32), np.full((20, 20), 50, np.float32))
    assert flat == pytest.approx((2 * 5000 + 6.5025) / (12500 + 6.5025), abs=1e-3)


def test_psnr_of_known_errors():
    assert psnr_of_mse(0.0, most=PSNR_CAP) == PSNR_CAP
    assert psnr_of_mse(1e-12, most=PSNR_CAP) == PSNR_CAP
    assert psnr_of_mse(255.0**2) == 0.0
    assert psnr_of_mse(25.0) == pytest.approx(34.15, abs=0.01)


def test_errors_are_pooled_over_the_clip_before_the_logarithm():
    a = np.full((2, 16, 16, 3), 100, np.uint8)
    b = a.copy()
    b[1] += 10
    region = np.ones((2, 16, 16), bool)
    found = compare(
        a, b, {"all": region, "first": region & (np.arange(2) == 0)[:, None, None], "none": ~region}
    )
    assert found["all"].psnr == pytest.approx(10 * np.log10(255**2 / 50.0))
    assert found["first"].psnr == PSNR_CAP
    assert found["all"].pixels == 512
    assert "none" not in found


# At the video's own size


def test_outside_counts_only_what_lies_outside_the_square():
    reference = np.random.default_rng(0).integers(0, 200, (90, 160, 3), np.uint8)
    square = Square(40.3, 20.0, 50.0)
    inside = reference.copy()
    inside[20:71, 40:92] += 40
    values = measure_frame(inside, square, None, reference)
    assert values["outside_mse"] == 0.0
    assert values["outside_ssim"] == pytest.approx(1.0, abs=1e-5)
    outside = reference.copy()
    outside[80] += 50
    area = 90 * 160 - 51 * 52
    values = measure_frame(outside, square, None, reference)
    assert values["outside_mse"] == pytest.approx(2500 * 160 / area)
    assert values["outside_ssim"] < 0.999


def test_a_frame_without_a_face_is_all_outside_and_a_face_over_all_has_no_outside():
    image = np.full((40, 60, 3), 90, np.uint8)
    assert measure_frame(image + np.uint8(10), None, None, image)["outside_mse"] == pytest.approx(100)
    assert measure_frame(image, Square(-20, -20, 100), None, image) == {}
    with pytest.raises(ValueError, match="size"):
        measure_frame(image, None, None, image[:20])


def test_numbers_that_a_frame_lacks_become_nan():
    curves = as_curves([{"a": 1.0}, {}, {"a": 3.0, "b": 2.0}])
    np.testing.assert_array_equal(curves["a"], [1, np.nan, 3])
    np.testing.assert_array_equal(curves["b"], [np.nan, np.nan, 2])


def test_the_square_is_that_of_the_crop():
    crops = CropTrack(np.array([[50.0, 40.0], [np.nan, np.nan]]), np.array([30.0, np.nan]))
    assert square_of(crops, 0) == Square(35.0, 25.0, 30.0)
    assert square_of(crops, 1) is None


def test_sharpness_needs_a_mouth_in_the_frame(source):
    points = source.landmarks[0]
    assert mouth_sharpness(source.frames[0], points) > 0
    assert mouth_sharpness(source.frames[0], points + 500) is None
    assert "sharpness" not in measure_frame(source.frames[0], None, np.full((68, 3), np.nan))


# PSNR and SSIM by region


def test_a_copy_is_equal_everywhere(source):
    covered = np.zeros((len(source.frames), SIZE, SIZE), bool)
    covered[:, :, : SIZE // 2] = True
    values = Quality()(dubbed_clip(source, source, occluder=covered))
    assert set(values) == {metric.key for metric in Quality.metrics}
    for key, value in values.items():
        assert value == pytest.approx(PSNR_CAP if key.startswith("psnr") else 1.0, abs=1e-5)


def test_a_good_dub_changes_the_mouth_alone(source, dub):
    values = Quality()(dubbed_clip(source, dub))
    assert values["psnr_mouth"] < 30
    assert values["psnr_face"] > 40
    assert values["psnr_background"] == values["psnr_outside"] == PSNR_CAP


def test_an_error_is_found_in_its_region(source):
    lit = source.edit(lambda frame, i: frame + 10)
    lit.frames[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = source.frames[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    values = Quality()(dubbed_clip(source, lit))
    assert values["psnr_outside"] == pytest.approx(psnr_of_mse(100.0), abs=0.1)
    assert values["psnr_background"] == values["psnr_face"] == PSNR_CAP


def test_the_mouth_is_described_and_not_judged():
    better = {metric.key: metric.better for metric in Quality.metrics}
    assert better["psnr_mouth"] is better["ssim_mouth"] is Better.none
    assert better["psnr_face"] is better["psnr_outside"] is Better.higher


# Sharpness


def blurred(sigma: float):
    return lambda frame, i: cv2.GaussianBlur(frame, (0, 0), sigma)


def test_blur_lowers_sharpness_and_nothing_else_does(source, dub):
    def value(made: Film) -> float:
        return Sharpness()(dubbed_clip(source, made))["sharpness_mouth"]

    assert value(source) == 1.0
    kept = value(dub)
    assert 0.7 < kept < 1.4
    assert value(dub.edit(blurred(1.0))) < 0.5 * kept
    assert value(dub.edit(blurred(2.0))) < 0.2 * kept
    assert value(dub.edit(lambda frame, i: frame + 0.5 * i)) == pytest.approx(kept, rel=0.1)
    assert value(dub.shifted(3)) == pytest.approx(kept, rel=0.15)
    grain = np.random.default_rng(0)
    assert value(dub.edit(lambda frame, i: frame + grain.normal(0, 2, frame.shape))) < 1.15 * kept


def test_sharpness_compares_medians_of_the_frames_that_both_have():
    made, source = np.array([1.0, 2.0, 30.0, 9.0]), np.array([2.0, 4.0, 6.0, np.nan])
    assert sharpness_ratio(made, source) == 0.5
    assert sharpness_ratio(made, np.full(4, np.nan)) is None
    assert sharpness_ratio(made, np.zeros(4)) is None


# Flicker


def flicker(source: Film, made: Film) -> tuple[float, float]:
    values = Flicker()(dubbed_clip(source, made))
    return values["flicker_face"], values["flicker_background"]


def test_noise_pumping_and_jitter_flicker(source, dub):
    rng = np.random.default_rng(0)
    # Grain of variance 1 in the source, 1 + 9 with the noise: 10 log10((10 + 1) / (1 + 1)) dB.
    noisy = flicker(source, dub.edit(lambda frame, i: frame + rng.normal(0, 3, frame.shape)))
    assert noisy == pytest.approx((7.4, 7.4), abs=1.0)
    pumping = flicker(source, dub.edit(lambda frame, i: frame + 3 * rng.choice([-1, 1])))
    assert min(pumping) > 4
    side = source.frames.shape[1]

    def moved(frame: np.ndarray, i: int) -> np.ndarray:
        move = np.float32([[1, 0, rng.normal(0, 0.7)], [0, 1, rng.normal(0, 0.7)]])
        return cv2.warpAffine(frame, move, (side, side), borderMode=cv2.BORDER_REFLECT)

    assert flicker(source, dub.edit(moved))[0] > 1


def test_what_is_not_flicker_is_not_counted(source, dub):
    for made in (
        source,
        dub,
        dub.shifted(3),
        dub.edit(lambda frame, i: frame + 0.5 * i),
        paste_mouth(source, Film(source.frames[:1].repeat(36, 0), source.landmarks)),
    ):
        assert flicker(source, made) == pytest.approx((0, 0), abs=0.3)


def test_a_still_picture_is_calmer_than_its_source(source):
    assert max(flicker(source, source.edit(lambda frame, i: source.frames[0]))) < -1


def test_flicker_of_two_frames_is_unknown():
    two = film(talk(2))
    assert Flicker()(dubbed_clip(two, two)) == {}


# Colour


def colour(source: Film, made: Film) -> tuple[float, float]:
    values = Colour()(dubbed_clip(source, made))
    return values["colour_offset"], values["colour_drift"]


def test_offset_and_drift_are_told_apart(source, dub):
    tint = np.array([8.0, 2.0, -4.0])
    offset, drift = colour(source, dub.edit(lambda frame, i: frame + tint))
    assert offset > 2
    assert drift < 0.2
    offset, drift = colour(source, dub.edit(lambda frame, i: frame + tint * i / 35))
    assert drift > 2
    for made in (source, dub, dub.edit(blurred(1.0)), dub.shifted(3)):
        assert colour(source, made) == pytest.approx((0, 0), abs=0.5)


def test_drift_is_the_last_fifth_against_the_first():
    difference = np.zeros((20, 3))
    difference[:, 0] = np.linspace(0, 19, 20)
    difference[5] = np.nan
    offset, drift = offset_and_drift(difference)
    # 19 known values: fifths of 3, medians 1 and 18.
    assert (offset, drift) == (10.0, 17.0)
    assert offset_and_drift(difference[:8])[1] is None
    assert offset_and_drift(np.full((20, 3), np.nan)) == (None, None)


def test_a_clip_without_a_face_gives_what_needs_none(source):
    lost = Film(source.frames, np.full_like(source.landmarks, np.nan))
    nobody = dubbed_clip(lost, lost)
    assert {*Quality()(nobody)} == {"psnr_outside", "ssim_outside"}
    for measure in (Sharpness(), Flicker(), Colour()):
        assert measure(nobody) == {}
