"""`python -m common.phonetics.train`: train the phonetic encoder that a lip reader hears with.

Reads the shards of `phonetics` (data.shards); `package/` in train.output is what `listen.phonetics` names
then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.training import dry_run_training, run_training


def main(argv: list[str] | None = None) -> int:
    return run_command("train_phonetics", __doc__ or "", run, dry_run, argv, lock=False)


def dry_run(config: Stage1Config) -> None:
    dry_run_training("train_phonetics", "phonetic encoder", config)


def run(config: Stage1Config) -> None:
    from common.phonetics.strategy import PhoneticsStrategy

    run_training("train_phonetics", "phonetic encoder", PhoneticsStrategy, config)


if __name__ == "__main__":
    sys.exit(main())
