"""Edges that a dub must not have: in space around a patch, in time where windows meet."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from film_toys import COUNT, Film, dubbed_clip, film, paste_mouth, talk

from evaluation.metrics.patch import PatchEdge, step_across
from evaluation.metrics.seams import SeamJump, jumps, seam_excess


@pytest.fixture(scope="module")
def source() -> Film:
    return film(talk())


@pytest.fixture(scope="module")
def dub(source: Film) -> Film:
    return paste_mouth(source, film(talk(phase=2.0)))


def edge(source: Film, made: Film) -> float:
    return PatchEdge()(dubbed_clip(source, made))["patch_edge"]


def patched(made: Film, draw: Callable[[np.ndarray, tuple[int, int]], object], level: float = 15.0) -> Film:
    """``made``, brighter where ``draw`` paints 1s on a canvas around the middle of the mouth."""

    def change(frame: np.ndarray, i: int) -> np.ndarray:
        canvas = np.zeros(frame.shape[:2], np.float32)
        x, y = made.landmarks[i, 48:60, :2].mean(axis=0).round().astype(int)
        draw(canvas, (int(x), int(y)))
        return frame + level * canvas[..., None]

    return made.edit(change)


def box(canvas: np.ndarray, at: tuple[int, int]) -> None:
    canvas[at[1] - 24 : at[1] + 24, at[0] - 26 : at[0] + 26] = 1


def test_a_pasted_box_is_found(source, dub):
    clean = edge(source, dub)
    assert clean < 0.5
    assert edge(source, patched(dub, box)) > max(2.0, 5 * clean)
    assert edge(source, patched(dub, box)) > 1.5 * edge(source, patched(dub, box, level=7.0))


def test_so_are_a_turned_box_and_an_ellipse(source, dub):
    def turned(canvas: np.ndarray, at: tuple[int, int]) -> None:
        corners = cv2.boxPoints((at, (52, 48), 12.0))
        cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 1)

    def ellipse(canvas: np.ndarray, at: tuple[int, int]) -> None:
        cv2.ellipse(canvas, at, (26, 24), 0, 0, 360, 1, -1)

    for shape in (turned, ellipse):
        assert edge(source, patched(dub, shape)) > 1.0


def test_what_is_no_patch_is_not_found(source, dub):
    still = Film(source.frames[:1].repeat(COUNT, 0), source.landmarks)
    for made in (
        source,
        dub.shifted(3),
        dub.edit(lambda frame, i: cv2.GaussianBlur(frame, (0, 0), 1.0)),
        dub.edit(lambda frame, i: frame + np.array([0.6, 0.2, -0.3]) * i),
        paste_mouth(source, still),
    ):
        assert edge(source, made) < 0.7


def test_a_feathered_patch_is_less_of_one(source, dub):
    def soft(canvas: np.ndarray, at: tuple[int, int]) -> None:
        box(canvas, at)
        canvas[:] = cv2.GaussianBlur(canvas, (0, 0), 6.0)

    assert edge(source, patched(dub, soft)) < 0.4 * edge(source, patched(dub, box))


def test_a_step_is_measured_and_a_ramp_is_not():
    picture = np.zeros((64, 64, 1), np.float32)
    picture[32:] = 7
    assert step_across(picture).max() == pytest.approx(7, abs=1e-4)
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 64, 1))
    assert np.abs(step_across(ramp.copy())[10:-10]).max() == pytest.approx(0, abs=1e-4)


# Seams


def jump(source: Film, made: Film, seams: tuple[int, ...]) -> float:
    return SeamJump()(dubbed_clip(source, made, seams=seams))["seam_jump"]


def test_a_jump_is_found_at_its_seam_and_nowhere_else(source, dub):
    stepped = dub.edit(lambda frame, i: frame + 4 * (i >= 12) - 4 * (i >= 24))
    assert jump(source, stepped, (12, 24)) == pytest.approx(4, abs=0.7)
    assert jump(source, stepped, (6, 18)) < 0.3
    assert jump(source, stepped, (12, 18)) == pytest.approx(2, abs=0.5)


def test_without_a_jump_there_is_no_seam(source, dub):
    rng = np.random.default_rng(0)
    for made in (
        source,
        dub,
        dub.shifted(3),
        dub.edit(lambda frame, i: frame + 0.5 * i),
        dub.edit(lambda frame, i: frame + rng.normal(0, 3, frame.shape)),
    ):
        assert abs(jump(source, made, (12, 24))) < 0.3


def test_clips_without_seams_are_left_out(source, dub):
    assert SeamJump()(dubbed_clip(source, dub)) == {}
    assert SeamJump()(dubbed_clip(source, dub, seams=(0,))) == {}


def test_a_step_of_h_is_a_jump_of_h():
    clip = np.full((8, 16, 16, 3), 100, np.uint8)
    stepped = clip.copy()
    stepped[4:] += 6
    found = jumps(stepped, clip, np.ones((8, 16, 16), bool))
    np.testing.assert_allclose(found, [np.nan, np.nan, 0, 3, 6, 3, 0, np.nan])
    assert seam_excess(np.array([0.0] * 9 + [5.0] + [0.0] * 9), [9]) == 5.0
    assert seam_excess(found, [4]) is None
