"""The linear autoencoders and the vocoder without weights of small LTX-2 models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from common.models.load import load_strictly
from common.models.ltx2.block_codecs import BlockAudioAutoencoder, BlockVideoAutoencoder, PhaseVocoder
from common.models.ltx2.codecs import JointAudioCodec, JointVideoCodec, JointVocoder
from common.speech.joint_mel import JointMelEncoder
from stage2_dubber.joint.fit import VectorMoments


def test_the_first_frame_is_a_block_and_each_of_eight_more_another(tmp_path: Path) -> None:
    vae = BlockVideoAutoencoder(latent_channels=4, kept=(2, 2, 2))
    # One component of each: the mean of a block's red, and its slopes along time, rows and columns.
    for channel, vector in enumerate((0, 4, 2, 1)):
        vae.basis[channel, vector] = 1
    vae.save_pretrained(tmp_path / "vae")
    codec = JointVideoCodec(load_strictly(BlockVideoAutoencoder, tmp_path / "vae"))
    frames = np.full((1, 9, 32, 64, 3), 128, np.uint8)
    frames[0, 1:, :, 32:, 0] = 255
    latents = codec.encode_frames(frames)
    assert latents.shape == (1, 4, 2, 1, 2)
    # A block of 8 x 32 x 32 ones has a mean component of its size's root.
    assert latents[0, 0, 1, 0, 1].item() == pytest.approx((8 * 32 * 32) ** 0.5)
    assert latents[0, 0, 0].abs().max() < 1 and latents[0, 1:, 1, 0].abs().max() < 1e-3
    assert latents[0, 0, 1, 0, 0].abs() < 1
    made = codec.decode_frames(latents)
    np.testing.assert_array_equal(made[..., 0], frames[..., 0])
    # From light to dark: the slope of rows and no other.
    frames[0, :, :16, :, 0], frames[0, :, 16:, :, 0] = 200, 100
    slopes = codec.encode_frames(frames)[0, 1:, 1, 0, 0]
    assert slopes[1] > 10 and slopes[[0, 2]].abs().max() < 1e-3


def test_components_hold_vectors_of_as_many_dimensions() -> None:
    random = torch.Generator().manual_seed(0)
    directions = torch.randn(3, 12, generator=random)
    vectors = torch.randn(200, 3, generator=random) @ directions + 5
    moments = VectorMoments(12)
    for part in vectors.split(50):
        moments.add(part, torch.ones(len(part)))
    mean, basis, variances = moments.principal(3)
    torch.testing.assert_close(mean.float(), vectors.mean(dim=0))
    projected = (vectors.double() - mean) @ basis.T
    torch.testing.assert_close(projected.var(dim=0, correction=0), variances)
    torch.testing.assert_close((projected @ basis + mean).float(), vectors, rtol=1e-4, atol=1e-4)
    doubled = VectorMoments(12)
    doubled.add(vectors[:2], torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(doubled.principal(1)[0].float(), (3 * vectors[0] + vectors[1]) / 4)


def test_sound_goes_to_tokens_and_back() -> None:
    seconds = np.arange(16000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    mel = torch.from_numpy(JointMelEncoder().encode(tone).reshape(-1, 64)[:97]).expand(1, 2, -1, -1)
    vae = BlockAudioAutoencoder(latent_channels=4)
    blocks, moments = vae.vectors(mel)[0], VectorMoments(512)
    moments.add(blocks, torch.ones(len(blocks)))
    mean, basis, _ = moments.principal(64)
    vae.mean.copy_(mean)
    vae.basis.copy_(basis)
    codec = JointAudioCodec(vae)
    tokens = codec.encode(mel)
    assert tokens.shape == (1, 25, 64)
    back = codec.decode(tokens)
    torch.testing.assert_close(back, mel, rtol=1e-3, atol=1e-3)
    vocoder = JointVocoder(PhaseVocoder())
    sound = vocoder(back)
    assert vocoder.rate == 16000 and sound.shape == (1, 2, 96 * 160)
    spectrum = torch.fft.rfft(sound[0, 0, 2048:-2048]).abs()
    assert abs(spectrum.argmax().item() * 16000 / (sound.shape[2] - 4096) - 440) < 40  # a band is 40 Hz wide
    assert 0.1 < sound[0, 0, 2048:-2048].abs().max() < 0.6
