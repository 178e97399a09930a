"""`python -m common.lip_shapes.train`: train the lip-shape predictor that `speech.encoder: lips` uses.

Reads the shards of `common.lip_shapes.label` (data.shards); `package/` in train.output is what `speech.path`
names then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys

from common.command import run_configured
from common.lip_shapes.config import LipTrainingConfig


def main(argv: list[str] | None = None) -> int:
    prog = "python -m common.lip_shapes.train"
    return run_configured(LipTrainingConfig, run, prog=prog, description=__doc__ or "", argv=argv)


def run(config: LipTrainingConfig, dry_run: bool = False) -> None:
    """Train, or only print what would be trained."""
    # Seconds of imports that a mistyped key need not wait for.
    from common.lip_shapes.strategy import LipShapeStrategy
    from common.training.launch import run_training, training_plan

    if dry_run:
        print(training_plan("lip_shapes.train", "lip-shape predictor", config.train, config.data))
    else:
        run_training("lip_shapes.train", "lip-shape predictor", LipShapeStrategy, config)


if __name__ == "__main__":
    sys.exit(main())
