"""`python -m common.lip_shapes.train`: train the lip reader that `speech.encoder: lips` hears with.

Reads the shards of `listen` (data.shards); `package/` in train.output is what `speech.path` names then. Also
under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.training import dry_run_training, run_training


def main(argv: list[str] | None = None) -> int:
    return run_command("train_speech", __doc__ or "", run, dry_run, argv, lock=False)


def dry_run(config: Stage1Config) -> None:
    dry_run_training("train_speech", "lip reader", config)


def run(config: Stage1Config) -> None:
    from common.lip_shapes.strategy import SpeechStrategy

    run_training("train_speech", "lip reader", SpeechStrategy, config)


if __name__ == "__main__":
    sys.exit(main())
