"""Hard cuts: found where the picture jumps, and respected by everything that follows a face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.face import FaceObservation, FaceTrack, build_detector, plan_crops, track_face
from common.face.canonical import face_in_box
from common.face.types import landmarks_box
from common.media import VideoReader
from common.shots import find_cuts, with_cuts


def film(count: int, cuts: list[int], repeat: int = 1) -> list[np.ndarray]:
    """Soft noise that wanders, new at every cut; each drawing stays for ``repeat`` pictures."""
    generator = np.random.default_rng(0)
    scenes = [
        cv2.GaussianBlur(generator.integers(0, 128, (72, 128, 3), np.uint8), (0, 0), 4) + shade
        for shade in (0, 60, 100, 20)
    ]
    return [
        np.roll(scenes[sum(index >= cut for cut in cuts)], index // repeat, axis=1).astype(np.uint8)
        for index in range(count)
    ]


@pytest.mark.parametrize("cuts", [[], [12], [1], [23], [2, 12], [8, 12, 20]])
def test_cuts_are_found_also_right_after_the_start_and_before_the_end(cuts: list[int]):
    assert find_cuts(film(24, cuts)) == cuts


@pytest.mark.parametrize("repeat", [2, 3])
def test_drawings_that_stay_for_several_pictures_are_not_taken_for_cuts(repeat: int):
    assert find_cuts(film(48, [24], repeat)) == [24]
    assert find_cuts(film(48, [], repeat)) == []


def test_every_picture_is_passed_on_and_few_are_held():
    pictures = [np.full((36, 64, 3), 90, np.uint8) for _ in range(60)]
    read = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal read
        for picture in pictures:
            read += 1
            yield picture

    for index, (picture, cut) in enumerate(with_cuts(source())):
        assert picture is pictures[index] and not cut
        assert read - index <= 9
    assert read == 60 and index == 59


def seen(x: float, size: float = 50) -> FaceObservation:
    points = face_in_box(np.array([x, 20, x + size, 20 + size], np.float32))
    return FaceObservation(landmarks_box(points), points, 1.0)


class Script:
    """Sees what it is told, and counts what it is told of shots."""

    name = "script"

    def __init__(self, frames: list[list[FaceObservation]]) -> None:
        self.frames, self.shots = frames, 0
        self.next: Iterator[list[FaceObservation]] = iter(())

    def reset(self) -> None:
        self.next = iter(self.frames)

    def new_shot(self) -> None:
        self.shots += 1

    def detect(self, image: np.ndarray) -> list[FaceObservation]:
        return next(self.next)


def two_shots() -> FaceTrack:
    """A face at x = 10 for 12 frames, then a cut, then one twice as large at x = 70."""
    script = Script([[seen(10)]] * 11 + [[]] + [[seen(70, 100)]] * 12)
    track = track_face(film(24, [12]), script)
    assert script.shots == 1
    return track


class TestFollowing:
    def test_a_face_is_found_again_in_the_first_frame_after_a_cut(self):
        track = two_shots()
        assert track.shots is not None and track.shots.tolist() == [0] * 12 + [1] * 12
        assert track.present.tolist() == [True] * 11 + [False] + [True] * 12

    def test_nothing_is_filled_in_across_a_cut_and_no_run_goes_over_it(self):
        script = Script([[seen(10)]] * 12 + [[seen(70, 100)]] * 12)
        track = track_face(film(24, [12]), script)
        assert track.segments() == [slice(0, 12), slice(12, 24)]
        assert two_shots().segments() == [slice(0, 11), slice(12, 24)]
        assert track.fills_shot(slice(12, 24)) and not two_shots().fills_shot(slice(0, 11))

    def test_crops_do_not_drift_towards_the_other_side_of_a_cut(self):
        crops = plan_crops(two_shots())
        for run in (slice(0, 11), slice(12, 24)):
            assert np.ptp(crops.centers[run], axis=0).max() < 1e-3
            assert np.ptp(crops.sizes[run]) == 0
        assert crops.sizes[20] == pytest.approx(2 * crops.sizes[0], rel=1e-3)

    def test_shots_are_saved_with_the_track(self, tmp_path: Path):
        track = two_shots()
        track.save(tmp_path / "t.safetensors")
        assert FaceTrack.load(tmp_path / "t.safetensors").segments() == track.segments()


CASES = Path(__file__).parents[2] / "shared" / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
@pytest.mark.parametrize(
    "case", ["hard_cut_other_place/cut_place_small.mp4", "hard_cut_same_place/cut_two_small.mp4"]
)
def test_no_frame_of_a_film_with_a_cut_is_without_its_face(case: str):
    with VideoReader(CASES / case) as reader:
        track = track_face((frame.image for frame in reader), build_detector("mediapipe"))
    assert track.segments() == [slice(0, 40), slice(40, 80)]
