"""Whisper's input: log-mel columns at 100 Hz (R: the public speech features)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from common.media import SAMPLE_RATE

COLUMNS_PER_FEATURE = 2  # columns at 100 Hz, features at 50 Hz
_HOP = 160
_FFT = 400


def whisper_filters(bands: int) -> Tensor:
    """(bands, bins) of Slaney's scale, as Whisper has them."""
    filters = mel_filter_bank(
        _FFT // 2 + 1, bands, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(filters.T.astype(np.float32))


def whisper_log_mel(sound: Tensor, filters: Tensor) -> Tensor:
    """(samples,) at 16 kHz -> (bands, samples / 160): log power, at most 8 decades below the peak."""
    missing = max(0, _FFT - len(sound))  # the transform mirrors the ends, which takes some sound
    window = torch.hann_window(_FFT)
    spectrum = torch.stft(
        torch.nn.functional.pad(sound, (0, missing)), _FFT, _HOP, window=window, return_complex=True
    )
    power = filters @ spectrum[:, :-1].abs().square()
    log = power.clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0
