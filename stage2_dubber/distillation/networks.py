"""The networks of a distillation in one module, for the trainer: the student, and who it learns against."""

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
from stage2_dubber.distillation.critic import LatentCritic

STUDENT, OPPONENTS, FAKE_SCORE, CRITIC = "student", "opponents", "opponents.fake", "opponents.critic"


class StudentAndOpponents(nn.Module):
    """What is trained, in turn, the student and its opponents; calls name the network that is meant."""

    # What sharding asks of a model.
    _no_split_modules = DubbingTransformer._no_split_modules
    _keep_in_fp32_modules = DubbingTransformer._keep_in_fp32_modules

    def __init__(self, student: DubbingTransformer, model: ModelConfig, distill: DistillConfig) -> None:
        """The fake score starts as the student; neither it nor the critic is there without a weight."""
        super().__init__()
        self.student = student
        self.opponents = nn.ModuleDict()
        if distill.matching_weight:
            self.opponents["fake"] = deepcopy(student)
        if distill.critic.weight:
            self.opponents["critic"] = LatentCritic(model, distill.critic)

    def forward(self, net: str = STUDENT, **inputs: Any) -> Any:
        """The network's output; of ``OPPONENTS`` that of each by name, from its arguments by name: where
        processes share gradients all that has some must be one call."""
        if net == OPPONENTS:
            return {name: self.opponents[name](**given) for name, given in inputs.items()}
        return self.get_submodule(net)(**inputs)


@contextmanager
def by_itself(model: nn.Module) -> Iterator[None]:
    """Within the block calls of the model, wrapped or not, share no gradients with other processes."""
    with model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext():
        yield
