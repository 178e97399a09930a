"""`python -m common.mouth_painter.train`: train the painter of insides of mouths.

Reads the shards of `common.mouth_painter.label` (data.shards); `package/` in train.output is the
painter. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys
from typing import Any

from common.mouth_painter.config import PainterTrainingConfig
from common.training.command import training_command


def main(argv: list[str] | None = None) -> int:
    module, result = "common.mouth_painter.train", "painter of mouths"
    return training_command(
        PainterTrainingConfig, _strategy, module=module, result=result, about=__doc__ or "", argv=argv
    )


def _strategy() -> type[Any]:
    from common.mouth_painter.strategy import PainterStrategy

    return PainterStrategy


if __name__ == "__main__":
    sys.exit(main())
