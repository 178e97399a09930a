"""The order of reading is a pure function of the seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from common.data.sampler import StatelessSampler


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 40),
    per_rank=st.integers(1, 6),
    world=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    start=st.integers(0, 9),
)
def test_ranks_share_the_same_global_batch_at_any_step(samples, per_rank, world, seed, start):
    size = per_rank * world
    alone = StatelessSampler(samples, size, seed=seed)
    everything = list(islice(alone, start + 3))
    for step in range(start, start + 3):
        ranks = [StatelessSampler(samples, size, world, rank, seed, start_step=step) for rank in range(world)]
        joined = [row for rank in ranks for row in next(iter(rank))]
        assert joined == everything[step] == alone.global_batch(step)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_sample_comes_once_per_epoch(samples, size, seed):
    batches = islice(StatelessSampler(samples, size, seed=seed), 3 * samples)
    stream = [index for batch in batches for index in batch]
    for epoch in range(3):
        assert sorted(stream[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_micro_batches_are_cut_from_the_same_rows():
    whole = list(islice(StatelessSampler(11, 8, 2, 1, seed=3), 4))
    micro = list(islice(StatelessSampler(11, 8, 2, 1, seed=3, micro_batch_size=2), 8))
    assert [row for batch in micro for row in batch] == [row for batch in whole for row in batch]
    assert {len(batch) for batch in micro} == {2}


def test_epochs_and_seeds_differ():
    sampler = StatelessSampler(50, 50, seed=0)
    assert sampler.global_batch(0) != sampler.global_batch(1)
    assert sampler.global_batch(0) != StatelessSampler(50, 50, seed=1).global_batch(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_workers_do_not_change_the_order(workers):
    loader = DataLoader(list(range(13)), batch_sampler=StatelessSampler(13, 4, seed=5), num_workers=workers)
    read = [batch.tolist() for batch in islice(loader, 6)]
    assert read == [StatelessSampler(13, 4, seed=5).global_batch(step) for step in range(6)]


def test_weights_are_shares_of_the_draws():
    sampler = StatelessSampler([4, 16], 20, seed=2, weights=[1, 3])
    drawn = Counter(index for step in range(8) for index in sampler.global_batch(step))
    small, large = [drawn[i] for i in range(4)], [drawn[i] for i in range(4, 20)]
    assert sum(small) == 40 and sum(large) == 120
    assert set(small) == {10} and max(large) - min(large) <= 1


def test_a_part_of_weight_zero_is_never_drawn():
    sampler = StatelessSampler([4, 6], 10, seed=2, weights=[0, 1])
    drawn = Counter(sampler.global_batch(0))
    assert set(drawn) == {4, 5, 6, 7, 8, 9} and max(drawn.values()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_samples": 0, "batch_size": 1},
        {"num_samples": 5, "batch_size": 3, "world": 2},
        {"num_samples": 5, "batch_size": 4, "world": 2, "rank": 2},
        {"num_samples": 5, "batch_size": 4, "micro_batch_size": 3},
        {"num_samples": [5, 5], "batch_size": 4, "weights": [1]},
    ],
)
def test_impossible_splits_are_refused(arguments):
    with pytest.raises(ValueError):
        StatelessSampler(**arguments)
