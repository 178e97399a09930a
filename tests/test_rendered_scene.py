"""Rendered characters: exact repetition, exact pairs, true landmarks, occluders, styles."""

import numpy as np
import pytest

from common.errors import UserError
from common.face.mouth import mouth_opening
from common.rendered.clips import render_clip
from common.rendered.render import render_frame
from common.rendered.scene import HELD_OUT_SEEDS, STYLES, TRAIN_SEEDS, sample_scene
from common.rendered.speech import sample_voice, silence, speak
from common.rendered.visemes import CLOSED, MouthShape

SIZE = 128
WIDE = MouthShape(open=1.0)


def test_a_frame_is_a_function_of_scene_index_and_mouth():
    first = render_frame(sample_scene(7, size=SIZE), 13, MouthShape(open=0.4))
    scene = sample_scene(7, size=SIZE)
    render_frame(scene, 2, WIDE)
    again = render_frame(scene, 13, MouthShape(open=0.4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.occluder, again.occluder)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


@pytest.mark.parametrize("seed", range(10))
def test_speech_changes_nothing_but_the_lower_face(seed):
    scene = sample_scene(seed, size=SIZE)
    shapes = (CLOSED, WIDE, MouthShape(open=0.3, round=1.0), MouthShape(open=0.3, spread=1.0))
    frames = [render_frame(scene, 5, shape) for shape in shapes]
    changed = np.zeros((SIZE, SIZE), bool)
    for frame in frames[1:]:
        changed |= (frame.image != frames[0].image).any(axis=-1)
    assert changed.any()
    # Below the tip of the nose, above the lowest chin, between the cheeks, in the head's own axes.
    points = frames[1].landmarks[:, :2]
    down = points[8] - points[27]
    unit = np.linalg.norm(points[16] - points[0]) / 2
    down /= np.linalg.norm(down)
    rows, columns = np.nonzero(changed)
    offsets = np.stack([columns, rows], axis=1) - points[33]
    along = offsets @ down
    across = (offsets + points[33] - (points[0] + points[16]) / 2) @ np.array([down[1], -down[0]])
    assert along.min() > -0.4 * unit
    assert along.max() < (points[8] - points[33]) @ down + 0.3 * unit
    assert np.abs(across).max() < 1.2 * unit
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame.box, frames[0].box)
        np.testing.assert_array_equal(frame.occluder, frames[0].occluder)
        np.testing.assert_array_equal(frame.landmarks[17:48], frames[0].landmarks[17:48])


def test_landmarks_follow_the_opening():
    scene = sample_scene(21, size=SIZE)
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    landmarks = np.stack([render_frame(scene, 0, MouthShape(open=level)).landmarks for level in levels])
    opening = mouth_opening(landmarks)
    assert opening[0] == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(opening) > 0.03).all()
    assert (np.diff(landmarks[:, 8, 1]) > 0).all(), "the chin comes down with the jaw"
    rounded = render_frame(scene, 0, MouthShape(round=1.0)).landmarks
    assert np.ptp(rounded[48:60, 0]) < 0.75 * np.ptp(landmarks[0, 48:60, 0])
    assert landmarks.shape == (5, 68, 3) and landmarks.dtype == np.float32


def test_landmarks_lie_on_what_is_drawn():
    scene = sample_scene(3, style="flat", occluder="none", size=256)
    open_, shut = render_frame(scene, 0, WIDE), render_frame(scene, 0, CLOSED)
    centre = open_.landmarks[[62, 66], :2].mean(axis=0).round().astype(int)
    inside = open_.image[centre[1], centre[0]].astype(int)
    assert np.abs(inside - shut.image[centre[1], centre[0]]).sum() > 60
    x, y = open_.landmarks[37:42, :2].mean(axis=0).round().astype(int)
    np.testing.assert_array_equal(open_.image[y, x], shut.image[y, x])


@pytest.mark.parametrize("kind", ["hand", "microphone", "cup"])
def test_occluders_cross_the_mouth_in_a_part_of_the_clip(kind):
    scene = sample_scene(4, occluder=kind, size=96)
    covered = []
    for index in range(0, 75, 5):
        frame = render_frame(scene, index, CLOSED)
        low, high = frame.landmarks[48:60, :2].min(axis=0), frame.landmarks[48:60, :2].max(axis=0)
        x0, y0, x1, y1 = (int(v) for v in (*low, *(high + 1)))
        covered.append((frame.occluder[y0:y1, x0:x1] > 128).mean())
        assert frame.occluder.shape == (96, 96) and frame.occluder.dtype == np.uint8
    assert max(covered) > 0.5
    assert min(covered) < 0.05


def test_occluder_can_be_left_out():
    with_hand, without = (sample_scene(4, occluder=k, size=96) for k in ("hand", "none"))
    assert without.occluder is None
    assert not render_frame(without, 3, CLOSED).occluder.any()
    assert with_hand.face == without.face and with_hand.palette == without.palette


def test_styles_differ_and_seeds_are_different_people():
    pictures = [render_frame(sample_scene(9, style=style, size=96), 0, WIDE).image for style in STYLES]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert np.abs(first.astype(int) - second).mean() > 1.0
    scenes = [sample_scene(seed) for seed in range(30)]
    assert len({scene.face for scene in scenes}) == 30
    assert {scene.style.name for scene in scenes} == set(STYLES)
    assert {"none"} < {scene.occluder.kind if scene.occluder else "none" for scene in scenes}
    assert not set(TRAIN_SEEDS) & {HELD_OUT_SEEDS.start, HELD_OUT_SEEDS.stop - 1}
    assert len({scene.speaker for scene in scenes}) == 30


def test_clips_carry_the_opening_of_their_speech():
    scene, voice = sample_scene(2, occluder="none", size=96), sample_voice(2)
    clip = render_clip(scene, speak(1, 1.2, voice))
    assert clip.frames.shape == (30, 96, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.landmarks.shape == (30, 68, 3) and clip.boxes.shape == (30, 4)
    assert clip.opening.shape == (30,) and clip.opening.max() > 0.05
    wanted = [shape.open for shape in clip.speech.mouth]
    assert np.corrcoef(wanted, clip.opening)[0, 1] > 0.95
    quiet = render_clip(scene, silence(0.4))
    assert (quiet.opening < 1e-5).all()


@pytest.mark.parametrize("bad", [{"style": "oil"}, {"occluder": "cat"}, {"size": 8}])
def test_unknown_choices_are_refused(bad):
    with pytest.raises(UserError):
        sample_scene(0, **bad)
