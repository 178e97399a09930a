"""The opening of the mouth is read back from damaged pictures."""

import cv2
import numpy as np
import pytest

from stage1_generator.rendered.clips import render_clip
from stage1_generator.rendered.measure import opening_curves, opening_of
from stage1_generator.rendered.scene import sample_scene
from stage1_generator.rendered.speech import speak
from stage1_generator.rendered.visemes import CLOSED, MouthShape


def damaged(image: np.ndarray, blur: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    soft = np.clip(cv2.GaussianBlur(image, (0, 0), blur) + noise, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


@pytest.mark.parametrize(("seed", "style"), [(2, "realistic"), (1, "toon")])
def test_opening_is_read_from_blurred_frames_and_small_crops(seed, style):
    scene = sample_scene(seed, style=style, occluder="none", size=160)
    clip = render_clip(scene, speak(seed, 0.52))
    frames = [damaged(frame, 1.0) for frame in clip.frames]
    read = opening_curves(scene, [clip.frames, frames])
    assert np.corrcoef(read[0], clip.opening)[0, 1] > 0.98
    assert np.corrcoef(read[1], clip.opening)[0, 1] > 0.97
    box = clip.boxes.mean(axis=0)
    side = 1.45 * max(box[2] - box[0], box[3] - box[1])
    scale = 96 / side
    corner = (box[:2] + box[2:]) / 2 - side / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    crops = [cv2.warpAffine(cv2.GaussianBlur(f, (0, 0), 0.4 / scale), matrix, (96, 96)) for f in clip.frames]
    read = opening_curves(scene, [[damaged(crop, 0.7) for crop in crops]], [matrix] * len(crops))
    assert np.corrcoef(read[0], clip.opening)[0, 1] > 0.97


def test_closed_reads_zero_and_a_tint_does_not_matter():
    scene = sample_scene(5, occluder="none", size=128)
    shut, wide = scene.render(4, CLOSED), scene.render(4, MouthShape(open=1.0))
    assert opening_of(scene, 4, shut.image) < 0.02
    brighter = np.clip(wide.image.astype(int) + 12, 0, 255).astype(np.uint8)
    assert opening_of(scene, 4, brighter) == pytest.approx(opening_of(scene, 4, wide.image), abs=0.02)


def test_a_hidden_mouth_is_not_guessed():
    scene = sample_scene(4, occluder="hand", size=128)
    assert scene.occluder is not None
    hidden = max(range(75), key=lambda i: scene.occluder.presence(scene.time(i)))
    assert np.isnan(opening_of(scene, hidden, scene.render(hidden, CLOSED).image))
