"""A discriminator of latents: a student's lips from filmed ones, and lips from those of other speech.

A student that is regressed to its teacher makes the mean of what might be, and a mean is soft. The
discriminator sees clean latents and the speech and says of every cell whether it was filmed with this speech;
it is trained on filmed clips, on the student's and on filmed clips with another's speech (Reed et al. 2016,
"Generative adversarial text to image synthesis", section 4.2), and the student against it (Goodfellow et al.
2014, the non-saturating loss; among latents: Sauer et al. 2024, "Fast high-resolution image synthesis with
latent adversarial diffusion distillation"). Its logits must not change with a little noise, which is its
gradient penalty (Lin et al. 2025, "Diffusion adversarial post-training for one-step video generation",
section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.models.audio_projector import AudioProjector
from common.models.config import ModelConfig
from stage2_dubber.distillation.config import DiscriminatorConfig

_GROUPS = 8

Discriminator = Callable[..., Tensor]
"""Of the keywords ``latents`` and ``audio_features``: logits (B, F, h, w)."""


class DiscriminatorBlock(nn.Module):
    """Residual convolutions over rows and columns, then over time; (B, D, F, h, w) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, dim)
        self.space = nn.Conv3d(dim, dim, (1, 3, 3), padding=(0, 1, 1))
        self.time = nn.Conv3d(dim, dim, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.time(F.silu(self.space(F.silu(self.norm(x)))))


class LatentDiscriminator(nn.Module):
    """forward: latents (B, C, F, h, w) and audio_features (B, F, W, A) -> logits (B, F, h, w), high: filmed.

    The width is ``config.width`` times the groups of its norms.
    """

    def __init__(self, model: ModelConfig, config: DiscriminatorConfig) -> None:
        super().__init__()
        dim = _GROUPS * config.width
        self.proj_in = nn.Conv3d(model.latent_channels, dim, 1)
        self.audio_embedding = AudioProjector(
            model.audio_channels, model.audio_dim, model.audio_heads, model.audio_layers, dim
        )
        self.blocks = nn.ModuleList(DiscriminatorBlock(dim) for _ in range(config.num_layers))
        self.norm = nn.GroupNorm(_GROUPS, dim)
        self.proj_out = nn.Conv3d(dim, 1, 1)

    def forward(self, latents: Tensor, audio_features: Tensor) -> Tensor:
        speech = self.audio_embedding(audio_features).mean(dim=2)  # (B, F, D)
        x = self.proj_in(latents) + speech.transpose(1, 2)[..., None, None]
        for block in self.blocks:
            x = block(x)
        return self.proj_out(F.silu(self.norm(x)))[:, 0]


def discriminator_inputs(
    filmed: Tensor,
    made: Tensor,
    audio_features: Tensor,
    others: Tensor,
    noise: Tensor,
    config: DiscriminatorConfig,
) -> dict[str, Tensor]:
    """The arguments of one step, (4 B, ...): filmed, made, filmed with others' speech, filmed with noise.

    Args:
        filmed, made: (B, C, F, h, w) latents, the second without a gradient.
        audio_features, others: (B, F, W, A), the speech of the clips and other speech.
        noise: (B, C, F, h, w), standard normal.
    """
    latents = torch.cat((filmed, made.to(filmed), filmed, filmed + config.noise * noise))
    return {
        "latents": latents,
        "audio_features": torch.cat((audio_features, audio_features, others, audio_features)),
    }


def discriminator_loss(logits: Tensor, weights: Tensor, config: DiscriminatorConfig) -> Tensor:
    """(B,) losses from logits (4 B, F, h, w) of :func:`discriminator_inputs`; ``weights`` (B, 1, F, h, w)."""
    filmed, made, mistaken, noisy = logits.float().chunk(4)
    wrong = F.softplus(made) + config.wrong_speech * F.softplus(mistaken)
    return _mean(F.softplus(-filmed) + wrong + config.penalty * (filmed - noisy).square(), weights)


def student_gradient(
    discriminator: Discriminator, made: Tensor, audio_features: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """(B,) losses of the student by the discriminator, and their derivative by ``made``, (B, C, F, h, w)."""
    with torch.enable_grad():
        sample = made.detach().requires_grad_()
        logits = discriminator(latents=sample, audio_features=audio_features).float()
        losses = _mean(F.softplus(-logits), weights)
        (gradient,) = torch.autograd.grad(losses.sum(), sample)
    return losses.detach(), gradient


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """(B, F, h, w) -> (B,) float32, weighted by (B, 1, F, h, w)."""
    cells = weights[:, 0]
    total = (values.float() * cells).sum(dim=(1, 2, 3))
    return total / cells.sum(dim=(1, 2, 3)).clamp(min=1e-6)
