"""The orders of reading are pure functions of the step, whoever asks: streaming lanes and buckets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from training_toys import toy_vae, write_sized_pairs

from common.data.buckets import BucketOrder, bucket_of, bucket_parts
from common.data.config import FlowDataConfig
from common.data.dataset import ShardDataset
from common.data.order import build_order
from common.data.shuffle import ShuffledOrder
from common.data.stream import StreamOrder
from common.data.writer import ShardWriter
from common.errors import UserError
from common.training.draws import DrawSampler

SHARDS = st.lists(st.integers(1, 7), min_size=1, max_size=8)


def _shards(sizes: list[int]) -> list[np.ndarray]:
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


@settings(max_examples=80, deadline=None)
@given(sizes=SHARDS, data=st.data(), seed=st.integers(0, 2**31))
def test_an_epoch_has_every_sample_at_most_once_and_leaves_out_less_than_a_batch(sizes, data, seed):
    total = sum(sizes)
    batch = data.draw(st.integers(1, total))
    order = StreamOrder([_shards(sizes)], batch, seed)
    steps = total // batch
    for epoch in range(3):
        read = [n for step in range(steps) for n in order.global_batch(epoch * steps + step)]
        assert len(set(read)) == len(read) == steps * batch > total - batch
        assert set(read) <= set(range(total))


@settings(max_examples=60, deadline=None)
@given(sizes=SHARDS, data=st.data(), seed=st.integers(0, 99), start=st.integers(0, 30))
def test_any_step_can_be_the_first(sizes, data, seed, start):
    batch = data.draw(st.integers(1, sum(sizes)))
    whole = StreamOrder([_shards(sizes)], batch, seed)
    read = [whole.global_batch(step) for step in range(start + 3)]
    again = StreamOrder([_shards(sizes)], batch, seed)
    assert [again.global_batch(step) for step in (start, start + 2, start + 1)] == [
        read[step] for step in (start, start + 2, start + 1)
    ]


@settings(max_examples=60, deadline=None)
@given(
    sizes=SHARDS,
    rows=st.integers(1, 2),
    micro=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
    start=st.integers(0, 9),
)
def test_processes_share_one_batch_without_overlap(sizes, rows, micro, seed, start):
    batch = 4 * rows
    sizes = [*sizes, batch]

    def read(world: int) -> list[list[int]]:
        per_rank = []
        for rank in range(world):
            order = StreamOrder([_shards(sizes)], batch, seed)
            micros = iter(DrawSampler(order, batch, min(micro, batch // world), world, rank, start))
            draws = []
            while len(draws) < 3 * batch // world:
                draws += next(micros)
            assert [draw.step for draw in draws[:: batch // world]] == [start, start + 1, start + 2]
            per_rank.append([draw.number for draw in draws])
        rows = [np.array(numbers).reshape(3, -1) for numbers in per_rank]
        return np.concatenate(rows, axis=1).tolist()

    alone = read(1)
    assert read(2) == alone and read(4) == alone


@settings(max_examples=60, deadline=None)
@given(shards=st.integers(1, 30), size=st.integers(2, 9), lanes=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_rank_reads_its_own_contiguous_share_of_the_shards(shards, size, lanes, seed):
    world, total = 4, shards * size
    batch = lanes * world
    if total < batch:
        return
    order = StreamOrder([_shards([size] * shards)], batch, seed)
    steps = total // batch
    share = lanes * steps
    epoch = np.array([order.global_batch(step) for step in range(steps)])
    for rank in range(world):
        mine = epoch[:, rank * lanes : (rank + 1) * lanes]
        touched = np.unique(mine // size)
        assert len(touched) <= -(-share // size) + 1
        for lane in mine.T:
            # A lane leaves a shard for good before it opens the next.
            visits = 1 + np.count_nonzero(np.diff(lane // size))
            assert visits == len(np.unique(lane // size)) <= -(-steps // size) + 1


def test_epochs_and_seeds_shuffle_shards_and_samples():
    shards = _shards([8] * 6)
    first, other = StreamOrder([shards], 2, seed=0), StreamOrder([shards], 2, seed=1)
    epochs = [[first.global_batch(e * 24 + k) for k in range(24)] for e in range(2)]
    assert epochs[0] != epochs[1] and epochs[0] != [other.global_batch(k) for k in range(24)]
    lane = [row[0] for row in epochs[0][:8]]
    assert len({n // 8 for n in lane}) == 1 and lane != sorted(lane)


@settings(max_examples=40, deadline=None)
@given(
    small=SHARDS, large=SHARDS, share=st.floats(0.05, 0.95), batch=st.integers(1, 2), seed=st.integers(0, 99)
)
def test_weights_are_shares_of_the_stream(small, large, share, batch, seed):
    parts = [_shards(small), [shard + sum(small) for shard in _shards(large)]]
    total = sum(small) + sum(large)
    order = StreamOrder(parts, batch, seed, [share, 1 - share])
    steps, epochs = total // batch, 4
    drawn = Counter(n for step in range(steps * epochs) for n in order.global_batch(step))
    first = sum(drawn[n] for n in range(sum(small)))
    # Rounded once per epoch; what does not fill a batch may be missing besides.
    assert abs(first - epochs * share * total) <= epochs * (1 + total % batch)
    counts = [drawn[n] for n in range(sum(small))]
    assert max(counts) - min(counts) <= 1 + epochs * (total % batch)


@pytest.mark.parametrize(
    ("batch", "weights"), [(8, ()), (0, ()), (2, (1.0,)), (2, (0.0, 0.0)), (2, (-1.0, 1.0))]
)
def test_impossible_streams_are_refused(batch, weights):
    with pytest.raises(ValueError):
        StreamOrder([_shards([3]), _shards([4])], batch, 0, weights)


def test_the_configuration_chooses_the_order(tmp_path):
    (tmp_path / "vae").mkdir()
    data = _numbered(tmp_path / "a", 7, 3), _numbered(tmp_path / "b", 5, 2)
    both = ShardDataset([tmp_path / "a", tmp_path / "b"])
    assert [len(part) for part in both.shards] == [3, 3] and len(both) == len(data[0]) + len(data[1])
    shuffled = build_order(both, FlowDataConfig(), 4, 1)
    plain = ShuffledOrder([np.arange(7), np.arange(7, 12)], 4, 1)
    assert [shuffled.global_batch(k) for k in range(6)] == [plain.global_batch(k) for k in range(6)]
    streamed = build_order(both, FlowDataConfig(order="stream"), 4, 1)
    assert sorted(n for k in range(3) for n in streamed.global_batch(k)) == list(range(12))
    assert streamed.clip_frames(0) == 0
    with pytest.raises(UserError, match=r"data.order=stream needs at least .*\(13\)"):
        build_order(both, FlowDataConfig(order="stream"), 13, 1)


def test_few_files_stay_open(tmp_path):
    data = _numbered(tmp_path, 80, 1)
    assert [data.sample(n).meta["number"] for n in range(80)] == list(range(80))
    assert len(data._handles) == data._handles.limit == 64
    assert data.sample(0).meta["number"] == 0


@pytest.mark.parametrize("world", [1, 2, 3])
def test_plain_webdataset_splits_the_tars_by_node_and_worker(tmp_path, monkeypatch, world):
    _numbered(tmp_path, 22, 2)
    urls = [str(tar) for tar in sorted(tmp_path.glob("*.tar"))]
    read = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        stream = wds.WebDataset(
            urls,
            nodesplitter=wds.split_by_node,
            workersplitter=wds.split_by_worker,
            shardshuffle=100,
            detshuffle=True,
            seed=3,
        )
        loader = DataLoader(stream.decode(), batch_size=None, num_workers=2)
        read.append({sample["meta.json"]["number"] for sample in loader})
    assert sorted(n for numbers in read for n in numbers) == list(range(22))


def test_the_longest_bucket_that_a_sample_fills():
    assert bucket_of((60, 8, 8), [25, 77, 49]) == (49, 8, 8)
    assert bucket_of((77, 8, 6), [25, 77, 49]) == (77, 8, 6)
    assert bucket_of((24, 8, 8), [25, 49]) is None


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch=st.integers(1, 4),
    seed=st.integers(0, 99),
    start=st.integers(0, 200),
)
def test_a_batch_is_of_one_bucket_and_buckets_are_drawn_by_their_size(counts, batch, seed, start):
    total = sum(counts)
    shares = [count / total for count in counts]

    def make() -> BucketOrder:
        orders = [ShuffledOrder([numbers], batch, seed + k) for k, numbers in enumerate(_shards(counts))]
        return BucketOrder(orders, [4 * k + 1 for k in range(len(counts))], shares, seed)

    whole, again = make(), make()
    steps = range(start + 40)
    batches = [whole.global_batch(step) for step in steps]
    owner = np.repeat(np.arange(len(counts)), counts)
    for step in (start, start + 3, start + 1):
        assert again.global_batch(step) == batches[step]
        assert {owner[n] for n in batches[step]} == {again.bucket(step)}
        assert again.clip_frames(step) == 4 * again.bucket(step) + 1
    seen = Counter(whole.bucket(step) for step in steps)
    for bucket, share in enumerate(shares):
        assert abs(seen[bucket] - share * len(steps)) < 5
    # Within a bucket all samples are gone through before one comes again.
    drawn = Counter(n for rows in batches for n in rows)
    for numbers in _shards(counts):
        assert max(drawn[n] for n in numbers) - min(drawn[n] for n in numbers) <= 1


def test_parts_keep_their_weights_within_buckets():
    parts = [[np.arange(4)], [np.arange(4, 8), np.arange(8, 12)]]
    buckets = [(9, 4, 4)] * 2 + [(5, 4, 4)] * 2 + [(9, 4, 4)] * 6 + [(5, 2, 2)] * 2
    found = {one.bucket: one for one in bucket_parts(parts, buckets, [1.0, 3.0])}
    assert found[(9, 4, 4)].share == pytest.approx((2 / 4 * 1 + 6 / 8 * 3) / 4)
    assert found[(9, 4, 4)].weights == pytest.approx([2 / 4, 18 / 8])
    assert [shard.tolist() for shard in found[(9, 4, 4)].parts[1]] == [[4, 5, 6, 7], [8, 9]]
    assert sum(one.share for one in found.values()) == pytest.approx(1)
    alone = bucket_parts(parts, buckets, [1.0, 0.0])
    assert [one.bucket for one in alone] == [(5, 4, 4), (9, 4, 4)] and len(alone[1].parts) == 1


@pytest.mark.parametrize("order", ["shuffle", "stream"])
def test_buckets_of_a_data_set(toy_folder, order):
    data = write_sized_pairs(toy_folder / "pairs", [(9, 4)] * 5 + [(5, 4)] * 4 + [(13, 2)] * 4)
    built = build_order(data, FlowDataConfig(order=order, buckets=[5, 9]), 2, 0)
    seen = Counter()
    for step in range(60):
        rows = built.global_batch(step)
        shapes = {data.shape(n) for n in rows}
        assert len({bucket_of(shape, [5, 9]) for shape in shapes}) == 1
        assert built.clip_frames(step) == bucket_of(shapes.pop(), [5, 9])[0]
        seen.update(rows)
    assert set(seen) == set(range(13))
    with pytest.raises(UserError, match=r"toy5 has 5 frames, fewer than the shortest of data.buckets \(9\)"):
        build_order(data, FlowDataConfig(buckets=[9]), 2, 0)
    with pytest.raises(UserError, match="the bucket 5x4x4 has 4"):
        build_order(data, FlowDataConfig(order="stream", buckets=[5, 9]), 5, 0)


def test_shapes_are_in_the_index_and_are_found_without_it(toy_folder):

    folder = toy_folder / "pairs"
    write_sized_pairs(folder, [(9, 4), (5, 2)])
    index = json.loads((folder / "index.json").read_text())
    assert [s["shape"] for s in index["shardlist"][0]["samples"]] == [[9, 4, 4], [5, 2, 2]]
    for sample in index["shardlist"][0]["samples"]:
        del sample["shape"]
    (folder / "index.json").write_text(json.dumps(index))
    old = ShardDataset(folder)
    assert [old.shape(n) for n in range(2)] == [(9, 4, 4), (5, 2, 2)]
    bare = _numbered(toy_folder / "bare", 1, 1)
    with pytest.raises(UserError, match="neither latents nor masks"):
        bare.shape(0)


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    return tmp_path


def _numbered(folder: Path, count: int, per_shard: int) -> ShardDataset:
    with ShardWriter(folder, "part", per_shard, {}) as writer:
        for number in range(count):
            writer.add(f"k{number}", {"meta.json": b'{"frames": 1, "fps": 25, "number": %d}' % number})
    return ShardDataset(folder)
