"""One frame from scene, time and mouth: the layers in order."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from common.rendered.draw.background import MARGIN, paint_background
from common.rendered.draw.canvas import Canvas
from common.rendered.draw.creature import draw_creature_ears, draw_muzzle, draw_whiskers
from common.rendered.draw.eyes import draw_brows, draw_eyes, draw_glasses
from common.rendered.draw.hair import draw_back_hair, draw_front_hair
from common.rendered.draw.head import (
    draw_beard,
    draw_body,
    draw_ears,
    draw_face,
    draw_moustache,
    draw_nose,
)
from common.rendered.draw.mouth import draw_mouth
from common.rendered.draw.occluders import draw_occluder
from common.rendered.draw.shading import light_map, skin_paint
from common.rendered.draw.solid import (
    draw_on_visible_side,
    draw_side,
    draw_solid_face,
    draw_solid_nose,
)
from common.rendered.draw.view import View
from common.rendered.geometry import (
    MouthGeometry,
    brow_line,
    head_landmarks,
    jaw_outline,
    mirror,
    mouth_geometry,
)
from common.rendered.motion import blink_amount
from common.rendered.scene import Scene
from common.rendered.visemes import MouthShape

Window = tuple[int, int, int, int]
# Moments of an exposure besides its middle, as shares of the time that the shutter is open.
_EXPOSURE = (-0.5, -0.25, 0.25, 0.5)


@dataclass(frozen=True)
class RenderedFrame:
    """One frame with its truth.

    image (H, W, 3) uint8 RGB. landmarks (68, 3) float32 px in iBUG order (z: smaller = nearer).
    occluder (H, W) uint8: coverage 0..255 of what lies in front of the face. box (4,) float32 x0, y0, x1, y1:
    brows to chin of the closed mouth, so that it does not depend on the speech.
    """

    image: np.ndarray
    landmarks: np.ndarray
    occluder: np.ndarray
    box: np.ndarray


def _still(scene: Scene, name: str) -> np.ndarray:
    """Pictures that all frames of a scene share, made once."""
    if name not in scene._cache:
        size = scene.size
        if name == "background":
            scene._cache[name] = paint_background(scene)
        elif name == "grade":
            across = np.linspace(-1, 1, scene.width, dtype=np.float32)
            down = np.linspace(-1, 1, size, dtype=np.float32)
            vignette = 1.0 - 0.10 * scene.style.detail * (across[None] ** 2 + down[:, None] ** 2)
            scene._cache[name] = np.asarray(scene.light.tint, dtype=np.float32)[:, None, None] * vignette
        else:
            rng = np.random.default_rng([scene.seed, 0x64A1])
            noise = rng.standard_normal((size + 64, scene.width + 64)) * scene.style.grain
            scene._cache[name] = noise.astype(np.float32)
    return scene._cache[name]


def _backdrop(scene: Scene, frame_index: float, window: Window) -> np.ndarray:
    """The background's part in the window, moved against the camera."""
    x0, y0, w, h = window
    image = _still(scene, "background")
    time = scene.time(frame_index)
    dx, dy = scene.motion.camera_x(time) * scene.size, scene.motion.camera_y(time) * scene.size
    if not any(scene.motion.camera_x.amplitudes):
        return image[:, y0 + MARGIN : y0 + MARGIN + h, x0 + MARGIN : x0 + MARGIN + w].copy()
    shift = np.array([[1, 0, MARGIN + x0 - 0.6 * dx], [0, 1, MARGIN + y0 - 0.6 * dy]], dtype=np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    planes = [cv2.warpAffine(p, shift, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE) for p in image]
    return np.stack(planes)


def open_view(scene: Scene, frame_index: float, window: Window) -> View:
    """A view with everything behind the face already drawn."""
    canvas = Canvas(window[0], window[1], _backdrop(scene, frame_index, window))
    if scene.guest is not None:
        beside, shape = _behind_face(scene.guest.scene, frame_index, canvas), scene.guest.mouth(frame_index)
        draw_head(beside, mouth_geometry(beside.scene.face, shape), shape)
    return _behind_face(scene, frame_index, canvas)


def _behind_face(scene: Scene, frame_index: float, canvas: Canvas) -> View:
    """A view of the scene's person on this canvas, with body and ears drawn."""
    pose = scene.pose(frame_index)
    view = View(scene, frame_index, pose, canvas, light_map(scene, pose, canvas))
    draw_back_hair(view)
    draw_body(view)
    if scene.creature is not None:
        draw_creature_ears(view)
    elif scene.hair_style != "scarf" and not scene.solid:
        draw_ears(view)
    return view


def draw_head(view: View, mouth: MouthGeometry, shape: MouthShape) -> None:
    """The face and all that is fixed to it."""
    scene = view.scene
    draw_lower_face(view, mouth, shape)

    def eyes_and_brows() -> None:
        draw_eyes(view)
        draw_brows(view, scene.motion.brow(scene.time(view.frame_index)))

    if scene.solid:
        draw_on_visible_side(view, mouth, eyes_and_brows)
        draw_solid_nose(view, skin_paint(view, mouth, shape))  # again: it hides a part of the farther eye
        draw_mouth(view, mouth, shape)
        draw_side(view)
    else:
        eyes_and_brows()
        draw_front_hair(view)
    draw_glasses(view)


def draw_lower_face(view: View, mouth: MouthGeometry, shape: MouthShape) -> None:
    """Skin, beard, nose and mouth: all that is seen in the region of the lips."""
    skin = skin_paint(view, mouth, shape)
    if view.scene.solid:
        draw_solid_face(view, mouth, skin)
    else:
        draw_face(view, mouth, skin)
    draw_beard(view, mouth)
    if view.scene.creature is not None:
        draw_muzzle(view, mouth)
    elif view.scene.solid:
        draw_solid_nose(view, skin)
    else:
        draw_nose(view)
    draw_mouth(view, mouth, shape)
    draw_moustache(view, mouth)
    if view.scene.creature is not None:
        draw_whiskers(view)


def finish(view: View, grain: bool = True) -> np.ndarray:
    """Colour of the light, vignette and grain; the window as (h, w, 3) uint8."""
    scene, canvas = view.scene, view.canvas
    h, w = canvas.shape
    rows, columns = slice(canvas.y0, canvas.y0 + h), slice(canvas.x0, canvas.x0 + w)
    image = canvas.rgb * _still(scene, "grade")[:, rows, columns]
    if scene.lighting is not None:
        field = scene.lighting.field(scene.time(view.frame_index), scene.size, scene.width)
        image *= field[:, rows, columns]
    if grain and scene.style.grain > 0:
        oy, ox = np.random.default_rng([scene.seed, 0x64A2, round(view.frame_index)]).integers(0, 64, 2)
        image += _still(scene, "noise")[oy : oy + scene.size, ox : ox + scene.width][rows, columns]
    image += 0.5
    np.clip(image, 0, 255, out=image)
    merged = cv2.merge([np.ascontiguousarray(plane) for plane in image.astype(np.uint8)])
    return np.asarray(merged, dtype=np.uint8)


def landmarks_of(scene: Scene, frame_index: int, shape: MouthShape) -> np.ndarray:
    """The 68 true points of a frame in px, (68, 3) float32."""
    time = scene.time(frame_index)
    mouth = mouth_geometry(scene.face, shape)
    points = head_landmarks(scene.face, mouth, blink_amount(scene.seed, time), scene.motion.brow(time))
    return scene.pose(frame_index).project(points).astype(np.float32)


def _box(view: View) -> np.ndarray:
    face, brow = view.scene.face, view.scene.motion.brow(view.scene.time(view.frame_index))
    brows = brow_line(face, brow)
    points = view.solid(np.concatenate([jaw_outline(face, 0.0), brows, mirror(brows)]))
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def _drawn(scene: Scene, frame_index: float, window: Window, mouth: MouthShape) -> View:
    """Everything that is seen at one moment; the canvas's trace holds the occluder."""
    view = open_view(scene, frame_index, window)
    draw_head(view, mouth_geometry(scene.face, mouth), mouth)
    view.canvas.trace = np.zeros(view.canvas.shape, np.float32)
    draw_occluder(view)
    return view


def render_frame(scene: Scene, frame_index: int, mouth: MouthShape) -> RenderedFrame:
    """Draw frame `frame_index` with the mouth in the given shape: a pure function of its arguments."""
    window = (0, 0, scene.width, scene.size)
    view = _drawn(scene, frame_index, window, mouth)
    assert view.canvas.trace is not None
    if scene.shutter > 0:
        moments = [max(0.0, frame_index + scene.shutter * share) for share in _EXPOSURE]
        for other in (_drawn(scene, moment, window, mouth).canvas for moment in moments):
            view.canvas.rgb += other.rgb
            view.canvas.trace += other.trace
        view.canvas.rgb /= len(moments) + 1
        view.canvas.trace /= len(moments) + 1
    occluder = np.round(view.canvas.trace * 255).astype(np.uint8)
    return RenderedFrame(finish(view), landmarks_of(scene, frame_index, mouth), occluder, _box(view))
