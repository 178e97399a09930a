"""`python -m stage1_generator.train_speech`: teach the speech layers what mouths do, before any picture.

Reads the shards of the encode step, like `stage1_generator.train`, which then starts from the package that
this leaves (`train.init_from`). Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from stage1_generator.command import run_command
from stage1_generator.config import Stage1Config
from stage1_generator.train import dry_run


def main(argv: list[str] | None = None) -> int:
    return run_command("train_speech", __doc__ or "", run, dry_run, argv, lock=False)


def run(config: Stage1Config) -> None:
    from common.training.launch import is_main_process, open_shards, train
    from stage1_generator.speech_strategy import SpeechStrategy

    dataset = open_shards(config.data)
    result = train(config, SpeechStrategy(config, dataset), dataset)
    if is_main_process():
        print(f"train_speech: {result.step} steps, model package in {result.package}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
