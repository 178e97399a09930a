"""One copy of frozen weights that is student, fake score and teacher in turn, by its adapters.

Three networks of five billion weights do not fit where one does. They differ in little: student and fake
score are trained as adapters of the teacher's own weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from common.models.adapters import Adapter, add_adapter, load_adapter
from common.models.package_info import adapter_file, read_info
from common.models.transformer import DubbingTransformer
from stage2_dubber.config import PhaseConfig


class SharedWeights:
    """Which of its adapters a transformer has at the moment.

    Args:
        transformer: with all of them.
        trained: adapter of each trained network, by the network's name.
        teacher: the teacher's, with the noise levels at which they act.
    """

    def __init__(
        self, transformer: nn.Module, trained: dict[str, str], teacher: Sequence[Adapter] = ()
    ) -> None:
        self._layers = [one for one in transformer.modules() if isinstance(one, BaseTunerLayer)]
        self._trained, self._teacher = trained, tuple(teacher)
        self._sigma = 0.0

    def become(self, network: str) -> None:
        """Be a trained network, or, with any other name, the teacher."""
        if network in self._trained:
            names = [self._trained[network]]
        else:
            names = [adapter.name for adapter in self._teacher if adapter.acts_at(self._sigma)]
        for layer in self._layers:
            # Not by set_adapter: that changes which parameters have a gradient, in the middle of a step.
            layer._active_adapter = names

    def at(self, sigma: float) -> None:
        """The noise level of the teacher's next calls."""
        self._sigma = sigma


def share_weights(
    model: DubbingTransformer, phase: PhaseConfig, teacher: Path, fake: str | None
) -> SharedWeights:
    """Give a model that has the adapter ``phase.name`` the teacher's, frozen, and that of the fake score.

    Args:
        model: the teacher's own weights.
        phase: what the adapter is like.
        teacher: the package that has its adapters.
        fake: name of the fake score, which starts as the student; None: there is none.
    """
    adapters = read_info(teacher).adapters
    trained = {phase.name: phase.name}
    for adapter in adapters:
        load_adapter(model, teacher / adapter_file(adapter.name))
    if fake is not None:
        add_adapter(model, fake, phase.lora_rank, phase.lora_alpha, phase.lora_targets)
        trained[fake] = fake
    parts = {name: value for name, value in model.named_parameters() if ".lora_" in name}
    for name, value in parts.items():
        owner = _owner(name)
        value.requires_grad_(owner in trained)
        if owner == fake:
            value.data.copy_(parts[name.replace(f".{fake}.", f".{phase.name}.")].data)
    return SharedWeights(model, trained, adapters)


def is_of(adapter: str, name: str) -> bool:
    """Whether a parameter belongs to ``adapter``, by its name."""
    return ".lora_" in name and _owner(name) == adapter


def _owner(name: str) -> str:
    """``blocks.0.ffn.net.2.lora_A.student.weight`` -> ``student``."""
    return name.partition(".lora_")[2].split(".")[1]
