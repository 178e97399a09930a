"""What makes a drawn thing belong to a filmed picture: the face's skin, roundness, exposure, grain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.rendered.overlay import Layer
from common.rendered.scene import Colour, Light, Scene

# Arms, mugs and handles turn away from the viewer within so many head units of their outline.
_ROUNDING = 0.30
_RELIEF = 1.6
_GRAIN = 2.5


@dataclass(frozen=True)
class FilmLook:
    """skin: RGB 0..255 of the face as filmed; exposure: brightness of the picture's whites, 0..1."""

    skin: Colour
    exposure: float


def in_the_light_of(scene: Scene, look: FilmLook) -> Scene:
    """The scene whose hands have the face's skin once :func:`finish_layer` has exposed them."""
    red, green, blue = (value / look.exposure for value in look.skin)
    skin = (red, green, blue)
    occluder = scene.occluder
    if occluder is not None and occluder.kind == "hand":
        occluder = replace(occluder, colour=skin)
    return replace(scene, palette=replace(scene.palette, skin=skin), occluder=occluder)


def finish_layer(layer: Layer, scene: Scene, look: FilmLook, unit: float, index: int) -> Layer:
    """The layer shaded as something round, exposed like the picture and grainy; alpha stays.

    Args:
        unit: px per head unit.
        index: of the frame: each has its own grain, the same one each time.
    """
    factor = look.exposure * _shading(layer.alpha, unit, scene.light)
    noise = np.random.default_rng([scene.seed, 0x64A3, index]).standard_normal(layer.alpha.shape, np.float32)
    grain = _GRAIN * look.exposure * cv2.GaussianBlur(noise, (0, 0), 0.6)
    return replace(layer, colour=layer.colour * factor[..., None] + grain[..., None])


def _shading(alpha: NDArray[np.uint8], unit: float, light: Light) -> NDArray[np.float32]:
    """(H, W) brightness of a body that bulges out of its outline, 1 where it faces the viewer."""
    reach = _ROUNDING * unit
    inside = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    height = reach * np.sqrt(1 - (1 - np.minimum(inside / reach, 1)) ** 2)
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), max(0.5, 0.06 * unit))
    slope_y, slope_x = np.gradient(height)
    x, y, z = light.direction
    lit = (z - x * slope_x - y * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.asarray(np.clip(1 + _RELIEF * light.contrast * (lit - z), 0.35, 1.35), np.float32)
