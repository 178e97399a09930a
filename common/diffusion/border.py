"""Border replacement: the outermost latents follow the reference, so that crop and frame meet (R; §6)."""

from __future__ import annotations

import torch

MAX_NOISE = 0.95


class Border:
    """The outer ring of ``width`` latents in every frame from ``first_frame`` on.

    ``reference`` are clean latents (B, C, F, h, w); ``noise`` is the noise that the sampler started from.
    """

    def __init__(
        self, reference: torch.Tensor, noise: torch.Tensor, width: int, first_frame: int = 0
    ) -> None:
        self.reference, self.noise = reference, noise
        self.mask = ring_mask(reference.shape[2:], width, first_frame).to(reference.device)

    def renoise(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Before a step at noise level sigma the ring is (1 - s) reference + s noise, s = min(sigma, .95)."""
        s = min(sigma, MAX_NOISE)
        return torch.where(self.mask, (1 - s) * self.reference + s * self.noise, latents)

    def restore(self, latents: torch.Tensor) -> torch.Tensor:
        """After the last step the ring is the reference."""
        return torch.where(self.mask, self.reference, latents)


def ring_mask(size: torch.Size | tuple[int, int, int], width: int, first_frame: int = 0) -> torch.Tensor:
    """(F, h, w) bool, true on the outer ``width`` latents of frames from ``first_frame`` on."""
    mask = torch.ones(tuple(size), dtype=torch.bool)
    height, breadth = size[1:]
    mask[:, width : max(height - width, width), width : max(breadth - width, width)] = False
    mask[:first_frame] = False
    return mask
