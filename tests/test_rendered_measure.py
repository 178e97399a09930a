"""The opening of the mouth is read back from damaged pictures."""

import cv2
import numpy as np
import pytest

from common.face.mouth import mouth_opening
from common.rendered.measure import match_sweep, opening_curves, sweep_mouth
from common.rendered.render import render_frame
from common.rendered.scene import sample_scene
from common.rendered.speech import speak
from common.rendered.visemes import CLOSED, MouthShape


def damaged(image: np.ndarray, blur: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    soft = np.clip(cv2.GaussianBlur(image, (0, 0), blur) + noise, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def opening(scene, index: int, image: np.ndarray) -> float:
    return match_sweep(sweep_mouth(scene, index), image)


def spoken(scene):
    """Frames from the middle of some speech, with their true openings."""
    mouths = speak(3, 3.0).mouth[5:75:7]
    frames = [render_frame(scene, i, mouth) for i, mouth in enumerate(mouths)]
    return frames, mouth_opening(np.stack([frame.landmarks for frame in frames]))


def test_opening_is_read_from_clean_and_damaged_frames():
    scene = sample_scene(1, style="toon", occluder="none", size=128)
    frames, truth = spoken(scene)
    clean = [frame.image for frame in frames]
    read = opening_curves(scene, [clean, [damaged(image, 1.0) for image in clean]])
    assert np.ptp(truth) > 0.15
    assert np.corrcoef(read[0], truth)[0, 1] > 0.98
    assert np.corrcoef(read[1], truth)[0, 1] > 0.97


def test_opening_is_read_from_a_small_blurred_crop():
    scene = sample_scene(2, style="realistic", occluder="none", size=192)
    frames, truth = spoken(scene)
    box = frames[0].box
    side = 1.45 * max(box[2] - box[0], box[3] - box[1])
    scale = 96 / side
    corner = (box[:2] + box[2:]) / 2 - side / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    soft = [cv2.GaussianBlur(frame.image, (0, 0), 0.4 / scale) for frame in frames]
    crops = [damaged(cv2.warpAffine(image, matrix, (96, 96)), 0.7) for image in soft]
    read = opening_curves(scene, [crops], [matrix] * len(crops))
    assert np.corrcoef(read[0], truth)[0, 1] > 0.97


def test_closed_reads_zero_and_a_tint_does_not_matter():
    scene = sample_scene(5, occluder="none", size=128)
    shut, wide = render_frame(scene, 4, CLOSED), render_frame(scene, 4, MouthShape(open=1.0))
    assert opening(scene, 4, shut.image) < 0.02
    brighter = np.clip(wide.image.astype(int) + 12, 0, 255).astype(np.uint8)
    assert opening(scene, 4, brighter) == pytest.approx(opening(scene, 4, wide.image), abs=0.02)


def test_a_hidden_mouth_is_not_guessed():
    scene = sample_scene(4, occluder="hand", size=128)
    assert scene.occluder is not None
    hidden = max(range(75), key=lambda i: scene.occluder.presence(scene.time(i)))
    assert np.isnan(opening(scene, hidden, render_frame(scene, hidden, CLOSED).image))


def test_frames_with_a_hidden_mouth_are_nan():
    scene = sample_scene(1000011, occluder="hand", size=96)
    mouths = speak(3, 2.0).mouth[:50:4]
    frames = [render_frame(scene, i * 4, mouth) for i, mouth in enumerate(mouths)]
    read = np.array([opening(scene, i * 4, frame.image) for i, frame in enumerate(frames)])
    seen = np.isfinite(read)
    assert 3 < seen.sum() < len(read)
    truth = mouth_opening(np.stack([frame.landmarks for frame in frames]))
    assert np.abs(read[seen] - truth[seen]).max() < 0.03
