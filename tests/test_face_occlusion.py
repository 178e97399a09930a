"""Things and hands before the lower face, on drawn faces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.face.canonical import face_in_box
from common.face.hands import HandFinder, hand_mask
from common.face.occlusion.calm import calm, calm_hands, steady
from common.face.occlusion.detector import UsualLowerFace
from common.face.occlusion.masks import beside_hands, covered, keep_mask, to_frame
from common.face.occlusion.picture import HEIGHT, WIDTH, LowerFace
from common.face.occlusion.things import over_lips
from common.media import read_frames

SIZE = 160
SKIN = (205, 160, 135)


def drawn_face(opening: float = 0.0, shift: float = 0.0, light: float = 1.0, seed: int = 0):
    """A flat face, mouth ``opening`` 0..1, and its landmarks: (SIZE, SIZE, 3) uint8 and (68, 3)."""
    landmarks = face_in_box(np.array([30, 20, 130, 130], np.float32))
    landmarks[:, 0] += shift
    lower = [*range(55, 60), *range(65, 68)]
    landmarks[lower, 1] += 17 * opening
    image = np.full((SIZE, SIZE, 3), (60, 80, 90), np.uint8)
    cv2.rectangle(image, (round(60 + shift), 110), (round(100 + shift), SIZE), (190, 145, 122), -1)
    centre = landmarks[[0, 16], :2].mean(axis=0)
    cv2.ellipse(image, (round(centre[0]), round(centre[1]) + 20), (52, 70), 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    mouth = landmarks[48:68, :2].mean(axis=0) + np.array([0, 6 * opening])
    place = (round(mouth[0]), round(mouth[1]))
    cv2.ellipse(image, place, (17, round(5 + 11 * opening)), 0, 0, 360, (170, 80, 80), -1, cv2.LINE_AA)
    if opening > 0.1:
        cv2.ellipse(image, place, (14, round(9 * opening)), 0, 0, 360, (45, 18, 18), -1, cv2.LINE_AA)
        cv2.rectangle(image, (place[0] - 8, place[1] - 6), (place[0] + 8, place[1] - 3), (235, 230, 220), -1)
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    return np.clip(image * light + noise, 0, 255).astype(np.uint8), landmarks


def with_thing(image, colour=(40, 70, 150)):
    """A cup's wall over chin and mouth, up from below, and where it is."""
    thing = np.zeros((SIZE, SIZE), bool)
    thing[98:, 58:102] = True
    return np.where(thing[..., None], np.array(colour, np.uint8), image).astype(np.uint8), thing


def speech(frame: int):
    """A clip's frame: it talks, sways, and the light breathes."""
    opening = 0.35 * abs(np.sin(0.6 * frame))
    return drawn_face(opening, 3 * np.sin(0.2 * frame), 1 + 0.1 * np.sin(0.15 * frame), frame)


@pytest.fixture(scope="module")
def usual():
    face = UsualLowerFace()
    for frame in range(90):
        image, landmarks = speech(frame)
        # For a third of the clip something stands before the mouth, and is no part of what is usual.
        face.add(LowerFace.of(with_thing(image)[0] if 40 <= frame < 70 else image, landmarks))
    face.freeze()
    return face


def hand_at(x: float, y: float, unit: float = 40.0):
    """An open hand (21, 2), fingers up, wrist at (x, y)."""
    points = [(0.0, 0.0)]
    for root, tip in [
        ((-0.35, -0.25), (-0.9, -0.9)),
        ((-0.3, -0.95), (-0.4, -1.9)),
        ((0, -1), (0, -2)),
        ((0.25, -0.9), (0.35, -1.8)),
        ((0.45, -0.75), (0.65, -1.5)),
    ]:
        points += [tuple(np.array(root) + (np.array(tip) - root) * k / 3) for k in range(4)]
    return (np.array(points) * unit + (x, y)).astype(np.float32)


def test_a_thing_that_comes_from_below_is_found_and_stays(usual) -> None:
    image, landmarks = drawn_face(0.2)
    shown, thing = with_thing(image)
    disagreement = usual.disagreement(LowerFace.of(shown, landmarks))
    assert usual.trusted and disagreement.shape == (HEIGHT, WIDTH)
    roi = (30, 60, 130, 135)
    mask = keep_mask(disagreement, [], landmarks, roi)
    truth = thing[60:135, 30:130]
    on_face = slice(0, 55)  # rows down to the chin
    assert mask[on_face][truth[on_face]].mean() > 0.85
    assert mask[~cv2.dilate(truth.astype(np.uint8), np.ones((21, 21))).astype(bool)].max() < 0.05
    assert covered(disagreement) > 0.4


@pytest.mark.parametrize("opening", [0.0, 0.3, 0.7, 1.0])
def test_a_mouth_however_wide_is_no_thing(usual, opening) -> None:
    image, landmarks = drawn_face(opening, shift=2.0)
    disagreement = usual.disagreement(LowerFace.of(image, landmarks))
    assert not disagreement.any() and covered(disagreement) == 0


@pytest.mark.parametrize("light", [0.75, 1.25])
def test_another_light_is_no_thing(usual, light) -> None:
    image, landmarks = drawn_face(0.2, light=light)
    assert not usual.disagreement(LowerFace.of(image, landmarks)).any()


def test_nothing_is_found_among_equal_frames() -> None:
    image, landmarks = drawn_face(0.3)
    face = UsualLowerFace()
    for _ in range(200):
        face.add(LowerFace.of(image, landmarks))
    face.freeze()
    assert len(face._kept) <= 64
    assert not face.disagreement(LowerFace.of(image, landmarks)).any()
    assert to_frame(face.disagreement(LowerFace.of(image, landmarks)), landmarks, (3, 5, 50, 90)).shape == (
        85,
        47,
    )


def test_a_clip_that_is_mostly_covered_is_not_trusted() -> None:
    face = UsualLowerFace()
    for frame in range(60):
        image, landmarks = speech(frame)
        face.add(LowerFace.of(with_thing(image)[0] if frame < 36 else image, landmarks))
    face.freeze()
    assert not face.disagreement(LowerFace.of(*speech(50))).any()


def test_a_hand_is_found_though_it_has_the_colour_of_skin(usual) -> None:
    image, landmarks = drawn_face(0.2)
    shown, thing = with_thing(image, (200, 154, 130))
    for x in (58, 69, 80, 91, 101):  # between fingers
        shown[98:, x - 1 : x + 1] = (150, 108, 88)
    disagreement = usual.disagreement(LowerFace.of(shown, landmarks))
    mask = to_frame(disagreement, landmarks, (0, 0, SIZE, SIZE))
    assert mask[98:128][thing[98:128]].mean() > 0.8 and covered(disagreement) > 0.4


def test_lips_that_are_seen_are_no_thing(usual) -> None:
    image, landmarks = drawn_face(0.1)
    shown = image.copy()
    chin = round(float(landmarks[57, 1])) + 5
    shown[chin:, 50:110] = (40, 70, 150)
    disagreement = usual.disagreement(LowerFace.of(shown, landmarks))
    mask = np.abs(to_frame(disagreement, landmarks, (0, 0, SIZE, SIZE)))
    lips = landmarks[48:60, :2].round().astype(int)
    assert mask[chin + 3 : chin + 6, 70:90].mean() > 0.5
    assert mask[lips[:, 1].min() : lips[:, 1].max(), lips[:, 0].min() : lips[:, 0].max()].max() < 0.2


def test_a_thing_for_more_than_half_of_the_clip_is_found() -> None:
    face = UsualLowerFace()
    for frame in range(60):
        image, landmarks = speech(frame)
        face.add(LowerFace.of(with_thing(image)[0] if frame < 32 else image, landmarks))
    face.freeze()
    image, landmarks = speech(10)
    assert face.trusted and covered(face.disagreement(LowerFace.of(with_thing(image)[0], landmarks))) > 0.4
    assert not any(face.disagreement(LowerFace.of(*speech(frame))).any() for frame in range(0, 60, 5))


@pytest.mark.parametrize(
    "colour",
    [(135, 30, 100), (175, 45, 45), (205, 75, 145), (175, 95, 80), (105, 70, 115), (230, 230, 230)],
    ids=["magenta", "red", "pink", "brick", "purple", "white"],
)
def test_a_thing_of_any_colour_is_found(colour) -> None:
    """Red ones were taken for lips, and those of other colours for another look of the face."""
    face = UsualLowerFace()
    for frame in range(80):
        image, landmarks = speech(frame)
        face.add(LowerFace.of(with_thing(image, colour)[0] if 25 <= frame < 55 else image, landmarks))
    face.freeze()
    image, landmarks = speech(10)
    disagreement = face.disagreement(LowerFace.of(with_thing(image, colour)[0], landmarks))
    assert disagreement.max() > 0.5 and covered(disagreement) > 0.4
    assert not any(face.disagreement(LowerFace.of(*speech(frame))).any() for frame in range(0, 80, 4))


def test_a_thing_on_most_sides_of_the_lips_is_before_them() -> None:
    view = LowerFace.of(*drawn_face(0.2)).view
    lips = view.inside & ~view.cheeks
    middle = int(np.argwhere(lips)[:, 0].mean())
    beside = np.zeros((HEIGHT, WIDTH), np.float32)
    beside[middle - 2 :, 8:-8] = 1  # all about them but above
    beside[lips] = 0
    assert (over_lips(beside, view)[lips] > 0.5).mean() > 0.5
    below = beside.copy()
    below[: np.argwhere(lips)[:, 0].max()] = 0  # a microphone at the chin
    np.testing.assert_array_equal(over_lips(below, view), below)


def test_what_is_suspected_beside_a_hand_is_there() -> None:
    """Cups of the skin's colour differ too little from it, but hands hold them."""
    image, landmarks = drawn_face(0.2)
    view = LowerFace.of(image, landmarks).view
    suspected = np.zeros((HEIGHT, WIDTH), np.float32)
    suspected[24:36, 16:34] = -1
    held, far = hand_at(80, 150), hand_at(400, 400)
    assert beside_hands(suspected, [held], view).min() >= 0
    assert beside_hands(suspected, [held], view).max() == 1
    for hands in ([], [far]):
        np.testing.assert_array_equal(beside_hands(suspected, hands, view), suspected)


def test_a_thing_does_not_leave_the_lips_for_a_moment() -> None:
    maps = np.zeros((9, HEIGHT, WIDTH), np.float32)
    maps[:, 20:30, 10:30] = 1
    maps[4, 22:26, 15:20] = 0
    np.testing.assert_array_equal(calm(maps)[4], maps[3])
    maps[5:, 22:26, 15:20] = 0  # and when it goes, it goes
    np.testing.assert_array_equal(calm(maps)[4:], maps[4:])


def test_a_second_look_of_the_clip_is_no_thing() -> None:
    face = UsualLowerFace()
    pictures = [speech(frame) for frame in range(60)]
    for image, _ in pictures[40:]:  # in another shot the light comes from one side
        image[:, 80:] = (image[:, 80:] * 0.35).astype(np.uint8)
    for image, landmarks in pictures:
        face.add(LowerFace.of(image, landmarks))
    face.freeze()
    assert face.trusted
    maps = [face.disagreement(LowerFace.of(image, points)) for image, points in pictures]
    assert not calm(np.stack(maps)).any() and max(map(covered, maps)) < 0.1


def test_another_shot_that_was_never_seen_is_no_thing(usual) -> None:
    image, landmarks = drawn_face(0.2)
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert not usual.disagreement(LowerFace.of(grey, landmarks)).any()


def test_questions_before_and_without_frames() -> None:
    image, landmarks = drawn_face()
    face = UsualLowerFace()
    with pytest.raises(ValueError, match="freeze"):
        face.disagreement(LowerFace.of(image, landmarks))
    face.freeze()
    assert not face.trusted and not face.disagreement(LowerFace.of(image, landmarks)).any()


def test_the_map_lies_where_the_face_does() -> None:
    _, landmarks = drawn_face()
    points = np.zeros((HEIGHT, WIDTH), np.float32)
    # Canonical lower lip (0, 0.95) is at pixel ((0 + 0.9) / 0.0375 - 0.5, (0.95 - 0.15) / 0.0375 - 0.5).
    points[20:22, 23:25] = 1
    shown = to_frame(points, landmarks, (0, 0, SIZE, SIZE))
    y, x = np.indices(shown.shape)
    centre = np.array([(shown * x).sum(), (shown * y).sum()]) / shown.sum()
    assert np.abs(centre - landmarks[57, :2]).max() < 2.5
    part = to_frame(points, landmarks, (40, 60, 120, 140))
    np.testing.assert_allclose(part, shown[60:140, 40:120], atol=1e-2)


def test_coverage_counts_the_mouth_only() -> None:
    assert covered(np.ones((HEIGHT, WIDTH), np.float32)) == 1
    below = np.zeros((HEIGHT, WIDTH), np.float32)
    below[30:] = 1
    assert covered(below) == 0
    half = np.zeros((HEIGHT, WIDTH), np.float32)
    half[:, : WIDTH // 2] = 1
    assert covered(half) == pytest.approx(0.5, abs=0.02)


def test_a_hand_covers_the_mouth_or_does_not() -> None:
    _, landmarks = drawn_face()
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    mouth = landmarks[48:68, :2].mean(axis=0)
    assert covered(nothing, [hand_at(mouth[0], mouth[1] + 25)], landmarks) > 0.5
    assert covered(nothing, [hand_at(mouth[0] + 120, mouth[1] + 60)], landmarks) == 0


def test_the_hand_mask_covers_its_bones() -> None:
    hand = hand_at(80, 130)
    mask = hand_mask([hand], (SIZE, SIZE))
    assert mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
    for bone in ([1, 2], [5, 6], [7, 8], [11, 12], [19, 20], [0, 9]):
        for point in (hand[bone[0]], hand[bone[1]], hand[bone].mean(axis=0)):
            assert mask[round(float(point[1])), round(float(point[0]))] > 0.6
    assert mask[:, :20].max() == 0 and mask[10, 150] == 0
    shifted = hand_mask([hand], (60, 50), (55, 70))
    np.testing.assert_allclose(shifted[15:-15, 15:-15], mask[85:115, 70:90], atol=0.02)
    assert hand_mask([], (5, 6)).shape == (5, 6)


def test_what_shows_for_a_moment_is_dropped_and_gaps_are_closed() -> None:
    seen = np.array([0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0], bool)
    np.testing.assert_array_equal(np.flatnonzero(steady(seen)), [5, 6, 7, 8, 9])
    assert steady(np.zeros(0, bool)).shape == (0,)
    maps = np.zeros((16, HEIGHT, WIDTH), np.float32)
    maps[seen, 20:, :20] = 1
    maps[9, :, :10] = 0
    still = calm(maps)
    np.testing.assert_array_equal(np.flatnonzero(still.any(axis=(1, 2))), [5, 6, 7, 8, 9])
    assert still[7, 30, 15] == 1 and still[7, 30, 5] == 0
    hands = [[hand_at(1, 1)] if flag else [] for flag in seen]
    assert [i for i, found in enumerate(calm_hands(hands)) if found] == [5, 6, 9]


def test_suspicion_is_believed_beside_a_finding_only() -> None:
    maps = np.zeros((16, HEIGHT, WIDTH), np.float32)
    maps[6:9, 20:, :20] = 1
    maps[3:6, 24:, 4:20] = -1
    maps[[9, 14], 20:, 30:] = -1  # not where the thing is; too late
    np.testing.assert_array_equal(np.flatnonzero(calm(maps).any(axis=(1, 2))), [3, 4, 5, 6, 7, 8])
    assert calm(maps).min() == 0 and calm(maps)[4, 30, 10] == 1
    maps[6:9] = 0
    assert not calm(maps).any()
    assert covered(-np.ones((HEIGHT, WIDTH), np.float32)) == 1


@pytest.mark.parametrize("backwards", [False, True])
def test_what_comes_in_the_last_frames_of_a_film_is_there(backwards: bool) -> None:
    """A hand that is suspected in two frames and certain in the last one: nothing follows to tell more."""
    maps = np.zeros((10, HEIGHT, WIDTH), np.float32)
    maps[7, 30:, 10:20], maps[8, 26:, 10:22], maps[9, 18:, 8:24] = -1, -1, 1
    order = slice(None, None, -1) if backwards else slice(None)
    found = calm(maps[order])[order]
    np.testing.assert_array_equal(np.flatnonzero(found.any(axis=(1, 2))), [7, 8, 9])
    assert (found[9] == maps[9]).all()
    maps[7:9] = 0  # a certain finding of one frame alone is a mistake there, too
    assert not calm(maps[order]).any()


def test_the_finder_sees_no_hand_in_a_face_and_rests() -> None:
    finder = HandFinder()
    image, landmarks = drawn_face()
    box = np.r_[landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)].astype(np.float32)
    searched = []
    for _ in range(5):
        assert finder.find(image, box) == []
        searched.append(finder.searched)
    assert searched == [True, False, False, True, False]
    finder.reset()
    assert finder.find(np.tile(image, (8, 8, 1)), box * 8) == [] and finder.searched
    assert finder.find(image, box + 900) == []


def test_a_finder_that_is_the_first_to_see_landmarks_prints_nothing(footage: Path, tmp_path: Path) -> None:
    """As where faces are taken from the record of an interrupted job; MediaPipe prints once per process."""
    np.save(
        tmp_path / "picture.npy", read_frames(footage / "dev" / "hard" / "av2av_10_stage.mp4", count=1)[0]
    )
    script = tmp_path / "find.py"
    script.write_text(
        "import sys\n"
        "import numpy as np\n"
        "from common.face.hands import HandFinder\n"
        "image = np.load(sys.argv[1])\n"
        "height, width = image.shape[:2]\n"
        "box = np.array([0.3 * width, 0.2 * height, 0.7 * width, 0.7 * height], np.float32)\n"
        "print(len(HandFinder().find(image, box)))\n"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, script, tmp_path / "picture.npy"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=120,
    )
    assert int(done.stdout) > 0 and "NORM_RECT" not in done.stderr
