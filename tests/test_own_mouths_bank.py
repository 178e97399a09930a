"""The moments of a clip: bounded, different from each other, and honest about what follows what."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from own_mouth_clips import head, mouth, talker
from scipy.stats import theilslopes

from common.errors import UserError
from common.face.types import FaceObservation, landmarks_box
from common.own_mouths.bank import RUN_FRAMES, Bank, BankBuilder, head_motion
from common.own_mouths.clip import LEAST_MOMENTS, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.frame import FaceAxes
from common.own_mouths.sharpness import compared_at_one_opening, theil_sen_slope

SIZE = (120, 140)


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 120, (*SIZE, 3), np.uint8)


def _points(gap: float = 0.1, **pose) -> np.ndarray:
    return head(mouth(gap), **{"scale": 40, "at": (70, 40), **pose})


def _bank(items: Iterable[tuple[int, np.ndarray, np.ndarray]], **config: int) -> Bank:
    builder = BankBuilder(OwnMouthsConfig(**config))
    for index, image, points in items:
        builder.add(index, image, points)
    bank = builder.finish()
    assert bank is not None
    return bank


def test_all_moments_of_a_short_clip_are_kept_in_order_with_what_they_show() -> None:
    clip = talker()
    bank = clip.bank()
    np.testing.assert_array_equal(bank.frames, np.arange(len(clip)))
    np.testing.assert_allclose(bank.heads.landmarks, clip.landmarks)
    assert bank.shapes.shape == (len(clip), 7) and len(bank.patches) == len(bank.looks) == len(clip)
    assert bank.follows.tolist() == [False] + [True] * (len(clip) - 1)
    for image, points, patch in zip(clip.frames, clip.landmarks, bank.patches, strict=True):
        (x, y), (h, w) = patch.origin, patch.picture.shape[:2]
        np.testing.assert_array_equal(patch.picture, image[y : y + h, x : x + w])
        for place in points[[*range(4, 13), *range(48, 68)], :2]:
            inside = x <= place[0] < x + w and y <= place[1] < y + h
            assert inside or not (0 <= place[0] < image.shape[1] and 0 <= place[1] < image.shape[0])


def test_a_patch_does_not_hold_on_to_its_frame() -> None:
    image = _picture()
    bank = _bank([(0, image, _points())])
    kept = bank.patches[0].picture.copy()
    image[:] = 0
    np.testing.assert_array_equal(bank.patches[0].picture, kept)
    assert bank.patches[0].picture.base is None


@pytest.mark.parametrize("most", [60, 100])
def test_a_long_clip_keeps_no_more_moments_than_it_may(most: int) -> None:
    image = _picture()
    gaps = 0.1 + 0.1 * np.sin(0.3 * np.arange(400))
    builder = BankBuilder(OwnMouthsConfig(max_moments=most))
    for index, gap in enumerate(gaps):
        builder.add(index, image, _points(gap))
        assert len(builder.extras) <= most
    bank = builder.finish()
    assert bank is not None and 0.4 * most < len(bank) <= most
    assert (np.diff(bank.frames) > 0).all()
    # Moments stay with those before and after them.
    runs = np.diff(np.flatnonzero(np.append(~bank.follows, True)))
    assert runs.mean() > RUN_FRAMES / 2
    assert len(builder.sharpness) == 400, "the sharpness of all frames is remembered"
    assert builder.finish() is None, "a builder is empty afterwards"


@pytest.mark.parametrize("most", [1, 10])
def test_small_bounds_hold_too(most: int) -> None:
    gaps = 0.1 + 0.1 * np.sin(0.3 * np.arange(60))
    bank = _bank(((i, _picture(), _points(gap)) for i, gap in enumerate(gaps)), max_moments=most)
    assert 1 <= len(bank) <= most
    image = np.zeros((600, 800, 3), np.uint8)
    large = ((i, image, head(mouth(0.1), scale=160, at=(400, 150))) for i in range(30))
    assert sum(patch.picture.nbytes for patch in _bank(large, max_megabytes=1).patches) <= 2**20


def test_large_pictures_are_held_within_the_memory() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    builder = BankBuilder(OwnMouthsConfig(max_megabytes=16))
    tracemalloc.start()
    held = []
    for index in range(200):
        builder.add(index, image, head(mouth(0.01 * (index % 20)), scale=160, at=(400, 150)))
        if index % 20 == 19:
            held.append(tracemalloc.get_traced_memory()[0] / 2**20)
    tracemalloc.stop()
    bank = builder.finish()
    assert bank is not None
    size = sum(patch.picture.nbytes for patch in bank.patches) / 2**20
    assert 6 < size <= 16 and len(bank) < 150
    assert max(held) < 24


def test_what_is_seldom_is_kept() -> None:
    """Nine tenths of the clip say nothing; the mouths of the rest must not be given up."""
    draw = np.random.default_rng(0)
    image = _picture()
    gaps = np.where(np.arange(500) % 250 >= 225, 0.25, 0.01) + draw.normal(0, 0.002, 500)
    bank = _bank(((i, image, _points(max(float(g), 0))) for i, g in enumerate(gaps)), max_moments=100)
    shown = gaps[bank.frames] > 0.1
    assert shown.sum() >= 40, "both stretches of the open mouth"
    assert (~shown).sum() >= 20


def test_grimaces_do_not_push_speech_out() -> None:
    """A mouth drawn aside differs most from all others: a full bank was filled with it."""
    image, draw = _picture(), np.random.default_rng(3)
    runs = np.repeat(np.arange(24), RUN_FRAMES)
    aside = np.where(runs % 2, draw.uniform(0.06, 0.1, 24)[runs] * (-1.0) ** (runs // 2), 0.0)
    gaps = draw.uniform(0.0, 0.2, len(runs))
    points = [_points(gap, yaw=yaw) for gap, yaw in zip(gaps, draw.uniform(-12, 12, 24)[runs], strict=True)]
    for face, shift in zip(points, aside, strict=True):
        face[48:68, 0] += shift * np.linalg.norm(face[36, :2] - face[45, :2])
    bank = _bank(((i, image, face) for i, face in enumerate(points)), max_moments=300)
    assert (aside[bank.frames] == 0).mean() > 0.65


def test_other_turns_of_the_head_are_kept() -> None:
    image = _picture()
    yaws = np.where((np.arange(400) >= 200) & (np.arange(400) < 225), 20.0, 0.0)
    gaps = 0.1 + 0.06 * np.sin(0.7 * np.arange(400))
    bank = _bank(
        ((i, image, _points(g, yaw=y)) for i, (g, y) in enumerate(zip(gaps, yaws, strict=True))),
        max_moments=75,
    )
    assert (yaws[bank.frames] > 0).sum() >= 10


def test_moments_follow_each_other_unless_frames_are_missing_or_a_cut_lies_between() -> None:
    builder = BankBuilder(OwnMouthsConfig())
    for frame in (3, 4, 5, 9, 10, 11, 12, 13, 14):
        builder.add(frame, _picture(), _points(), shot=int(frame > 10))
    bank = builder.finish()
    assert bank is not None
    assert bank.follows.tolist() == [False, True, True, False, True, False, True, True, True]


def test_a_run_goes_on_over_the_border_of_what_is_kept_together() -> None:
    bank = _bank((i, _picture(), _points()) for i in range(3 * RUN_FRAMES))
    assert bank.follows[1:].all()


def test_motion_is_that_of_the_head_and_unknown_across_gaps() -> None:
    xs = [70.0, 72.0, 75.0, 60.0, 61.0]
    bank = _bank((f, _picture(), _points(at=(x, 40))) for f, x in zip([0, 1, 2, 7, 8], xs, strict=True))
    np.testing.assert_allclose(bank.motion, [[0, 0], [2, 0], [3, 0], [0, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(head_motion(bank.heads.landmarks)[3], [-15, 0], atol=1e-6)


def test_a_limited_bank_keeps_what_it_is_told_and_forgets_who_followed() -> None:
    bank = talker().bank()
    mask = np.ones(len(bank), bool)
    mask[[5, 6, 12]] = False
    some = bank.limited(mask)
    assert len(some) == len(bank) - 3
    np.testing.assert_array_equal(some.frames, bank.frames[mask])
    np.testing.assert_array_equal(some.shapes, bank.shapes[mask])
    broken = some.frames[~some.follows].tolist()
    assert broken == [0, 7, 13]
    by_index = bank.limited(np.flatnonzero(mask))
    np.testing.assert_array_equal(by_index.follows, some.follows)
    assert all(a is b for a, b in zip(by_index.patches, some.patches, strict=True))
    assert len(bank.limited(np.array([3]))) == 1


def test_blurred_frames_are_less_sharp_and_size_is_no_sharpness() -> None:
    import cv2

    def sharpness(size: int, blur: float) -> float:
        scale = size / SIZE[1]
        large = cv2.resize(np.asarray(_picture(), np.uint8), None, fx=scale, fy=scale)
        image = cv2.GaussianBlur(large, (0, 0), blur * scale) if blur else large
        points = _points(scale=40 * scale, at=(70 * scale, 40 * scale))
        return float(_bank([(0, image, points)]).sharpness[0])

    values = [sharpness(280, b) for b in (0.0, 1.0, 2.0, 4.0)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.2 * values[0]


def test_looks_see_the_mouth_and_neither_light_nor_place() -> None:
    clip = talker(moving=False)
    bank = clip.bank()
    opened, closed = int(bank.shapes[:, 1].argmax()), int(bank.shapes[:, 1].argmin())
    lit = np.clip(clip.frames[opened].astype(int) + 12, 0, 255).astype(np.uint8)
    moved = np.roll(clip.frames[opened], (3, 5), axis=(0, 1))
    points = clip.landmarks[opened].copy()
    other = _bank([(0, lit, points), (5, moved, points + np.array([5, 3, 0]))])

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.square(a - b).mean())

    speech = apart(bank.looks[opened], bank.looks[closed])
    assert apart(other.looks[0], bank.looks[opened]) < 0.1 * speech
    assert apart(other.looks[1], bank.looks[opened]) < 0.1 * speech


def test_faces_that_were_not_seen_or_lie_outside_give_no_moment() -> None:
    builder = BankBuilder()
    unseen = _points()
    unseen[10] = np.nan
    builder.add(0, _picture(), unseen)
    builder.add(1, _picture(), _points(at=(-400, 40)))
    builder.add(2, _picture(), _points(at=(70, 900)))
    assert builder.finish() is None
    # A face at the border gives what there is of it.
    bank = _bank([(0, _picture(), _points(at=(4, 90)))])
    x, y = bank.patches[0].origin
    assert x == 0 and bank.patches[0].picture.shape[0] == SIZE[0] - y


def test_bounds_that_hold_nothing_are_refused() -> None:
    for bounds in ({"max_moments": 0}, {"max_megabytes": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            OwnMouthsConfig(**bounds)


def test_options_are_read_from_words() -> None:
    read = OwnMouthsConfig.read({"warp": "false", "max_moments": "50", "lead_frames": "0.5"})
    assert read == OwnMouthsConfig(warp=False, max_moments=50, lead_frames=0.5)
    assert OwnMouthsConfig.read({}) == OwnMouthsConfig()
    for words in ({"wrap": "false"}, {"max_moments": "many"}):
        with pytest.raises(UserError, match=r"own_mouths.*max_moments"):
            OwnMouthsConfig.read(words)


class TestCollector:
    @staticmethod
    def _seen(points: np.ndarray, measured: bool = True) -> FaceObservation:
        points = points.astype(np.float32)
        return FaceObservation(landmarks_box(points), points, 1.0, measured=measured)

    def _collect(self, count: int, measured: bool = True):
        collector = MouthCollector(OwnMouthsConfig(occluders=False))
        for index in range(count):
            collector.watch(index, _picture(), self._seen(_points(0.02 * index), measured), 0)
        return collector.finish()

    def test_a_face_that_was_only_placed_lends_nothing(self) -> None:
        assert self._collect(3 * LEAST_MOMENTS, measured=False) is None
        mouths = self._collect(3 * LEAST_MOMENTS)
        assert mouths is not None and len(mouths.bank) == 3 * LEAST_MOMENTS and mouths.occluders is None

    def test_too_few_mouths_lend_nothing(self) -> None:
        assert self._collect(LEAST_MOMENTS - 1) is None and self._collect(0) is None
        assert self._collect(LEAST_MOMENTS) is not None

    def test_frames_that_were_not_seen_are_taken_for_as_sharp_as_usual(self) -> None:
        mouths = self._collect(10)
        assert mouths is not None
        told = mouths.sharpness.of(np.array([3, 400]))
        assert told[0] == mouths.bank.sharpness[3]
        assert told[1] == pytest.approx(np.median(mouths.bank.sharpness))


def test_the_faces_axes_are_in_eye_corner_distances() -> None:
    axes = FaceAxes.of(_points(), 40.0)
    corners = axes.to_face(_points()[[36, 45], :2])
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(1.0, abs=1e-6)


def test_open_lips_are_no_sharper_than_closed_ones() -> None:
    draw = np.random.default_rng(0)
    gaps = draw.uniform(0, 0.3, 300)
    blur = np.ones(300)
    blur[100:120] = 0.4
    level = compared_at_one_opening(np.stack([50 * blur * np.exp(2.5 * np.sqrt(gaps)), gaps], axis=1))
    usual = 50 * np.exp(2.5 * np.median(np.sqrt(gaps)))
    np.testing.assert_allclose(level, usual * blur, rtol=1e-6)
    assert compared_at_one_opening(np.array([[3.0, 0.1]])) == pytest.approx(3.0)
    assert len(compared_at_one_opening(np.zeros((0, 2)))) == 0


def test_slopes_are_those_of_the_library() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, 60) / 4.0  # with ties
    y = 0.7 * x + rng.normal(size=60)
    assert theil_sen_slope(x, y) == pytest.approx(theilslopes(y, x)[0])
    assert theil_sen_slope(np.ones(5), np.arange(5.0)) == 0
