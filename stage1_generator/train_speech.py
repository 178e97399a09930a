"""`python -m stage1_generator.train_speech`: train the lip reader that `speech.encoder: lips` hears with.

Reads the shards of `listen` (data.shards); `package/` in train.output is what `speech.path` names then. Also
under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from stage1_generator.command import run_command
from stage1_generator.config import Stage1Config


def main(argv: list[str] | None = None) -> int:
    return run_command("train_speech", __doc__ or "", run, dry_run, argv, lock=False)


def dry_run(config: Stage1Config) -> None:
    shards = ", ".join(config.data.shards)
    print(f"train_speech: shards {shards or '(none)'}, {config.train.max_steps} steps at most")
    print(f"train_speech: lip reader into {config.train.output}/package")


def run(config: Stage1Config) -> None:
    from common.training.launch import is_main_process, open_shards, train
    from stage1_generator.speech_strategy import SpeechStrategy

    dataset = open_shards(config.data)
    result = train(config, SpeechStrategy(config, dataset), dataset)
    if is_main_process():
        print(f"train_speech: {result.step} steps, lip reader in {result.package}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
