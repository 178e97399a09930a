"""Speech as a scale and a shift of each latent frame, in the place of attention to it (EdiDub, section 3.1).

The features of a latent frame are known to be its own, so that nothing has to be searched for: a depth-wise
convolution over time and one linear layer are enough to say what becomes of the frame's channels.
"""

from __future__ import annotations

import torch
from torch import nn

from common.speech.windows import BASE_WINDOW


class SpeechAdaIN(nn.Module):
    """Adaptive instance normalisation (Huang and Belongie 2017) of one latent frame's tokens by its speech.

    Every channel is normalised over the tokens of the frame, then scaled and shifted. The depth-wise
    convolution spans the eight features of the latent frame itself and leaves one vector of them; what
    ``speech.extra_window`` adds on both sides has been seen by the audio projector already.

    forward: tokens (B * F, N, D) and audio_features (B * F, W, D), W >= 8, to (B * F, N, D), what is added to
    the tokens.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.conv = nn.Conv1d(dim, dim, BASE_WINDOW, groups=dim)
        self.linear = nn.Linear(dim, 2 * dim)

    def forward(self, tokens: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        extra = (audio_features.shape[1] - BASE_WINDOW) // 2
        own = audio_features[:, extra : extra + BASE_WINDOW]
        scale, shift = self.linear(self.conv(own.transpose(1, 2)).transpose(1, 2)).chunk(2, dim=-1)
        variance, mean = torch.var_mean(tokens, dim=1, keepdim=True, correction=0)
        normed = (tokens - mean) * torch.rsqrt(variance + self.eps)
        return normed * scale.to(tokens.dtype) + shift.to(tokens.dtype)
