"""Shards of speech with labels, as the commands that label them write them."""

from __future__ import annotations

from typing import Any

from common.data.dataset import ShardDataset
from common.errors import UserError
from common.speech.mel import MelEncoder


def require_labelled(dataset: ShardDataset, commands: dict[str, str], learner: str) -> None:
    """Refuse shards that none of ``commands`` made, all alike, of today's log-mel features.

    Args:
        commands: module of each command by the step that its index names.
        learner: what is trained on them, for the message.

    Raises:
        UserError: naming the folder and what to do.
    """
    for index in dataset.indices:
        made_by: dict[str, Any] = index.meta
        if made_by.get("step") not in commands or made_by.get("speech") != MelEncoder().fingerprint:
            wanted = " or ".join(f"`python -m {module}`" for module in commands.values())
            raise UserError(
                f"'{index.folder}' does not hold labelled speech for {learner}: name the shards of {wanted} "
                "in data.shards."
            )
        if made_by.get("heard_with") != dataset.indices[0].meta.get("heard_with"):
            raise UserError(
                f"'{index.folder}' was labelled with another teacher than '{dataset.indices[0].folder}', or "
                "with none: name shards that were made alike."
            )
