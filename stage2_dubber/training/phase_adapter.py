"""The adapter that a phase trains."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import UserError
from common.models.adapters import Adapter, add_adapter
from common.models.transformer import DubbingTransformer
from stage2_dubber.config import PhaseConfig


def add_phase_adapter(
    model: DubbingTransformer, phase: PhaseConfig, earlier: Sequence[Adapter]
) -> Adapter | None:
    """Prepare ``model`` for a phase: freeze it and add the phase's adapter, or None where all is trained.

    Adapters of earlier phases are carried along but switched off: they act at other noise levels.

    Raises:
        UserError: the adapter is already there, no targets are named, or a model with adapters is to be
            trained as a whole.
    """
    names = [adapter.name for adapter in earlier]
    if not phase.lora_rank:
        if names:
            raise UserError(
                f"train.init_from has adapters ({', '.join(names)}), which will not fit once all parameters "
                "are trained: set train.keep_adapters=false to leave them behind, or set phase.lora_rank."
            )
        return None
    if phase.name in names:
        raise UserError(
            f"train.init_from has an adapter {phase.name!r} already: start from the phase before."
        )
    if not phase.lora_targets:
        raise UserError("phase.lora_targets is empty: name the layers that the adapter shall change.")
    add_adapter(model, phase.name, phase.lora_rank, phase.lora_alpha, phase.lora_targets)
    low, high = phase.active_range
    return Adapter(phase.name, (low, high))
