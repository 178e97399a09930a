"""Constructed failures: each does what it says, by the strength it says, and nothing else."""

import dataclasses

import cv2
import numpy as np
import pytest
from perfect_dubs import perfect_dub

from common.face import mouth_opening
from evaluation.corruptions import (
    MEANT,
    blur_mouth,
    colour_drift,
    freeze_mouth,
    paste_box,
    shift_frames,
    standard_failures,
    swap_audio,
)


@pytest.fixture(scope="module")
def dubbed_clip():
    return perfect_dub()


def detail(crops, mask):
    return np.array(
        [
            cv2.Laplacian(cv2.GaussianBlur(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), (0, 0), 1.0), cv2.CV_32F)[
                m
            ].var()
            for c, m in zip(crops, mask, strict=True)
        ]
    )


def far_from_mouth(dubbed_clip, pixels=9):
    """Everything but the mouths of all frames, widely grown."""
    ever = dubbed_clip.regions.mouth.any(axis=0).astype(np.uint8)
    return ~cv2.dilate(ever, np.ones((2 * pixels + 1, 2 * pixels + 1))).astype(bool)


@pytest.mark.parametrize("frames", [5, -3])
def test_lips_are_late_by_the_given_frames_and_the_head_is_not(dubbed_clip, frames):
    late = shift_frames(frames)(dubbed_clip).made
    inner = slice(frames, None) if frames > 0 else slice(None, frames)
    before = slice(None, -frames) if frames > 0 else slice(-frames, None)
    np.testing.assert_allclose(late.opening[inner], dubbed_clip.made.opening[before])
    # The landmarks agree with the curve, and all that is not the mouth is where it was.
    np.testing.assert_allclose(mouth_opening(late.landmarks), late.opening, atol=2e-3)
    np.testing.assert_array_equal(late.landmarks[:, :48], dubbed_clip.made.landmarks[:, :48])
    away = far_from_mouth(dubbed_clip)
    np.testing.assert_array_equal(late.crops[:, away], dubbed_clip.made.crops[:, away])


def test_late_lips_are_seen_in_the_pictures(dubbed_clip):
    """The dark of the open mouth follows the old curve, late."""
    late = shift_frames(5)(dubbed_clip).made

    def darkness(crops):
        grey = crops.mean(axis=-1)
        return np.array(
            [(g[m] < 60).sum() for g, m in zip(grey, dubbed_clip.regions.mouth, strict=True)], float
        )

    dark, shown = darkness(dubbed_clip.made.crops), darkness(late.crops)
    assert np.corrcoef(shown[5:], dark[:-5])[0, 1] > 0.9
    assert np.corrcoef(shown[5:], dark[5:])[0, 1] < 0.6


def test_no_shift_changes_nothing(dubbed_clip):
    np.testing.assert_array_equal(shift_frames(0)(dubbed_clip).made.crops, dubbed_clip.made.crops)


def test_a_frozen_mouth_is_one_mouth(dubbed_clip):
    frozen = freeze_mouth()(dubbed_clip).made
    assert np.ptp(frozen.opening) == 0
    assert abs(frozen.opening[0] - np.median(dubbed_clip.made.opening)) < 0.02
    assert np.ptp(mouth_opening(frozen.landmarks)) < 2e-3 < np.ptp(dubbed_clip.made.opening)
    named = freeze_mouth(7)(dubbed_clip).made
    np.testing.assert_array_equal(named.crops[7], dubbed_clip.made.crops[7])
    assert set(named.opening) == {dubbed_clip.made.opening[7]}


def test_the_mouth_stays_under_what_covers_it():
    dubbed_clip = perfect_dub(occluder=True)
    frozen = freeze_mouth(7)(dubbed_clip).made
    covered = dubbed_clip.regions.occluder
    np.testing.assert_array_equal(frozen.crops[covered], dubbed_clip.made.crops[covered])
    assert (frozen.crops != dubbed_clip.made.crops).any()


def test_frames_without_a_face_stay_and_lend_no_mouth(dubbed_clip):
    points, opening = dubbed_clip.made.landmarks.copy(), dubbed_clip.made.opening.copy()
    points[[3, 20]], opening[[3, 20]] = np.nan, np.nan
    lost = dataclasses.replace(
        dubbed_clip, made=dataclasses.replace(dubbed_clip.made, landmarks=points, opening=opening)
    )
    late = shift_frames(2)(lost).made
    for frame in (3, 20, 5, 22):  # absent, or answered by an absent one
        np.testing.assert_array_equal(late.crops[frame], dubbed_clip.made.crops[frame])
    assert list(np.flatnonzero(~late.present)) == [3, 20]
    with pytest.raises(ValueError, match="frame 3 has no face"):
        freeze_mouth(3)(lost)


def test_other_speech_takes_its_driver_along_and_the_truth_away(dubbed_clip):
    other = perfect_dub(5, count=20)
    swapped = swap_audio(other.speech, other.driver_opening)(dubbed_clip)
    assert swapped.truth is None
    assert len(swapped.speech) == len(dubbed_clip.speech) and len(swapped.driver_opening) == len(dubbed_clip)
    np.testing.assert_array_equal(swapped.driver_opening[20:40], other.driver_opening)
    np.testing.assert_array_equal(swapped.speech[20 * 640 : 40 * 640], other.speech)
    np.testing.assert_array_equal(swapped.made.sound, swapped.speech)
    np.testing.assert_array_equal(swapped.made.crops, dubbed_clip.made.crops)
    assert abs(np.corrcoef(swapped.driver_opening, dubbed_clip.made.opening)[0, 1]) < 0.5


def test_a_blur_takes_detail_from_the_mouth_alone_and_native_numbers_follow(dubbed_clip):
    soft = blur_mouth(2.0)(dubbed_clip).made
    mouth = dubbed_clip.regions.mouth
    ratio = detail(soft.crops, mouth) / detail(dubbed_clip.made.crops, mouth)
    assert np.median(ratio) < 0.2
    np.testing.assert_allclose(soft.native["sharpness"], 100 * ratio, rtol=0.01)
    assert np.median(np.abs(soft.native["sharpness_face"] / 50 - 1)) < 0.2
    np.testing.assert_array_equal(soft.native["luma"], dubbed_clip.made.native["luma"])
    away = far_from_mouth(dubbed_clip)
    np.testing.assert_array_equal(soft.crops[:, away], dubbed_clip.made.crops[:, away])
    assert soft.landmarks is dubbed_clip.made.landmarks and soft.opening is dubbed_clip.made.opening


def test_a_box_is_a_rectangle_of_the_given_levels_that_holds_the_mouth(dubbed_clip):
    boxed = paste_box(12)(dubbed_clip).made
    change = boxed.crops.astype(int) - dubbed_clip.made.crops
    sizes = set()
    for step, mouth in zip(change, dubbed_clip.regions.mouth, strict=True):
        where = step.any(axis=-1)
        x, y, width, height = cv2.boundingRect(where.astype(np.uint8))
        sizes.add((width, height))
        assert where[y : y + height, x : x + width].all()
        assert not (mouth & ~where).any()
        assert set(np.unique(step[where])) == {12}
    assert len(sizes) == 1


def test_colours_drift_at_the_given_rate():
    dubbed_clip = perfect_dub(count=26)
    drifted = colour_drift(4.0)(dubbed_clip).made

    def lab(image):
        return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    np.testing.assert_array_equal(drifted.crops[0], dubbed_clip.made.crops[0])
    for frame in (12, 25):
        inside = dubbed_clip.regions.face[frame]
        distance = np.linalg.norm(lab(drifted.crops[frame]) - lab(dubbed_clip.made.crops[frame]), axis=-1)[
            inside
        ]
        assert np.median(distance) == pytest.approx(4.0 * frame / 25, abs=0.35)


def test_standard_failures_change_the_dub_and_never_the_rest(dubbed_clip):
    failures = standard_failures(perfect_dub(2))
    assert [f.name for f in failures] == list(MEANT) and all(f.meant == MEANT[f.name] for f in failures)
    before = dubbed_clip.made.crops.copy()
    for failure in failures:
        hurt = failure.apply(dubbed_clip)
        assert hurt.source is dubbed_clip.source and hurt.regions is dubbed_clip.regions
        assert hurt.truth is dubbed_clip.truth or failure.name == "swapped"
        np.testing.assert_array_equal(dubbed_clip.made.crops, before)
        changed = (hurt.made.crops != before).any() or (hurt.speech != dubbed_clip.speech).any()
        assert changed, failure.name
    with pytest.raises(ValueError, match="openings"):
        standard_failures(dataclasses.replace(dubbed_clip, truth=None, driver_opening=None))
