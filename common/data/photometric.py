"""Changes of single frames: light, colour, blur, compression, noise, shift.

A change is a function of (frame number, picture); pictures are (S, S, 3) float32 RGB from 0 to 255.
Everything random in it is drawn when it is made, so that it does the same to both members of a pair.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Change = Callable[[int, Picture], Picture]

DISPLAY_GAMMA = 2.2
"""Display values are raised to about this power to become light."""

# Rows and columns of random values from which the field of light is interpolated.
_FIELD = 3
# Frames from one random field of light to the next.
_FIELD_FRAMES = 25
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def vary_light(rng: np.random.Generator, stops: float, frames: int) -> Change:
    """Gain that varies smoothly over the picture and in time; ``stops`` is its deviation."""
    keys = -(-frames // _FIELD_FRAMES) + 2
    level = rng.normal(0, stops, (1, 1, 1, 1)) + rng.normal(0, stops / 4, (keys, 1, 1, 1))
    place = rng.normal(0, stops, (1, _FIELD, _FIELD, 1)) + rng.normal(0, stops / 3, (keys, _FIELD, _FIELD, 1))
    tint = rng.normal(0, stops / 8, (1, 1, 1, 3))
    fields = (0.5 * level + 0.7 * place + tint).astype(np.float32)

    def change(number: int, picture: Picture) -> Picture:
        key, share = divmod(number / _FIELD_FRAMES, 1.0)
        soft = share * share * (3 - 2 * share)
        field = fields[int(key)] * (1 - soft) + fields[int(key) + 1] * soft
        height, width = picture.shape[:2]
        whole = cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(picture * np.exp2(whole / DISPLAY_GAMMA), np.float32)

    return change


def recolour(rng: np.random.Generator, strength: float) -> Change:
    """Gain, gamma, saturation and white balance, each off by about ``strength``; constant in time."""
    gain, gamma, saturation = np.exp(rng.normal(0, strength, 3))
    balance = np.exp(rng.normal(0, strength / 2, 3)).astype(np.float32)

    def change(number: int, picture: Picture) -> Picture:
        shown = 255 * (picture.clip(0, 255) / 255) ** np.float32(gamma)
        grey = (shown @ _GREY)[..., None]
        return np.asarray((grey + (shown - grey) * saturation) * balance * gain, np.float32)

    return change


def blur(deviation: float) -> Change:
    """Gaussian of ``deviation`` pixels, reaching three deviations (:func:`blur_reach`)."""
    size = 2 * blur_reach(deviation) + 1

    def change(number: int, picture: Picture) -> Picture:
        return np.asarray(cv2.GaussianBlur(picture, (size, size), max(deviation, 1e-3)), np.float32)

    return change


def blur_reach(deviation: float) -> int:
    """Pixels to each side that one pixel is mixed from."""
    return max(1, round(3 * deviation))


def compress(quality: float) -> Change:
    """One round of JPEG. Blocks are independent, so that it reaches 16 pixels at most."""
    options = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]

    def change(number: int, picture: Picture) -> Picture:
        done, data = cv2.imencode(".jpg", to_bytes(picture)[..., ::-1], options)
        if not done:
            raise RuntimeError("OpenCV cannot write JPEG")
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)

    return change


def add_noise(rng: np.random.Generator, deviation: float) -> Change:
    """Gaussian noise of ``deviation`` levels, new in every frame."""
    seed = int(rng.integers(1 << 62))

    def change(number: int, picture: Picture) -> Picture:
        noise = np.random.default_rng([seed, number]).standard_normal(picture.shape, np.float32)
        return np.asarray(picture + noise * np.float32(deviation), np.float32)

    return change


def shift(rng: np.random.Generator, pixels: float) -> Change:
    """Move the picture by ``pixels`` (a fraction, mostly) in a random direction; the border is repeated."""
    angle = rng.uniform(0, 2 * np.pi)
    moved = np.array([[1, 0, pixels * np.cos(angle)], [0, 1, pixels * np.sin(angle)]], np.float32)

    def change(number: int, picture: Picture) -> Picture:
        size = picture.shape[1], picture.shape[0]
        made = cv2.warpAffine(picture, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(made, np.float32)

    return change


def to_bytes(picture: Picture) -> NDArray[np.uint8]:
    """Rounded and clipped to what a frame can hold."""
    return np.rint(picture).clip(0, 255).astype(np.uint8)
