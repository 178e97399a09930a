"""How far drawn frames can be relied on: in frames, pooled, as planes, and after augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from own_mouth_clips import Talker, drawn_talker, talker

from common.data.augment import augment_pair
from common.data.config import AugmentConfig
from common.face.mouth import LIP_SHAPE, LIP_SHAPE_UNIT
from common.own_mouths.bank import Bank
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.goal import change_to_predicted
from common.own_mouths.painting.painter import InsidePainter
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from common.own_mouths.place import DrawnFrame, FramePlacer
from common.own_mouths.plan import MouthPlanner
from common.own_mouths.planes import CONDITION_CHANNELS, condition_planes
from common.own_mouths.reliability import SURE, pooled_levels

PLAIN = OwnMouthsConfig(occluders=False, calibrate=False)


def _placer(
    clip: Talker,
    bank: Bank,
    shapes: np.ndarray,
    config: OwnMouthsConfig = PLAIN,
    painter: InsidePainter | None = None,
    apart: int = 0,
) -> FramePlacer:
    forbidden = np.abs(np.arange(len(clip))[:, None] - bank.frames[None]) < apart
    plan = MouthPlanner(bank).plan(shapes, clip.heads.angles, None, forbidden)
    return FramePlacer(clip.heads, bank, plan, config, painter=painter)


def _levels(drawn: DrawnFrame) -> np.ndarray:
    assert drawn.reliability is not None
    return drawn.reliability.over(drawn.image.shape)


def _opened(bank: Bank, gap: float) -> np.ndarray:
    shapes = bank.shapes.copy()
    shapes[:, :3] = gap / LIP_SHAPE_UNIT
    return shapes


def test_asking_changes_no_picture_and_nobody_who_does_not_ask_is_told() -> None:
    clip = talker()
    bank = clip.bank()
    placer = _placer(clip, bank, _opened(bank, 0.08))
    for i, image in enumerate(clip.frames):
        plain, told = placer(i, image), placer(i, image, reliability=True)
        np.testing.assert_array_equal(plain.image, told.image)
        assert plain.reliability is None
        # All that the mouth changes lies where it says so; only the jaw beyond is the frame's own.
        changed = (told.image != image).any(axis=-1)
        levels = _levels(told)
        assert levels.shape == image.shape[:2] and (levels[changed] < SURE).any() == changed.any()


def test_film_that_needs_no_bending_is_sure_everywhere() -> None:
    clip = talker()
    bank = clip.bank()
    placer = _placer(clip, bank, bank.shapes)
    assert min(_levels(placer(i, image, reliability=True)).min() for i, image in enumerate(clip.frames)) > 253


def test_the_farther_a_moment_is_bent_the_less_sure_is_its_mouth() -> None:
    clip = drawn_talker(np.full(12, 0.12))
    bank = clip.bank()
    found = []
    for more in (0.0, 0.02, 0.05, 0.08):
        drawn = _placer(clip, bank, _opened(bank, 0.12 + more))(3, clip.frames[3], reliability=True)
        levels = _levels(drawn)
        corner = np.rint(clip.landmarks[3, 48, :2]).astype(int)
        found.append(int(levels[corner[1], corner[0]]))
        rows, columns = (
            np.flatnonzero((levels < SURE).any(axis=1)),
            np.flatnonzero((levels < SURE).any(axis=0)),
        )
        nose, chin = clip.landmarks[3, [33, 8], 1]
        assert not len(rows) or (
            rows[0] > nose - 2 and rows[-1] < chin + 2 and len(columns) < levels.shape[1]
        )
    assert found[0] == SURE and found == sorted(found, reverse=True) and found[3] < 0.7 * SURE


@pytest.mark.parametrize("painted", [True, False], ids=["painted", "drawn"])
def test_what_no_film_shows_is_not_sure_at_all(painted: bool) -> None:
    clip = drawn_talker(np.zeros(8))
    bank = clip.bank()
    painter = InsidePainter.load(SHIPPED_PAINTER.folder()) if painted else None
    drawn = _placer(clip, bank, _opened(bank, 0.06), painter=painter)(2, clip.frames[2], reliability=True)
    levels = _levels(drawn)
    middle, corner = (np.rint(clip.landmarks[2, point, :2]).astype(int) for point in (62, 48))
    inside = levels[middle[1] - 4 : middle[1] + 6, middle[0]]
    assert inside.min() < 0.2 * SURE < levels[corner[1], corner[0]] < 0.6 * SURE


def test_what_lies_before_the_face_is_the_frames_own() -> None:
    clip = talker()
    bank = clip.bank()
    placer = _placer(clip, bank, _opened(bank, 0.08))

    def everything(roi: tuple[int, int, int, int]) -> np.ndarray:
        return np.ones((roi[3] - roi[1], roi[2] - roi[0]), np.float32)

    assert (_levels(placer(4, clip.frames[4], everything, reliability=True)) == SURE).all()
    assert (_levels(placer(4, clip.frames[4], reliability=True)) < SURE).any()


def test_the_lip_shape_is_what_a_frame_is_bent_to() -> None:
    clip = talker()
    bank = clip.bank()
    wanted = bank.shapes[::-1].copy()
    measured = _placer(clip, bank, wanted, replace(PLAIN, warp=False))
    exact, predicted = (
        _placer(clip, bank, wanted),
        _placer(clip, bank, wanted, replace(PLAIN, calibrate=True)),
    )
    for frame in range(len(clip)):
        np.testing.assert_allclose(exact.lip_shape(frame), wanted[frame], atol=1e-9)
        shown = measured.lip_shape(frame)
        change = change_to_predicted(wanted[frame] - shown)
        np.testing.assert_allclose(predicted.lip_shape(frame), shown + change, atol=1e-9)


def test_a_cell_is_as_sure_as_its_least_pixel() -> None:
    levels = np.full((5, 8, 8), SURE, np.uint8)
    levels[0, 0, 0], levels[3, 7, 7] = 40, 7
    pooled = pooled_levels(levels, 4)
    np.testing.assert_array_equal(pooled, [[[40, SURE], [SURE, SURE]], [[SURE, SURE], [SURE, 7]]])
    by_frames = pooled_levels(pooled_levels(levels, (1, 4, 4)), (4, 1, 1))
    np.testing.assert_array_equal(by_frames, pooled)


def test_planes_tell_the_shape_of_every_frame() -> None:
    """A closure of one frame is seen in the latent frame that holds it."""
    reliability = torch.randint(0, 256, (2, 3, 4, 6)).float()
    shapes = torch.randn(2, 9, len(LIP_SHAPE))
    planes = condition_planes(reliability, shapes)
    assert planes.shape == (2, CONDITION_CHANNELS, 3, 4, 6)
    torch.testing.assert_close(planes[:, 0], reliability / SURE)
    told = planes[:, 1:].unflatten(1, (4, len(LIP_SHAPE)))
    assert (told == told[..., :1, :1]).all()
    for latent in range(3):
        for place in range(4):
            frame = max(0, 4 * latent - 3 + place)
            torch.testing.assert_close(told[:, place, :, latent, 0, 0], shapes[:, frame])


def test_reliability_and_shapes_follow_the_pictures() -> None:
    frames = np.zeros((5, 32, 32, 3), np.uint8)
    levels = torch.full((2, 8, 8), 100, dtype=torch.uint8)
    levels[:, :, 0] = 30
    arrays = {"reliability": levels, "lip_shapes": torch.arange(35.0).view(5, 7)}

    def changed(**changes: object) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        config = AugmentConfig(**changes)  # type: ignore[arg-type]
        pair = augment_pair(frames, frames, torch.Generator().manual_seed(3), config)
        return pair.arrays(arrays), pair.target

    flipped, _ = changed(flip=1.0)
    assert flipped["lip_shapes"][0].tolist() == [2, 1, 0, 3, 4, 5, 6]
    assert torch.equal(flipped["reliability"], levels.flip(-1))

    occluder = AugmentConfig().occluder
    covered, seen = changed(occluder=replace(occluder, probability=1.0, range=[1.2, 1.2]))
    raised = covered["reliability"] > levels
    assert (
        not raised.all() and (covered["reliability"] >= levels).all() and covered["reliability"].max() > 180
    )
    assert torch.equal(covered["lip_shapes"], arrays["lip_shapes"])
    # A thing that covers a whole cell in all of its frames is the same in both videos.
    shown = torch.from_numpy((seen[1:] > 0).any(axis=-1).reshape(4, 8, 4, 8, 4).all(axis=(0, 2, 4)))
    assert raised[1].any() and shown[raised[1]].all()
