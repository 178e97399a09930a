"""Colour correction and blending of edited crops."""

from __future__ import annotations

import numpy as np
import pytest
from dub_clips import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from stage2_dubber.dub.compositing.blending import blend_seam, border_alpha
from stage2_dubber.dub.editing.colour import match_colours


def _frames(count: int = 2) -> np.ndarray:
    return np.stack([picture(index, 64, 64) for index in range(count)])


def test_a_colour_drift_is_removed() -> None:
    source = _frames()
    drifted = np.clip(source * np.array([1.04, 0.97, 1.0]) + np.array([4.0, -3.0, 5.0]), 0, 255).astype(
        np.uint8
    )
    assert np.abs(drifted.astype(int) - source).mean() > 2
    assert np.abs(match_colours(drifted, source).astype(int) - source).mean() < 0.7


def test_what_was_edited_on_purpose_does_not_pull_the_colours() -> None:
    source = _frames()
    edited = source.copy()
    edited[:, 20:50, 20:50] = (250, 10, 10)
    np.testing.assert_array_equal(match_colours(edited, source), edited)


def test_a_frame_that_is_all_new_is_left_alone() -> None:
    source = _frames()
    edited = 255 - source
    edited[np.abs(edited.astype(int) - source) < 60] = 255
    edited = np.where(np.abs(edited.astype(int) - source).mean(-1, keepdims=True) < 40, 255, edited).astype(
        np.uint8
    )
    np.testing.assert_array_equal(match_colours(edited, source), edited)


def test_every_frame_is_measured_by_itself() -> None:
    source = _frames(2)
    drifted = source.astype(int)
    drifted[1] += 8
    drifted = np.clip(drifted, 0, 255).astype(np.uint8)
    both = match_colours(drifted, source)
    np.testing.assert_array_equal(both[:1], match_colours(drifted[:1], source[:1]))
    np.testing.assert_array_equal(both[0], source[0])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must both be"):
        match_colours(_frames(1), _frames(2))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(32, 200), share=st.floats(0.02, 0.2))
def test_the_border_is_invisible_at_the_edge_and_full_inside(size: int, share: float) -> None:
    alpha = border_alpha(size, share)
    assert alpha.shape == (size, size)
    assert alpha.min() == 0 and alpha.max() <= 1
    edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert (edge == 0).all()
    inner = max(2, round(size * share)) + 1
    assert (alpha[inner:-inner, inner:-inner] > 0.999).all()
    row = alpha[size // 2, : size // 2]
    assert (np.diff(row) >= -1e-6).all(), "the border must only rise towards the middle"
    np.testing.assert_allclose(alpha, alpha.T, atol=1e-6)
    np.testing.assert_allclose(alpha, alpha[::-1, ::-1], atol=1e-6)


def test_a_border_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        border_alpha(6)
    with pytest.raises(ValueError, match="share"):
        border_alpha(64, 0.5)


def test_the_seam_moves_from_one_window_to_the_next() -> None:
    before, after = np.full((5, 4, 4, 3), 60, np.uint8), np.full((5, 4, 4, 3), 120, np.uint8)
    levels = blend_seam(before, after)[:, 0, 0, 0]
    np.testing.assert_array_equal(levels, [70, 80, 90, 100, 110])
