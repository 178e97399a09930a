"""Training of the speech layers alone: they learn what a mouth does, and the generator starts from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import CHANNELS, SIDE, fingerprints, metrics, stage1_config, toy_face, toy_vae, write_clips

from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face.layout import INNER_LIP_PAIRS
from common.face.mouth import mouth_opening, mouth_shape
from common.models.package import load_package, read_info
from common.training.launch import train
from common.training.start import load_start, starting_model
from stage1_generator.speech_strategy import SpeechStrategy

FRAMES, LATENTS = 17, 5


def write_talkers(folder: Path, count: int) -> ShardDataset:
    """Clips whose mouths open as loud as the sound is, in faces of any size and tilt."""
    rng = np.random.default_rng(1)
    lower = [pair[1] for pair in INNER_LIP_PAIRS]
    with ShardWriter(folder, "toy", 8, {**fingerprints(folder.parent), "step": "test"}) as writer:
        for i in range(count):
            loud = np.clip(np.convolve(rng.normal(size=FRAMES + 12), np.ones(5) / 2, "same"), -1, 1)
            features = np.repeat(loud, 2)[:, None].repeat(80, 1) + 0.1 * rng.normal(
                size=(2 * (FRAMES + 12), 80)
            )
            points = np.stack([toy_face()] * FRAMES)
            points[:, lower, 1] += (1 + loud[6 : 6 + FRAMES, None]) * 1.0
            tilt, size = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.2)
            turn = size * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
            points[..., :2] = points[..., :2] @ turn.T
            latents = rng.normal(size=(CHANNELS, LATENTS, SIDE, SIDE)).astype(np.float32)
            cache = {
                "target_latents": latents,
                "masked_latents": latents * 0.5,
                "reference_latents": latents[None, :, :1].repeat(2, 0),
                "audio_features": features.astype(np.float32),
            }
            masks = {name: np.ones((LATENTS, SIDE, SIDE), np.uint8) for name in ("lip_mask", "face_mask")}
            arrays = {**masks, "landmarks": points.astype(np.float32)}
            sample = {"frames": FRAMES, "fps": 25.0}
            writer.add(f"toy{i}", encode_sample(sample, arrays=arrays, cache=cache))
    return ShardDataset(folder)


def test_it_learns_to_open_the_mouth_and_the_generator_starts_from_that(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    dataset = write_talkers(tmp_path / "clips", 32)
    words = ["train.max_steps=120", "train.global_batch_size=8", "train.micro_batch_size=8"]
    config = stage1_config(tmp_path, *words, f"geometry.clip_frames={FRAMES}", "train.learning_rate=1e-2")
    strategy = SpeechStrategy(config, dataset)
    torch.manual_seed(config.train.seed)
    before = strategy.build_model().transformer.state_dict()
    result = train(config, strategy, dataset)
    rows = metrics(tmp_path / "run")
    assert rows[0]["opening_r"] < 0.4
    assert np.mean([row["opening_r"] for row in rows[-10:]]) > 0.85
    assert read_info(result.package).phase == "speech"

    package = load_package(result.package)
    moved = {n for n, v in package.transformer.state_dict().items() if not torch.equal(v, before[n])}
    assert moved and all(name.startswith("audio_embedding") for name in moved)
    model = starting_model(load_start(str(result.package), config.model, config.vae), config.model)
    weight = "audio_embedding.proj_out.weight"
    assert torch.equal(model.state_dict()[weight], package.transformer.state_dict()[weight])


def test_clips_without_landmarks_are_refused(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    dataset = write_clips(tmp_path / "clips")
    config = stage1_config(tmp_path, "train.max_steps=1")
    with pytest.raises(UserError, match="no landmarks"):
        train(config, SpeechStrategy(config, dataset), dataset)


def test_a_mouth_shape_does_not_change_with_place_size_and_tilt() -> None:
    face = np.stack([toy_face()] * 3).astype(np.float64)
    face[1, 66, 1] += 2
    moved = face.copy()
    turn = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved[..., :2] = moved[..., :2] @ turn.T + (30, -5)
    np.testing.assert_allclose(mouth_shape(moved), mouth_shape(face), atol=1e-9)
    shape = mouth_shape(face)
    gap = np.mean([shape[:, low - 48, 1] - shape[:, up - 48, 1] for up, low in INNER_LIP_PAIRS], axis=0)
    np.testing.assert_allclose(gap[1] - gap[0], (mouth_opening(face)[1] - mouth_opening(face)[0]), rtol=0.05)
