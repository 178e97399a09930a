"""Where an edited crop is seen: the same region whatever the size of the crop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stage2_dubber.dub.compositing.blending import CHANGE_MEMORY, CHANGE_RANGE, ChangeAlpha


def mouth(size: int, opened: float) -> np.ndarray:
    """A change of an eighth of the face, with fine detail."""
    y, x = np.mgrid[0:size, 0:size] / size
    shape = np.exp(-((((x - 0.5) / 0.12) ** 2 + ((y - 0.7) / opened) ** 2) ** 2))
    values = shape * (60 + 30 * np.sin(200 * x))
    return (values[..., None] * [-1.0, -0.8, -0.7]).astype(np.float32)


def plain(changes: list[np.ndarray]) -> np.ndarray:
    """The opacity after these changes, found at every pixel."""
    size = len(changes[0])
    low, high = CHANGE_RANGE
    reach = 2 * round(size / 16) + 1
    last = np.zeros((size, size))
    for change in changes:
        mean = np.abs(cv2.GaussianBlur(change, (0, 0), size / 48, borderType=cv2.BORDER_REPLICATE)).mean(
            axis=-1
        )
        ramp = np.clip((mean / 255 - low) / (high - low), 0, 1)
        wide = cv2.dilate(ramp, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        faded = np.where(last * CHANGE_MEMORY < 1 / 255, 0, last * CHANGE_MEMORY)
        wide = cv2.GaussianBlur(wide, (0, 0), size / 48, borderType=cv2.BORDER_REPLICATE)
        last = np.maximum(wide, faded)
    return last


@pytest.mark.parametrize("size", [96, 128, 200, 256, 512])
def test_large_crops_need_no_finer_opacity(size: int) -> None:
    """What reaches the frame is the same to a grey level."""
    alpha, changes = ChangeAlpha(size), [mouth(size, 0.03 + 0.02 * moment) for moment in range(3)]
    found = [alpha(change) for change in changes][-1]
    off = np.abs(found - plain(changes))
    assert found.shape == (size, size) and found.max() > 0.99
    assert off.max() < (1e-5 if size <= 128 else 0.06)
    assert (off[..., None] * np.abs(changes[-1])).max() < 1


def test_what_an_edit_leaves_alone_for_a_while_is_the_sources() -> None:
    alpha, size = ChangeAlpha(256), 256
    assert (alpha(mouth(size, 0.05))[:40] == 0).all()
    for _ in range(40):
        last = alpha(np.zeros((size, size, 3), np.float32))
    assert (last == 0).all()
