"""Which features each latent frame hears (docs/notation.md §2)."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
import torch
from golden import GOLDEN, REASON
from hypothesis import given
from hypothesis import strategies as st

from common.speech.windows import audio_windows, clip_features, feature_margin, window_indices

VECTORS = GOLDEN / "whisper_tiny"


@given(start=st.integers(0, 500), latents=st.integers(1, 30))
def test_indices_follow_the_formula(start, latents):
    indices = window_indices(start, latents)
    assert list(indices[0]) == list(range(2 * (start - 3), 2 * (start + 1)))
    for k in range(1, latents):
        c = start + 4 * (k - 1) + 1
        assert list(indices[k]) == list(range(2 * c, 2 * (c + 4)))


@given(start=st.integers(0, 60), latents=st.integers(1, 9), extra=st.integers(0, 5), count=st.integers(1, 90))
def test_extra_context_widens_both_sides_and_the_track_is_clamped(start, latents, extra, count):
    track = np.arange(count, dtype=np.float32)[:, None]
    wide = audio_windows(track, start, latents, extra)
    assert wide.shape == (latents, 8 + 2 * extra, 1)
    np.testing.assert_array_equal(wide[:, extra : extra + 8], audio_windows(track, start, latents))
    np.testing.assert_array_equal(
        wide[..., 0], np.clip(window_indices(start, latents, extra), 0, count - 1).astype(np.float32)
    )


@given(start=st.integers(0, 60), latents=st.integers(1, 9), extra=st.integers(0, 5), count=st.integers(1, 90))
def test_a_clip_with_margins_hears_what_it_hears_in_the_track(start, latents, extra, count):
    track = torch.arange(count, dtype=torch.float32)[:, None]
    frames, margin = 4 * latents - 3, feature_margin(extra)
    clip = clip_features(track, start, frames, margin)
    assert len(clip) == 2 * (frames + 2 * margin)
    assert torch.equal(
        audio_windows(clip, margin, latents, extra), audio_windows(track, start, latents, extra)
    )


def test_no_features_is_an_error():
    with pytest.raises(ValueError):
        audio_windows(np.zeros((0, 4), np.float32), 0, 3)


@pytest.mark.skipif(not VECTORS.is_dir(), reason=REASON)
@pytest.mark.parametrize("start", [0, 72, 770])
def test_windows_are_those_of_the_public_model(start):
    outputs = safetensors.numpy.load_file(VECTORS / "outputs.safetensors")
    expected = outputs[f"window_start{start}"]
    np.testing.assert_array_equal(audio_windows(outputs["features_last"], start, len(expected)), expected)
