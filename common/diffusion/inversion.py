"""A clip's own latents carried up to the noise that sampling starts from (EdiDub section 3.1; RF inversion).

EdiDub inverts the source with DDIM. For flow matching the same is the velocity's differential equation, run
from noise level 0 to 1 under the source's own speech. An editor that sees its source predicts it whatever the
noise is, so that the plain equation ends nowhere near noise. The controller of RF inversion (arXiv
2410.10792) therefore pulls to a drawn noise e. At noise level t, with the strength s,
dz/dt = s v(z, t) + (1 - s) (e - z) / (1 - t): 1 is the plain equation, 0 leads to e itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from common.diffusion.config import DiffusionConfig

if TYPE_CHECKING:  # settings are told without the libraries of the model
    import torch

    from common.diffusion.sampler import EulerSampler, Model
    from common.models.conditions import ModelConditions
    from common.progress import CountCallback


@dataclass(frozen=True)
class Inversion:
    """Attributes: steps: of Euler, from clean to noise. strength: 0 to 1, the velocity's share of them."""

    steps: int
    strength: float

    @classmethod
    def of(cls, config: DiffusionConfig) -> Inversion | None:
        """What a ``diffusion`` section says; None: sampling starts from drawn noise."""
        if not config.inverts:
            return None
        return cls(config.inversion_steps or config.num_steps, config.inversion_strength)

    def invert(
        self,
        sampler: EulerSampler,
        model: Model,
        noise: torch.Tensor,
        conditions: ModelConditions,
        progress: CountCallback | None = None,
    ) -> torch.Tensor:
        """Latents (B, C, F, h, w) float32 to start from instead of ``noise``.

        There is no guidance: only the branch that sees all conditions is evaluated.

        Args:
            sampler: that will start there; its noise levels and adapters count.
            model: called like DubbingTransformer.
            noise: drawn, of that shape.
            conditions: of the source: its own speech, and itself for the reference, which is inverted.
            progress: called with (steps done, steps in all) after every step.

        Raises:
            ValueError: reference and noise differ in shape.
        """
        from common.models.step_cache import forget_steps

        clean = conditions.reference
        if clean is None or clean.shape != noise.shape:
            raise ValueError("Inversion needs a reference that is aligned with the target.")
        levels = sampler.flow.sigmas(self.steps).flip(0).tolist()
        latents, noise = clean.float(), noise.float()
        forget_steps(model)
        for step, (sigma, following) in enumerate(pairwise(levels)):
            away: Any = (noise - latents) / (1 - sigma)
            if self.strength:
                # Where the step leads to: near clean latents, a model that predicts these (model.prediction)
                # knows no velocity but its error, divided by a small noise level.
                if sampler.before_step is not None:
                    sampler.before_step(following)
                velocity = sampler.conditional(model, latents, following, conditions)
                away = self.strength * velocity + (1 - self.strength) * away
            latents = latents + (following - sigma) * away
            if progress is not None:
                progress(step + 1, self.steps)
        return latents
