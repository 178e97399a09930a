"""`python -m stage1_generator.train_phonetics`: train the phonetic encoder that a lip reader hears with.

Reads the shards of `phonetics` (data.shards); `package/` in train.output is what `listen.phonetics` names
then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from stage1_generator.command import run_command
from stage1_generator.config import Stage1Config


def main(argv: list[str] | None = None) -> int:
    return run_command("train_phonetics", __doc__ or "", run, dry_run, argv, lock=False)


def dry_run(config: Stage1Config) -> None:
    shards = ", ".join(config.data.shards)
    print(f"train_phonetics: shards {shards or '(none)'}, {config.train.max_steps} steps at most")
    print(f"train_phonetics: phonetic encoder into {config.train.output}/package")


def run(config: Stage1Config) -> None:
    from common.training.launch import is_main_process, open_shards, train
    from stage1_generator.phonetics_strategy import PhoneticsStrategy

    dataset = open_shards(config.data)
    result = train(config, PhoneticsStrategy(config, dataset), dataset)
    if is_main_process():
        print(f"train_phonetics: {result.step} steps, encoder in {result.package}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
