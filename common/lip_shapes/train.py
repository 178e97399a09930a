"""`python -m common.lip_shapes.train`: train the lip-shape predictor that `speech.encoder: lips` uses.

Reads the shards of `common.lip_shapes.label` (data.shards); `package/` in train.output is what `speech.path`
names then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys
from typing import Any

from common.lip_shapes.config import LipTrainingConfig
from common.training.command import training_command


def main(argv: list[str] | None = None) -> int:
    module, result = "common.lip_shapes.train", "lip-shape predictor"
    return training_command(
        LipTrainingConfig, _strategy, module=module, result=result, about=__doc__ or "", argv=argv
    )


def _strategy() -> type[Any]:
    from common.lip_shapes.strategy import LipShapeStrategy

    return LipShapeStrategy


if __name__ == "__main__":
    sys.exit(main())
