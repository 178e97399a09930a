"""The occluder of a scene alone, as colour and alpha, placed on any face."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.rendered.draw.canvas import Canvas
from common.rendered.draw.occluders import away, draw_occluder
from common.rendered.draw.view import View
from common.rendered.geometry import Pose, lift
from common.rendered.scene import OccluderMotion, Scene
from common.rendered.visemes import FRAME_RATE

# Pictures of one exposure lie at most so many px apart, or a moving thing looks like several.
_STEP = 3.0
_MOST_MOMENTS = 16
# Softness of the camera, head units.
_BLUR = 0.015


@dataclass(frozen=True)
class FacePlace:
    """Where a face is: its mouth's middle (2,) px, and px from the line of the eyes to there."""

    mouth: NDArray[np.float64]
    height: float


@dataclass(frozen=True)
class Layer:
    """colour (H, W, 3) float32 0..255, straight (not multiplied by alpha); alpha (H, W) uint8, 255 covers."""

    colour: NDArray[np.float32]
    alpha: NDArray[np.uint8]


def pose_on(scene: Scene, place: FacePlace) -> Pose:
    """Of an upright head whose mouth and line of eyes are where the face's are: a similarity of the scene."""
    straight = Pose(np.eye(3), np.zeros(2), 1.0)
    flat = np.array([[0.0, 0.0], [0.0, scene.face.mouth_y]])
    eyes, mouth = straight.project(lift(flat, 0.3))[:, :2]
    unit = place.height / float(mouth[1] - eyes[1])
    return Pose(np.eye(3), np.asarray(place.mouth, np.float64) - unit * mouth, unit)


def draw_layer(scene: Scene, seconds: float, place: FacePlace, shape: tuple[int, int]) -> Layer | None:
    """The scene's occluder at a moment, before the mouth of a face; None while it is away.

    Drawn straight into the picture, so nothing is resampled; as soft as a camera's picture. scene.shutter is
    the share of a frame of 1 / FRAME_RATE s for which the camera looks.

    Args:
        scene: with an occluder.
        seconds: of the scene's clock.
        place: of the face.
        shape: height and width of the picture.
    """
    occluder = scene.occluder
    if occluder is None:
        raise ValueError("the scene has no occluder")
    pose = pose_on(scene, place)
    moments = _moments(scene, occluder, seconds, pose.unit)
    if not any(occluder.presence(moment) > 0 for moment in moments):
        return None
    # On black, what is drawn is colour times alpha, and the trace is alpha.
    painted, covered = np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32)
    light = np.ones(shape, np.float32)
    for moment in moments:
        canvas = Canvas(0, 0, np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32))
        draw_occluder(View(scene, moment * FRAME_RATE, pose, canvas, light))
        assert canvas.trace is not None
        painted += canvas.rgb / len(moments)
        covered += canvas.trace / len(moments)
    sigma = max(0.4, _BLUR * pose.unit)
    soft = cv2.GaussianBlur(np.ascontiguousarray(painted.transpose(1, 2, 0)), (0, 0), sigma)
    cover = np.asarray(cv2.GaussianBlur(covered, (0, 0), sigma), np.float32)
    alpha = np.rint(255 * np.clip(cover, 0, 1)).astype(np.uint8)
    return Layer(np.asarray(soft, np.float32) / np.maximum(cover, 1e-6)[..., None], alpha)


def _moments(scene: Scene, occluder: OccluderMotion, seconds: float, unit: float) -> list[float]:
    """Seconds at which the exposure around a moment looks: the more, the faster the thing comes or goes."""
    first, last = (max(0.0, seconds + side * scene.shutter / FRAME_RATE) for side in (-0.5, 0.5))
    way = away(occluder)[1] * abs(occluder.presence(last) - occluder.presence(first)) * unit
    count = min(_MOST_MOMENTS, 1 + round(way / _STEP))
    return [seconds] if count == 1 else np.linspace(first, last, count).tolist()


def lay_over(image: NDArray[np.uint8], layer: Layer) -> NDArray[np.uint8]:
    """The picture (H, W, 3) uint8 under the layer; where alpha is 0 the bytes are those of ``image``."""
    result = image.copy()
    where = layer.alpha > 0
    alpha = layer.alpha[where, None] / np.float32(255)
    under = image[where].astype(np.float32)
    mixed = under + alpha * (layer.colour[where] - under)
    result[where] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return result


def reaching(scene: Scene, below: float) -> Scene:
    """The scene with an occluder that comes from out of a picture that goes on ``below`` head units under
    the mouth."""
    if scene.occluder is None:
        raise ValueError("the scene has no occluder")
    # Tilted things reach less far down than their length; a thing that is away must not look over the edge.
    return replace(scene, occluder=replace(scene.occluder, further=max(0.0, 1.4 * below - 2.4)))
