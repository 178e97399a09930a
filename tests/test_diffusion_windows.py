"""Windows over clips of any length: nothing lost, nothing twice, lengths that the autoencoder can take."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.diffusion.windows import WindowRule, plan_windows
from common.errors import UserError
from common.geometry import ceil_clip_length, frames_to_latents, latents_to_frames

plans = st.tuples(
    st.integers(1, 700),
    st.integers(1, 22).map(lambda k: 4 * k + 1),
    st.integers(-1, 20).map(lambda k: max(4 * k + 1, 0)),
).filter(lambda plan: plan[2] < plan[1])


@settings(deadline=None)
@given(plan=plans)
def test_every_frame_is_made_exactly_once_and_in_order(plan: tuple[int, int, int]) -> None:
    num_frames, window, overlap = plan
    windows = plan_windows(num_frames, window, overlap)
    made = np.concatenate([np.arange(w.start, w.start + w.length)[w.new] for w in windows])
    assert np.array_equal(made, np.arange(num_frames))


@settings(deadline=None)
@given(plan=plans)
def test_windows_fit_the_model_and_each_other(plan: tuple[int, int, int]) -> None:
    num_frames, window, overlap = plan
    windows = plan_windows(num_frames, window, overlap)
    assert all(w.length % 4 == 1 and w.length <= window for w in windows)
    assert all(w.valid > w.new_from for w in windows)
    for before, after in pairwise(windows):
        assert after.start + overlap == before.start + before.length
        assert after.new_from == overlap
        assert before.valid == before.length  # only the last window is padded
    assert windows[0].start == windows[0].new_from == 0
    assert windows[-1].length - windows[-1].valid <= 3
    lengths = [w.length for w in windows]
    assert max(lengths) - min(lengths) <= 4  # no short rest
    least = 1 if num_frames <= window else -(-(num_frames - overlap) // (window - overlap))
    assert len(windows) == least


@settings(deadline=None)
@given(plan=plans)
def test_indices_stay_inside_the_clip(plan: tuple[int, int, int]) -> None:
    num_frames = plan[0]
    for window in plan_windows(*plan):
        indices = window.indices()
        assert len(indices) == window.length
        assert np.array_equal(indices[: window.valid], np.arange(window.start, window.start + window.valid))
        assert (indices[window.valid :] == num_frames - 1).all()


@settings(deadline=None)
@given(plan=plans)
def test_copies_of_the_first_frame_stand_before_a_clip(plan: tuple[int, int, int]) -> None:
    num_frames, window, overlap = plan
    windows = plan_windows(num_frames, window, overlap, WindowRule.pre_rolled)
    assert len(windows) == -(-num_frames // (window - overlap))
    made = np.concatenate([w.indices()[w.new] for w in windows])
    assert np.array_equal(made, np.arange(num_frames))
    first = windows[0]
    assert first.start == -overlap and not first.indices()[: first.new_from].any()
    assert all(w.length == window and w.new_from == overlap for w in windows)
    assert all(w.indices().min() >= 0 and w.indices().max() < num_frames for w in windows)


def test_the_lengths_of_the_release_give_its_windows() -> None:
    windows = plan_windows(77 + 3 * 72)
    assert [(w.start, w.length, w.new_from) for w in windows] == [
        (0, 77, 0),
        (72, 77, 5),
        (144, 77, 5),
        (216, 77, 5),
    ]
    assert [w.motion_latents for w in windows] == [0, 2, 2, 2]
    assert [w.latent_frames for w in windows] == [20] * 4


@pytest.mark.parametrize(("frames", "window", "overlap"), [(0, 77, 5), (9, 76, 5), (9, 77, 4), (9, 5, 5)])
def test_impossible_windows_are_refused(frames: int, window: int, overlap: int) -> None:
    with pytest.raises(UserError):
        plan_windows(frames, window, overlap)


@settings(deadline=None)
@given(st.integers(1, 500))
def test_latent_frames_and_pixel_frames_agree(frames: int) -> None:
    length = ceil_clip_length(frames)
    assert frames <= length < frames + 4
    assert latents_to_frames(frames_to_latents(length)) == length


def test_a_length_between_two_latents_is_refused() -> None:
    assert latents_to_frames(0) == 0
    with pytest.raises(UserError, match="24 frames"):
        frames_to_latents(24)


@pytest.mark.parametrize("frames", [1, 2, 40, 77, 78, 82, 149, 150, 200])
def test_full_windows_are_those_of_the_release(frames: int) -> None:
    """77 frames each, 72 apart; the clip runs back and forth until the last one is full (R)."""
    windows = plan_windows(frames, 77, 5, WindowRule.full)
    assert all(window.length == 77 for window in windows)
    assert [window.start for window in windows] == [72 * i for i in range(len(windows))]
    kept = [
        index
        for window in windows
        for index in range(window.start, window.start + window.valid)[window.new_from :]
    ]
    assert kept == list(range(frames))
    there_and_back = [*range(frames), *range(frames - 2, 0, -1)] or [0]
    endless = [there_and_back[i % len(there_and_back)] for i in range(72 * len(windows) + 5)]
    for window in windows:
        assert window.indices().tolist() == endless[window.start : window.start + 77]
