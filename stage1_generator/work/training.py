"""What the trainings of stage 1 share, beyond the trainer of both stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from stage1_generator.config import Stage1Config

if TYPE_CHECKING:
    from common.data.dataset import ShardDataset
    from common.training.strategy import Strategy


def run_training(name: str, result: str, strategy: Callable[..., Strategy], config: Stage1Config) -> None:
    """Train what ``strategy(config, dataset)`` builds on ``data.shards``; ``result`` says what came out."""
    from common.training.launch import is_main_process, open_shards, train

    dataset = open_shards(config.data)
    done = train(config, strategy(config, dataset), dataset)
    if is_main_process():
        print(f"{name}: {done.step} steps, {result} in {done.package}", file=sys.stderr)


def dry_run_training(name: str, result: str, config: Stage1Config) -> None:
    """Print what :func:`run_training` would do, for models without noise levels."""
    shards = ", ".join(config.data.shards)
    print(f"{name}: shards {shards or '(none)'}, {config.train.max_steps} steps at most")
    print(f"{name}: {result} into {config.train.output}/package")


def require_heard(dataset: ShardDataset, steps: Sequence[str], listener: str) -> None:
    """Refuse shards that no ``python -m stage1_generator.STEP`` made, all alike, of today's log-mel features.

    Raises:
        UserError: naming the folder, and who (``listener``) hears what the shards should hold.
    """
    from common.speech.mel import MelEncoder  # not every training hears with it

    for index in dataset.indices:
        made_by: dict[str, Any] = index.meta
        if made_by.get("step") not in steps or made_by.get("speech") != MelEncoder().fingerprint:
            raise UserError(
                f"'{index.folder}' does not hold what {listener} hears: name the shards of "
                f"`python -m stage1_generator.{steps[0]}` in data.shards."
            )
        if made_by.get("heard_with") != dataset.indices[0].meta.get("heard_with"):
            raise UserError(
                f"'{index.folder}' was heard with another teacher than '{dataset.indices[0].folder}', or "
                "with none: name shards that were made alike."
            )
