"""Backgrounds: smooth gradients and soft shapes that a small autoencoder can code."""

from __future__ import annotations

import cv2
import numpy as np

from common.rendered.scene import Scene

MARGIN = 16


def paint_background(scene: Scene) -> np.ndarray:
    """The still background with MARGIN extra px on every side (for camera motion), (3, h, w) float32."""
    rng = np.random.default_rng([scene.seed, 0xBAC6])
    size = max(scene.size, scene.width) + 2 * MARGIN
    low, high = rng.uniform(20, 150, 3), rng.uniform(70, 235, 3)
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.7, 0.7, size, dtype=np.float32)
    ramp = np.clip(0.5 + axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle), 0, 1)[..., None]
    image = (low + (high - low) * ramp).astype(np.float32)
    drawn = scene.style.shading != "smooth"
    calm = 0.0 if drawn else float(rng.uniform(0.3, 0.7))
    painter = {"shapes": _shapes, "room": _room, "window": _window, "bokeh": _bokeh}.get(scene.background)
    if painter is not None:
        painter(image, rng, size)
    # Real rooms are less colourful than random numbers.
    image += (image.mean(axis=-1, keepdims=True) - image) * calm
    blur = size * (0.004 if drawn else float(rng.uniform(0.010, 0.030)))
    return np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), blur).transpose(2, 0, 1))


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    r, g, b = rng.uniform(20, 235, 3)
    return float(r), float(g), float(b)


def _shapes(image: np.ndarray, rng: np.random.Generator, size: int) -> None:
    for _ in range(int(rng.integers(3, 8))):
        x, y = (int(v) for v in rng.uniform(0, size, 2))
        radius = int(rng.uniform(0.08, 0.3) * size)
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), radius, _colour(rng), -1)
        else:
            points = cv2.boxPoints(((x, y), (radius * 2, radius), float(rng.uniform(0, 180)))).astype(
                np.int32
            )
            cv2.fillPoly(image, [points], _colour(rng))


def _room(image: np.ndarray, rng: np.random.Generator, size: int) -> None:
    """A wall with shelves or pictures."""
    rows = int(rng.integers(2, 4))
    for row in range(rows):
        y = int((row + rng.uniform(0.5, 0.8)) * size / rows)
        cv2.rectangle(image, (0, y), (size, y + size // 40), _colour(rng), -1)
        x = int(rng.uniform(0, 0.1) * size)
        while x < size:
            width = int(rng.uniform(0.05, 0.14) * size)
            if rng.random() < 0.8:
                cv2.rectangle(
                    image, (x, y - int(rng.uniform(0.08, 0.24) * size)), (x + width, y), _colour(rng), -1
                )
            x += width + int(rng.uniform(0.0, 0.08) * size)


def _window(image: np.ndarray, rng: np.random.Generator, size: int) -> None:
    left, top = int(rng.uniform(-0.1, 0.5) * size), int(rng.uniform(0.0, 0.2) * size)
    width, height = int(rng.uniform(0.35, 0.6) * size), int(rng.uniform(0.4, 0.7) * size)
    cv2.rectangle(image, (left, top), (left + width, top + height), (225, 235, 245), -1)
    cv2.rectangle(image, (left, top + height * 2 // 3), (left + width, top + height), (150, 175, 140), -1)
    frame = _colour(rng)
    for share in (0.0, 0.5, 1.0):
        x = left + int(share * width)
        cv2.line(image, (x, top), (x, top + height), frame, max(2, size // 40))
    for y in (top, top + height):
        cv2.line(image, (left, y), (left + width, y), frame, max(2, size // 40))


def _bokeh(image: np.ndarray, rng: np.random.Generator, size: int) -> None:
    image *= 0.6
    for _ in range(int(rng.integers(6, 14))):
        x, y = (int(v) for v in rng.uniform(0, size, 2))
        layer = image.copy()
        cv2.circle(
            layer, (x, y), int(rng.uniform(0.04, 0.11) * size), tuple(v * 0.5 + 120 for v in _colour(rng)), -1
        )
        share = float(rng.uniform(0.3, 0.7))
        image += (layer - image) * share
