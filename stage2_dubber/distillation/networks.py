"""The networks of a distillation in one module, for the trainer: the student and its auxiliary networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common.models.config import ModelConfig
from common.models.transformer import DubbingTransformer
from stage2_dubber.distillation.config import DistillConfig
from stage2_dubber.distillation.discriminator import LatentDiscriminator
from stage2_dubber.distillation.shared import SharedWeights

# Names of submodules, and so of tensors in checkpoints, which must not change.
STUDENT, AUXILIARY = "student", "auxiliary"
FAKE_SCORE, DISCRIMINATOR, TEACHER = "fake", "discriminator", "teacher"


class DistillationNetworks(nn.Module):
    """What is trained, in turn: the student, and the networks that it is trained with.

    These are the fake-score network, which follows the student's distribution, and the discriminator. Calls
    name the network that is meant. On shared weights (``base``) fake score and teacher are the student's
    transformer with other adapters.
    """

    # What sharding asks of a model.
    _no_split_modules = DubbingTransformer._no_split_modules
    _keep_in_fp32_modules = DubbingTransformer._keep_in_fp32_modules

    def __init__(
        self,
        student: DubbingTransformer,
        model: ModelConfig,
        distill: DistillConfig,
        base: SharedWeights | None = None,
    ) -> None:
        """The fake score starts as the student; without a weight it or the discriminator is left out."""
        super().__init__()
        self.student = student
        self.base = base
        self.auxiliary = nn.ModuleDict()
        if distill.matching_weight and base is None:
            self.auxiliary[FAKE_SCORE] = deepcopy(student)
        if distill.discriminator.weight:
            self.auxiliary[DISCRIMINATOR] = LatentDiscriminator(model, distill.discriminator)

    def forward(self, net: str = STUDENT, **inputs: Any) -> Any:
        """The output of the network ``net``: ``STUDENT``, ``FAKE_SCORE`` or ``DISCRIMINATOR``; on shared
        weights also ``TEACHER``.

        Of ``AUXILIARY`` that of each by name, from its arguments by name: where processes share gradients
        all that has some must be one call.
        """
        if net == AUXILIARY:
            return {name: self._network(name)(**given) for name, given in inputs.items()}
        return self._network(net)(**inputs)

    def _network(self, net: str) -> nn.Module:
        if net == DISCRIMINATOR or (net == FAKE_SCORE and self.base is None):
            return self.auxiliary[net]
        if self.base is not None:
            self.base.become(net)
        return self.student


@contextmanager
def by_itself(model: nn.Module) -> Iterator[None]:
    """Within the block calls of the model, wrapped or not, share no gradients with other processes."""
    with model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext():
        yield
