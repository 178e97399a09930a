"""The frozen teacher of a distillation: a package's editor with its guidance and its adapters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from common.arithmetic import resolve_precision
from common.diffusion.sampler import build_sampler
from common.errors import UserError
from common.models.conditions import ModelConditions
from common.models.package import load_package
from common.training.start import weights_fingerprint


class Teacher:
    """Answers with the guided velocity that the package's own sampler would follow.

    It is no part of the trained model: it is in no checkpoint, and its weights are stored in the precision
    that it computes in.
    """

    def __init__(self, path: str, mixed_precision: str, vae: str, speech: tuple[str, str]) -> None:
        """Load the package at ``path`` for a student that knows latents and speech by fingerprints.

        Args:
            path: the package's folder.
            mixed_precision: of the training.
            vae: fingerprint of the student's autoencoder.
            speech: name and fingerprint of its speech encoder.

        Raises:
            UserError: there is no package of stage 2, or one with other encoders.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = resolve_precision(mixed_precision, device)
        self._narrow = dtype == torch.bfloat16
        package = load_package(path, stage=2, dtype=dtype)
        package.require_speech(*speech)
        if package.codec.fingerprint != vae:
            raise UserError(
                f"{path}: the teacher has another autoencoder than the student; name one that has the same."
            )
        self.fingerprint = weights_fingerprint(package)
        # Any: diffusers' decorators hide the signature of `to` from type checkers.
        self.network: Any = package.transformer
        self._switch = package.adapter_switch()
        self.sampler = build_sampler(package.info.diffusion, batch_branches=True, before_step=self._switch)

    def to(self, device: torch.device) -> Teacher:
        self.network.to(device)
        return self

    @torch.no_grad()
    def velocity(self, latents: Tensor, sigma: Tensor, conditions: ModelConditions) -> Tensor:
        """Guided velocity (B, C, F, h, w) float32 of samples at levels sigma (B,) of their own.

        Row by row: guidance and adapters depend on sigma.
        """
        rows = []
        with self._autocast(latents):
            for i, level in enumerate(sigma.tolist()):
                self._switch(level)
                rows.append(self.sampler.velocity(self.network, latents[i : i + 1], level, conditions.row(i)))
        return torch.cat(rows)

    @torch.no_grad()
    def average_velocity(
        self,
        latents: Tensor,
        noise: Tensor,
        conditions: ModelConditions,
        num_steps: int,
        step: int,
        substeps: int,
    ) -> Tensor:
        """The one velocity (B, C, F, h, w) that leads over step ``step`` of ``num_steps`` where ``substeps``
        guided steps lead. Its border and motion latents mean nothing."""
        sampler = replace(self.sampler, num_steps=num_steps * substeps)
        sigma, following = sampler.flow.sigmas(num_steps)[step : step + 2].tolist()
        with self._autocast(latents):
            end = sampler.run(
                self.network, latents, noise, conditions, step * substeps, (step + 1) * substeps
            )
        return (end - latents) / (following - sigma)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=self._narrow)
