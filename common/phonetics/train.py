"""`python -m common.phonetics.train`: train the phonetic encoder whose features a lip-shape predictor gets.

Reads the shards of `common.phonetics.label` (data.shards); `package/` in train.output is what
`listen.phonetics` names then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from common.command import run_configured
from common.phonetics.config import PhoneticTrainingConfig


def main(argv: list[str] | None = None) -> int:
    prog = "python -m common.phonetics.train"
    return run_configured(PhoneticTrainingConfig, run, prog=prog, description=__doc__ or "", argv=argv)


def run(config: PhoneticTrainingConfig, dry_run: bool = False) -> None:
    """Train, or only print what would be trained."""
    # Seconds of imports that a mistyped key need not wait for.
    from common.phonetics.strategy import PhoneticsStrategy
    from common.training.launch import run_training, training_plan

    if dry_run:
        print(training_plan("phonetics.train", "phonetic encoder", config.train, config.data))
    else:
        run_training("phonetics.train", "phonetic encoder", PhoneticsStrategy, config)


if __name__ == "__main__":
    sys.exit(main())
