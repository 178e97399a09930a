"""A shuffled order is a pure function of the seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.shuffle import ShuffledOrder


def order(sizes: list[int], batch_size: int, seed: int = 0, weights: tuple[float, ...] = ()) -> ShuffledOrder:
    """Over parts of these sizes, numbered through."""
    ends = np.cumsum(sizes)
    return ShuffledOrder(
        [np.arange(e - n, e) for n, e in zip(sizes, ends, strict=True)], batch_size, seed, weights
    )


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 2**31), start=st.integers(0, 9)
)
def test_any_step_can_be_the_first(samples, size, seed, start):
    through = order([samples], size, seed)
    everything = [through.global_batch(step) for step in range(start + 3)]
    for step in range(start, start + 3):
        assert order([samples], size, seed).global_batch(step) == everything[step]


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_sample_comes_once_per_epoch(samples, size, seed):
    drawn = order([samples], size, seed)
    stream = [number for step in range(3 * samples) for number in drawn.global_batch(step)]
    for epoch in range(3):
        assert sorted(stream[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_epochs_and_seeds_differ():
    drawn = order([50], 50)
    assert drawn.global_batch(0) != drawn.global_batch(1)
    assert drawn.global_batch(0) != order([50], 50, seed=1).global_batch(0)


def test_weights_are_shares_of_the_draws():
    weighted = order([4, 16], 20, seed=2, weights=(1, 3))
    drawn = Counter(number for step in range(8) for number in weighted.global_batch(step))
    small, large = [drawn[i] for i in range(4)], [drawn[i] for i in range(4, 20)]
    assert sum(small) == 40 and sum(large) == 120
    assert set(small) == {10} and max(large) - min(large) <= 1


def test_a_part_of_weight_zero_is_never_drawn():
    drawn = Counter(order([4, 6], 10, seed=2, weights=(0, 1)).global_batch(0))
    assert set(drawn) == {4, 5, 6, 7, 8, 9} and max(drawn.values()) == 2


@pytest.mark.parametrize(
    ("sizes", "weights"), [([0], ()), ([5, 0], ()), ([5, 5], (1,)), ([5, 5], (0, 0)), ([5, 5], (2, -1))]
)
def test_impossible_parts_are_refused(sizes, weights):
    with pytest.raises(ValueError):
        order(sizes, 4, weights=weights)
