"""Samples survive the way into a tar and back, and become batches of documented shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.data.batch import collate
from common.data.dataset import ShardDataset
from common.data.schema import MEMBERS, Sample, decode_sample, encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.speech.windows import audio_windows, clip_features, feature_margin

N, F, SIDE, C, A = 9, 3, 4, 5, 6


def cache(seed: int, pair: bool = True, extra: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def latents(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(torch.bfloat16)

    values = {
        "target_latents": latents(C, F, SIDE, SIDE),
        "audio_features": torch.randn(2 * (N + 2 * feature_margin(extra)), A, generator=generator).half(),
    }
    if pair:
        return {**values, "source_latents": latents(C, F, SIDE, SIDE)}
    return {
        **values,
        "masked_latents": latents(C, F, SIDE, SIDE),
        "reference_latents": latents(2, C, 1, SIDE, SIDE),
        "reference_source": torch.tensor([3, 8]),
    }


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = {name: rng.integers(0, 2, (F, SIDE, SIDE)) > 0 for name in ("lip_mask", "face_mask")}
    return {"landmarks": rng.normal(size=(N, 68, 3)).astype(np.float32), **masks}


def full_sample(seed: int = 0) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    video, other = rng.integers(0, 256, (2, N, 32, 32, 3), dtype=np.uint8)
    audio = rng.uniform(-1, 1, 640 * N)
    meta = {"frames": N, "fps": 25.0, "speaker": "s"}
    return encode_sample(
        meta,
        target=video,
        source=other,
        audio=audio,
        source_audio=-audio,
        arrays=arrays(seed),
        cache=cache(seed),
        cache_fingerprint="abc",
    )


def small(seed: int, **kind: bool) -> Sample:
    meta = {"frames": N, "fps": 25.0}
    return decode_sample(f"k{seed}", encode_sample(meta, arrays=arrays(seed), cache=cache(seed, **kind)))


def test_everything_comes_back():
    rng = np.random.default_rng(0)
    video, other = rng.integers(0, 256, (2, N, 32, 32, 3), dtype=np.uint8)
    audio = rng.uniform(-1, 1, 640 * N)
    members = full_sample(0)
    assert tuple(members) == MEMBERS
    sample = decode_sample("k", members)
    assert sample.meta["speaker"] == "s" and sample.cache_fingerprint == "abc"
    np.testing.assert_array_equal(sample.target, video)
    np.testing.assert_array_equal(sample.source, other)
    assert sample.audio.dtype == np.float32
    np.testing.assert_allclose(sample.audio, audio, atol=1 / 32768 + 1e-7)
    np.testing.assert_allclose(sample.source_audio, -audio, atol=1 / 32768 + 1e-7)
    for name, value in cache(0).items():
        assert sample.cache[name].dtype == value.dtype and torch.equal(sample.cache[name], value)
    np.testing.assert_array_equal(sample.arrays["landmarks"].numpy(), arrays(0)["landmarks"])
    assert sample.arrays["lip_mask"].dtype == torch.uint8


def test_equal_samples_have_equal_bytes():
    assert full_sample(3) == full_sample(3)


def test_training_parts_are_read_without_touching_the_videos():
    def never() -> bytes:
        raise AssertionError("the video was read")

    members = {name: (lambda data=data: data) for name, data in full_sample().items()}
    sample = Sample("k", {**members, "target.mkv": never, "source.mkv": never})
    batch = collate([sample, sample])
    assert batch.keys == ("k", "k") and sample.has("target.mkv")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("target", np.zeros((N - 1, 8, 8, 3), np.uint8)),
        ("target", np.zeros((N, 8, 6, 3), np.uint8)),
        ("audio", np.zeros((4, 2))),
        ("arrays", {"landmarks": np.zeros((N, 68, 2))}),
        ("arrays", {"lip_mask": np.zeros((N, 4, 4))}),
        ("cache", {"target_latents": np.zeros((C, F + 1, 4, 4))}),
        ("cache", {"reference_latents": np.zeros((2, C, 4, 4))}),
        ("cache", {"audio_features": np.zeros((2 * N + 2, A))}),
    ],
)
def test_undocumented_shapes_are_refused(part, value):
    with pytest.raises(ValueError):
        encode_sample({"frames": N, "fps": 25.0}, **{part: value})


def test_meta_must_tell_length_and_rate():
    with pytest.raises(ValueError, match="fps"):
        encode_sample({"frames": N})


def test_stage_2_batch():
    batch = collate([small(0), small(1)], extra_window=4)
    assert batch.target_latents.shape == batch.reference_latents.shape == (2, C, F, SIDE, SIDE)
    assert batch.audio_features.shape == (2, F, 16, A)
    assert batch.lip_mask.shape == batch.face_mask.shape == (2, F, SIDE, SIDE)
    assert batch.masked_latents is None and len(batch) == 2
    torch.testing.assert_close(batch.reference_latents[1], cache(1)["source_latents"].float())
    moved = batch.to("cpu", torch.bfloat16)
    assert moved.lip_mask.dtype == torch.bfloat16 and moved.keys == batch.keys


def test_stage_1_batch():
    batch = collate([small(0, pair=False), small(1, pair=False)])
    assert batch.reference_latents.shape == (2, C, 2, SIDE, SIDE)
    assert batch.masked_latents is not None and batch.masked_latents.shape == batch.target_latents.shape
    torch.testing.assert_close(
        batch.reference_latents[1, :, 1], cache(1, pair=False)["reference_latents"][1, :, 0].float()
    )


@pytest.mark.parametrize("extra", [0, 4])
@pytest.mark.parametrize("start", [0, 2, 20, 33])
def test_batch_windows_are_the_windows_of_the_whole_track(start, extra):
    track = torch.randn(2 * 40, A)
    stored = clip_features(track, start, N, feature_margin(4))
    members = encode_sample(
        {"frames": N, "fps": 25.0}, arrays=arrays(0), cache={**cache(0), "audio_features": stored}
    )
    batch = collate([decode_sample("k", members)], extra_window=extra)
    torch.testing.assert_close(batch.audio_features[0], audio_windows(track, start, F, extra))


def test_missing_parts_are_named():
    meta = {"frames": N, "fps": 25.0}
    sample = decode_sample("clip7", encode_sample(meta, arrays=arrays(0)))
    with pytest.raises(UserError, match=r"clip7 has no cache\.safetensors"):
        collate([sample])
    with pytest.raises(UserError, match=r"clip7 has no source\.mkv"):
        _ = sample.source
    no_lips = {name: value for name, value in arrays(0).items() if name != "lip_mask"}
    with pytest.raises(UserError, match="clip7 has no lip_mask"):
        collate([decode_sample("clip7", encode_sample(meta, arrays=no_lips, cache=cache(0)))])


def test_other_geometry_cannot_share_a_batch():
    other = encode_sample(
        {"frames": 5, "fps": 25.0},
        arrays={"lip_mask": np.zeros((2, 4, 4)), "face_mask": np.zeros((2, 4, 4))},
        cache={"target_latents": np.zeros((C, 2, 4, 4)), "source_latents": np.zeros((C, 2, 4, 4))},
    )
    with pytest.raises(UserError, match="different shapes"):
        collate([small(0), decode_sample("other", other)])


def test_samples_travel_through_shards(tmp_path):
    with ShardWriter(tmp_path, "pairs", 2, {}) as writer:
        for seed in range(3):
            writer.add(f"k{seed}", full_sample(seed))
    data = ShardDataset(tmp_path)
    sample = data[2]
    assert sample.key == "k2" and sample.target.shape == (N, 32, 32, 3)
    assert torch.equal(sample.cache["target_latents"], cache(2)["target_latents"])
    loader = torch.utils.data.DataLoader(data, batch_size=3, collate_fn=collate, num_workers=1)
    assert next(iter(loader)).keys == ("k0", "k1", "k2")
