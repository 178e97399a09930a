"""Pictures for looking at results."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.media import contact_sheet, side_by_side, tile

Frames = Callable[..., np.ndarray]


def test_a_contact_sheet_shows_every_row_in_order(tmp_path: Path) -> None:
    ramp = np.stack([np.full((32, 48, 3), 10 * k, np.uint8) for k in range(24)])
    path = tmp_path / "new" / "sheet.png"
    contact_sheet(
        [("ramp", ramp), ("reversed: größer", ramp[::-1]), ("short", ramp[:3])], path, columns=6, height=64
    )
    sheet = cv2.imread(str(path))
    assert sheet.shape[1] == 6 * 96
    assert sheet.shape[0] % 3 == 0
    strip = sheet.shape[0] // 3
    first = sheet[strip - 20, 48::96, 0].astype(int)
    second = sheet[2 * strip - 20, 48::96, 0].astype(int)
    assert (np.diff(first) > 0).all() and (np.diff(second) < 0).all()
    assert (sheet[-20, 3 * 96 :] == 0).all()
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def test_colours_are_not_swapped(tmp_path: Path) -> None:
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    contact_sheet([("red", red)], tmp_path / "r.png", height=32)
    assert cv2.imread(str(tmp_path / "r.png"))[-8, 8].tolist() == [0, 0, 255]


def test_side_by_side_scales_to_the_first_and_cuts_to_the_shortest(moving_frames: Frames) -> None:
    large, small = moving_frames(9, 64, 96), moving_frames(7, 33, 33)
    joined = side_by_side(large, small, labels=["source", "dubbed"])
    assert joined.shape[0] == 7 and joined.dtype == np.uint8
    assert joined.shape[1] % 2 == joined.shape[2] % 2 == 0
    assert joined.shape[2] == 96 + 64
    plain = side_by_side(large, large)
    assert (plain[:, :, :96] == large).all() and (plain[:, :, 96:] == large).all()


def test_what_does_not_fit_is_refused(tmp_path: Path, moving_frames: Frames) -> None:
    with pytest.raises(ValueError):
        tile([])
    with pytest.raises(ValueError):
        tile([moving_frames(1)[0]], labels=["a", "b"])
    with pytest.raises(ValueError):
        side_by_side()
    with pytest.raises(ValueError):
        contact_sheet([], tmp_path / "x.png")
    with pytest.raises(ValueError):
        contact_sheet([("none", moving_frames(0))], tmp_path / "x.png")
