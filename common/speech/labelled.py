"""Which shards of labelled speech a training takes."""

from __future__ import annotations

from typing import Any

from common.data.dataset import ShardDataset
from common.data.index import ShardIndex
from common.data.labelled import labelling_step
from common.errors import UserError
from common.speech.mel import MelEncoder

TEACHER_FEATURES = "teacher_features"
"""In the index of shards whose features include a teacher's: that teacher's fingerprint."""
# What sets of shards that were made before the steps had today's names say instead.
_FORMER_TEACHER_FEATURES = "heard_with"


def require_labelled(dataset: ShardDataset, commands: dict[str, str], learner: str) -> None:
    """Refuse shards that none of ``commands`` made, all alike, of today's log-mel features.

    Args:
        commands: module of each command by the step that its index names.
        learner: what is trained on them, for the message.

    Raises:
        UserError: naming the folder and what to do.
    """
    for index in dataset.indices:
        if labelling_step(index) not in commands or index.meta.get("speech") != MelEncoder().fingerprint:
            wanted = " or ".join(f"`python -m {module}`" for module in commands.values())
            raise UserError(
                f"'{index.folder}' does not hold labelled speech for {learner}: name the shards of {wanted} "
                "in data.shards."
            )
        if _teacher_of(index) != _teacher_of(dataset.indices[0]):
            raise UserError(
                f"'{index.folder}' was labelled with another teacher than '{dataset.indices[0].folder}', or "
                "with none: name shards that were made alike."
            )


def _teacher_of(index: ShardIndex) -> Any:
    return index.meta.get(TEACHER_FEATURES, index.meta.get(_FORMER_TEACHER_FEATURES))
