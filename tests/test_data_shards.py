"""Shards: whole or absent, the same bytes every time, readable by plain WebDataset code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.dataset import ShardDataset
from common.data.index import read_index
from common.data.writer import ShardWriter, safe_key
from common.errors import UserError
from common.files import sha256_file

META = {"config": "c0", "vae": "v0"}


def members(number: int) -> dict[str, bytes]:
    meta = {"frames": 1, "fps": 25.0, "number": number}
    return {"meta.json": json.dumps(meta).encode(), "target.mkv": bytes([number % 256]) * (700 * number + 1)}


def write(folder: Path, keys: list[str], size: int = 3, meta: dict[str, str] = META, stop: int = 1000) -> int:
    """Write keys as samples; returns how many were made. Fails on purpose after ``stop`` samples."""
    made = 0
    with ShardWriter(folder, "part", size, meta) as writer:
        for key in keys[writer.resume(keys) :]:
            if made == stop:
                raise KeyboardInterrupt
            writer.add(key, members(int(key.removeprefix("k"))))
            made += 1
    return made


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: sha256_file(file) for file in sorted(folder.iterdir())}


def names(count: int) -> list[str]:
    return [f"k{number}" for number in range(count)]


def test_plain_webdataset_reads_the_tars(tmp_path):
    write(tmp_path, names(7))
    tars = [str(tar) for tar in sorted(tmp_path.glob("*.tar"))]
    assert len(tars) == 3
    read = list(wds.WebDataset(tars, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in read] == names(7)
    assert [sample["meta.json"]["number"] for sample in read] == list(range(7))
    assert all(sample["target.mkv"] == members(i)["target.mkv"] for i, sample in enumerate(read))
    assert [key for key in read[0] if not key.startswith("__")] == ["meta.json", "target.mkv"]


def test_random_access_agrees_with_what_was_written(tmp_path):
    write(tmp_path / "a", names(7))
    write(tmp_path / "b", names(2))
    data = ShardDataset([tmp_path / "a", tmp_path / "b" / "index.json"])
    assert len(data) == 9 and data.sizes == [7, 2] and data.keys == names(7) + names(2)
    assert [data[i].meta["number"] for i in (8, 0, 6, 3)] == [1, 0, 6, 3]


def test_index_tells_what_is_there_and_what_made_it(tmp_path):
    write(tmp_path, names(7))
    index = read_index(tmp_path)
    assert index.meta == META and index.num_samples == 7
    assert [shard.nsamples for shard in index.shards] == [3, 3, 1]
    assert all(sha256_file(tmp_path / shard.url) == shard.sha256 for shard in index.shards)
    assert sorted(hashes(tmp_path)) == ["index.json", *(f"part-{i:06d}.tar" for i in range(3))]


@pytest.mark.parametrize("stop", [0, 2, 3, 5, 6])
def test_a_stopped_run_leaves_no_index_and_a_second_one_ends_the_same(tmp_path, stop):
    write(tmp_path / "whole", names(7))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "again", names(7), stop=stop)
    with pytest.raises(UserError, match="no shard index"):
        read_index(tmp_path / "again")
    assert write(tmp_path / "again", names(7)) == 7 - stop // 3 * 3
    assert hashes(tmp_path / "again") == hashes(tmp_path / "whole")


def test_a_killed_run_ends_the_same(tmp_path):
    write(tmp_path / "whole", names(7))
    code = (
        "import os, signal, sys\n"
        "from common.data.writer import ShardWriter\n"
        "writer = ShardWriter(sys.argv[1], 'part', 3, {'config': 'c0', 'vae': 'v0'})\n"
        "for line in open(sys.argv[2], 'rb').read().split(b'\\n\\n')[:4]:\n"
        "    key, meta, size = line.split(b'\\t')\n"
        "    video = bytes([int(key[1:])]) * int(size)\n"
        "    writer.add(key.decode(), {'meta.json': meta, 'target.mkv': video})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder, plan = tmp_path / "again", tmp_path / "plan"
    made = [(name, members(number)) for number, name in enumerate(names(7))]
    lines = [b"%b\t%b\t%d" % (n.encode(), m["meta.json"], len(m["target.mkv"])) for n, m in made]
    plan.write_bytes(b"\n\n".join(lines))
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", code, str(folder), str(plan)]
    done = subprocess.run(command, cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / "index.json").exists()
    assert write(folder, names(7)) == 4
    assert hashes(folder) == hashes(tmp_path / "whole")


def test_finished_shards_are_kept_only_when_they_are_still_right(tmp_path):
    write(tmp_path, names(7))
    before = hashes(tmp_path)
    assert write(tmp_path, names(7)) == 0
    tar = tmp_path / "part-000001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    assert write(tmp_path, names(7)) == 4
    assert hashes(tmp_path) == before
    assert write(tmp_path, names(7), meta={**META, "vae": "v1"}) == 7
    assert write(tmp_path, names(4), meta={**META, "vae": "v1"}) == 1  # the second shard ends earlier now
    assert not (tmp_path / "part-000002.tar").exists()


@settings(max_examples=15, deadline=None)
@given(count=st.integers(0, 9), size=st.integers(1, 4), stop=st.integers(0, 9))
def test_any_interruption_is_invisible(tmp_path_factory, count, size, stop):
    whole, again = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("again")
    write(whole, names(count), size)
    if stop < count:
        with pytest.raises(KeyboardInterrupt):
            write(again, names(count), size, stop=stop)
    write(again, names(count), size)
    assert hashes(again) == hashes(whole)


def test_damaged_or_missing_shards_are_refused(tmp_path):
    with pytest.raises(UserError, match="No shards are given"):
        ShardDataset([])
    with pytest.raises(UserError, match="no shard index"):
        ShardDataset(tmp_path / "nowhere")
    write(tmp_path, [])
    with pytest.raises(UserError, match="hold no sample"):
        ShardDataset(tmp_path)
    write(tmp_path, names(2))
    tar = tmp_path / "part-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    with pytest.raises(UserError, match="not what the index lists"):
        ShardDataset(tmp_path)
    tar.unlink()
    with pytest.raises(UserError, match="missing"):
        ShardDataset(tmp_path)
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(UserError, match="no shard index"):
        ShardDataset(tmp_path)


def test_keys_are_unique_and_safe(tmp_path):
    with ShardWriter(tmp_path, "part", 2, META) as writer:
        writer.add("a", members(1))
        with pytest.raises(UserError, match="twice"):
            writer.add("a", members(1))
        for key in ("", "a.b", "a/b", "x" * 100):
            with pytest.raises(UserError, match="no sample key"):
                writer.add(key, members(1))
    made = [safe_key(text) for text in ("a.b", "a b", "a/b", "é" * 200, "plain-key_1")]
    assert len(set(made)) == 5 and made[-1] == "plain-key_1"
    with ShardWriter(tmp_path, "part", 9, META) as writer:
        for key in made:
            writer.add(key, members(1))
