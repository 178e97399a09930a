"""The crop rule of the X-Dub release: its published vectors, and what holds for every clip."""

import json

import numpy as np
import pytest
from golden import GOLDEN, REASON
from PIL import Image
from release_account import tbdub_squares
from safetensors.numpy import load_file

from common.face import FaceTrack
from common.face.release_crops import (
    TBDUB_SQUARES,
    moving_average,
    plan_release_crops,
    release_crop_track,
    smooth_landmarks,
)

VECTORS = GOLDEN / "xdub_boxes"


def _clips() -> list[str]:
    config = VECTORS / "config.json"
    return sorted(json.loads(config.read_text())["clips"]) if config.is_file() else []


@pytest.mark.skipif(not VECTORS.is_dir(), reason=REASON)
@pytest.mark.parametrize("name", _clips())
def test_squares_are_those_of_the_release(name: str) -> None:
    clip = json.loads((VECTORS / "config.json").read_text())["clips"][name]
    width, height = clip["width"], clip["height"]
    landmarks = load_file(VECTORS / "inputs.safetensors")[name]
    wanted = load_file(VECTORS / "outputs.safetensors")

    smoothed = smooth_landmarks(landmarks.astype(np.float64), width, height) * [width, height]
    np.testing.assert_allclose(smoothed, wanted[f"{name}.landmarks_smoothed"], atol=1e-3)
    planned = plan_release_crops(landmarks, width, height)
    assert planned.mode == int(clip["mode"])
    assert np.abs(planned.boxes - wanted[f"{name}.boxes"]).max() <= 1


def _head(frames: int, center: np.ndarray, size: float) -> np.ndarray:
    """(N, 68, 2): a round face; the eyes' inner corners and the jaw lie where the layout has them."""
    angle = np.linspace(0, np.pi, 17)
    points = np.zeros((68, 2))
    points[:17] = np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    points[17:] = np.stack([np.linspace(-0.7, 0.7, 51), np.linspace(-0.5, 0.5, 51)], axis=1)
    points[[39, 42]] = [[-0.2, -0.2], [0.2, -0.2]]
    return center[:, None, :] + size * points[None]


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_squares_lie_in_the_picture_however_short_the_clip(frames: int) -> None:
    random = np.random.default_rng(frames)
    center = np.cumsum(random.normal(0, 6, (frames, 2)), axis=0) + np.array([60, 50])
    boxes = plan_release_crops(_head(frames, center, 45.0), 160, 120).boxes
    assert boxes.shape == (frames, 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [160, 120]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_still_head_has_one_square_and_a_missing_landmark_is_refused() -> None:
    still = _head(30, np.full((30, 2), 200.0), 50.0)
    planned = plan_release_crops(still, 400, 400)
    assert planned.mode == 1 and len(np.unique(planned.boxes, axis=0)) == 1
    still[3, 20] = np.nan
    with pytest.raises(ValueError, match="every frame"):
        plan_release_crops(still, 400, 400)


@pytest.mark.parametrize("drift", [0.0, 3.0])
def test_squares_of_tbdub_reach_less_far_above_and_pass_no_filter(drift: float) -> None:
    center = np.full((40, 2), 220.0) + np.arange(40)[:, None] * [drift, 0]
    head = _head(40, center, 50.0) + np.random.default_rng(0).normal(0, 0.5, (40, 1, 2))
    planned = plan_release_crops(head, 640, 480, TBDUB_SQUARES)
    np.testing.assert_array_equal(planned.boxes, tbdub_squares(head, 640, 480))
    wide = plan_release_crops(head, 640, 480)
    assert planned.mode == wide.mode == (2 if drift else 1)
    assert (planned.boxes[:, 1] > wide.boxes[:, 1]).all()


def test_a_moving_average_covers_fewer_frames_at_the_ends() -> None:
    values = np.arange(6.0)
    np.testing.assert_allclose(moving_average(values, 5), [1.0, 1.5, 2.0, 3.0, 3.5, 4.0])


@pytest.mark.parametrize("size", [32, 64, 200])
def test_crops_are_cut_and_put_back_to_the_pixel(size: int) -> None:
    """Cut as PIL resizes the box; put back, the picture is what it was wherever it was smooth."""
    points = np.concatenate([_head(20, np.full((20, 2), 80.0), 30.0), np.zeros((20, 68, 1))], axis=-1)
    points[5:9] = np.nan
    present = np.isfinite(points).all(axis=(1, 2))
    track = FaceTrack(np.arange(20), points.astype(np.float32), np.zeros((20, 4), np.float32), present)
    crops = release_crop_track(track, 160, 160)
    assert crops.present.tolist() == [index not in range(5, 9) for index in range(20)]
    rows, columns = np.mgrid[0:160, 0:160]
    image = np.stack([rows, columns, (rows + columns) // 2], axis=-1).astype(np.uint8)
    x0, y0, x1, y1 = crops.boxes[0].tolist()
    cut = crops.extract(image, 0, size)
    wanted = Image.fromarray(image[y0:y1, x0:x1]).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cut, np.asarray(wanted))
    back = crops.paste(image, cut, np.ones((size, size)), 0)
    inside = (slice(y0 + 6, y1 - 6), slice(x0 + 6, x1 - 6))
    assert np.abs(back[inside].astype(int) - image[inside]).max() <= 2
    outside = np.ones((160, 160), bool)
    outside[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = False
    np.testing.assert_array_equal(back[outside], image[outside])
    corners = crops.landmarks(np.array([[x0 - 0.5, y0 - 0.5, 0], [x1 - 0.5, y1 - 0.5, 0]]), 0, size)
    np.testing.assert_allclose(corners[:, :2], [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-4)
    with pytest.raises(ValueError, match="no face"):
        crops.matrix(6, size)
