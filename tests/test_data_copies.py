"""Augmented copies of pairs: written after their pair, with latents of their own, the same every time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from stage1_clips import write_config

from common.autoencoder.pixels import to_video
from common.config import load_config
from common.data.dataset import ShardDataset
from common.errors import UserError
from common.files import sha256_file
from common.media import save_wav, write_video
from stage1_generator import pack
from stage1_generator.config import Stage1Config, check
from stage1_generator.generator.frozen import load_codec

FLIP = ["pairs.augmented_copies=2", "augment.flip=1.0", "augment.source_noise.probability=1.0"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that pack one rendered pair of videos."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("copies")
    videos = folder / "rendered"
    videos.mkdir()
    random = np.random.default_rng(0)
    picture = random.integers(60, 200, (8, 12, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    for letter in "ab":
        video = np.stack([np.roll(picture, i // 3, axis=1) for i in range(14)])
        if letter == "b":
            video[:, 36:44, 36:56] = 90
        wav = folder / "sound.wav"
        save_wav(wav, 0.1 * random.standard_normal(14 * 640).astype(np.float32), 16000)
        write_video(videos / f"r1_{letter}.mp4", video, rate=25, audio_from=wav)
    left = np.full(14, 30.0)
    track = {"boxes": np.stack([left, left * 0 + 16, left + 34, left * 0 + 50], axis=1).astype(np.float32)}
    save_file(track, videos / "r1_a.track.safetensors")
    return write_config(folder, videos, folder / "work", f"pack.rendered_pairs={videos}")


def _pack(words: list[str], work: Path, *more: str) -> ShardDataset:
    assert pack.main([*words, f"work={work}", *more]) == 0
    return ShardDataset(work / "pairs_rendered")


def _tars(data: ShardDataset) -> list[str]:
    return [sha256_file(data.indices[0].folder / shard.url) for shard in data.indices[0].shards]


def test_copies_follow_their_pair_with_latents_of_their_own(words: list[str], tmp_path: Path) -> None:
    alone = _pack(words, tmp_path / "alone").sample(0)
    copied = _pack(words, tmp_path / "copied", *FLIP)
    assert copied.keys == [alone.key, f"{alone.key}-aug1", f"{alone.key}-aug2"]
    plain, one, two = (copied.sample(i) for i in range(3))
    np.testing.assert_array_equal(plain.target, alone.target)
    assert torch.equal(plain.cache["source_latents"], alone.cache["source_latents"])
    assert one.meta["copy_of"] == alone.key and one.meta["changes"] == ["source_noise", "flip"]
    assert "copy_of" not in plain.meta
    np.testing.assert_array_equal(one.target, plain.target[:, :, ::-1])
    assert (one.source != plain.source[:, :, ::-1]).any() and (one.source != two.source).any()
    codec = load_codec(load_config(Stage1Config, _files(words), _overrides(words)))
    for name, video in (("target_latents", one.target), ("source_latents", one.source)):
        expected = codec.encode(to_video(video[None]))[0].to(torch.bfloat16)
        torch.testing.assert_close(one.cache[name], expected)
    for name in ("target_latents", "source_latents"):
        assert not torch.equal(one.cache[name], plain.cache[name])
    masks = [sample.arrays["face_mask"].flip(-1).float() for sample in (one, plain)]
    assert masks[0].any() and (masks[0] - plain.arrays["face_mask"].float()).abs().mean() < 0.1


def test_packing_goes_on_where_it_was_cut(words: list[str], tmp_path: Path) -> None:
    whole = _pack(words, tmp_path / "whole", *FLIP, "pack.samples_per_shard=2")
    assert len(_tars(whole)) == 2
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "pairs_rendered" / "pairs-000001.tar").unlink()
    again = _pack(words, tmp_path / "cut", *FLIP, "pack.samples_per_shard=2")
    assert _tars(again) == _tars(whole)
    # Another augmentation is another set.
    other = _pack(words, tmp_path / "cut", *FLIP, "augment.source_noise.range=[20.0,30.0]")
    assert _tars(other)[0] not in _tars(whole)


def test_copies_without_changes_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="augment changes nothing"):
        check(load_config(Stage1Config, _files(words), [*_overrides(words), "pairs.augmented_copies=2"]))


def _files(words: list[str]) -> list[str]:
    return [word for word in words if word.endswith(".yaml")]


def _overrides(words: list[str]) -> list[str]:
    return [word for word in words if "=" in word]
