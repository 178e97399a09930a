"""The frozen teacher of a distillation: a package's editor with its guidance and its adapters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.arithmetic import resolve_precision
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import EulerSampler, build_sampler
from common.errors import UserError
from common.models.conditions import ModelConditions
from common.models.package import ModelPackage, load_package
from common.models.package_info import read_info
from common.training.start import weights_fingerprint


@dataclass(frozen=True)
class Teacher:
    """Answers with the guided velocity that the package's own sampler would follow.

    It is no part of the trained model: it is in no checkpoint.

    Attributes:
        network: its transformer; None where it shares the student's weights, until :meth:`through` says
            how it is called.
        sampler: the package's.
        switch: told the noise level of the next call.
        fingerprint: of its weights.
        narrow: whether it computes in bfloat16.
    """

    network: Any
    sampler: EulerSampler
    switch: Callable[[float], None]
    fingerprint: str
    narrow: bool

    @classmethod
    def load(cls, path: str, mixed_precision: str, vae: str, speech: tuple[str, str]) -> Teacher:
        """Load the package at ``path`` for a student that knows latents and speech by fingerprints.

        Its weights are stored in the precision that it computes in.

        Args:
            path: the package's folder.
            mixed_precision: of the training.
            vae: fingerprint of the student's autoencoder.
            speech: name and fingerprint of its speech encoder.

        Raises:
            UserError: there is no package of stage 2, or one with other encoders.
        """
        dtype = _arithmetic(mixed_precision)
        package = load_package(path, stage=2, dtype=dtype)
        package.require_speech(*speech)
        if package.codec.fingerprint != vae:
            raise UserError(
                f"{path}: the teacher has another autoencoder than the student; name one that has the same."
            )
        return cls._of(package, package.transformer, package.adapter_switch(), package.info.diffusion, dtype)

    @classmethod
    def sharing(cls, package: ModelPackage, mixed_precision: str, switch: Callable[[float], None]) -> Teacher:
        """The teacher whose weights the student has already; ``package``: as the student has loaded it."""
        whole = replace(package, info=read_info(package.folder))  # with its adapters
        return cls._of(whole, None, switch, whole.info.diffusion, _arithmetic(mixed_precision))

    @classmethod
    def _of(
        cls,
        package: ModelPackage,
        network: Any,
        switch: Callable[[float], None],
        diffusion: DiffusionConfig,
        dtype: torch.dtype,
    ) -> Teacher:
        sampler = build_sampler(diffusion, batch_branches=True, before_step=switch)
        return cls(network, sampler, switch, weights_fingerprint(package), dtype == torch.bfloat16)

    def to(self, device: torch.device) -> None:
        """Move its own weights; shared ones are where the student is."""
        if self.network is not None:
            self.network.to(device)

    def through(self, network: Any) -> Teacher:
        """The same, calling ``network`` with the arguments of a transformer."""
        return replace(self, network=network)

    @torch.no_grad()
    def velocity(self, latents: Tensor, sigma: Tensor, conditions: ModelConditions) -> Tensor:
        """Guided velocity (B, C, F, h, w) float32 of samples at levels sigma (B,) of their own.

        Row by row: guidance and adapters depend on sigma.
        """
        rows = []
        with self._autocast(latents):
            for i, level in enumerate(sigma.tolist()):
                self.switch(level)
                rows.append(self.sampler.velocity(self.network, latents[i : i + 1], level, conditions.row(i)))
        return torch.cat(rows)

    @torch.no_grad()
    def average_velocity(
        self,
        latents: Tensor,
        noise: Tensor,
        conditions: ModelConditions,
        student: EulerSampler,
        num_steps: int,
        step: int,
        substeps: int,
    ) -> Tensor:
        """The one velocity (B, C, F, h, w) that leads over step ``step`` of ``num_steps`` where ``substeps``
        guided steps lead. Its border and motion latents mean nothing. ``student``: its sampler, which spaces
        the steps, and the teacher's between them, and says whether there is a border."""
        sampler = replace(
            self.sampler, flow=student.flow, border=student.border, num_steps=num_steps * substeps
        )
        sigma, following = sampler.flow.sigmas(num_steps)[step : step + 2].tolist()
        with self._autocast(latents):
            end = sampler.run(
                self.network, latents, noise, conditions, step * substeps, (step + 1) * substeps
            )
        return (end - latents) / (following - sigma)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=self.narrow)


def _arithmetic(mixed_precision: str) -> torch.dtype:
    return resolve_precision(mixed_precision, "cuda" if torch.cuda.is_available() else "cpu")
