"""`python -m common.phonetics.train`: train the phonetic encoder whose features a lip-shape predictor gets.

Reads the shards of `common.phonetics.label` (data.shards); `package/` in train.output is what
`lip_shapes.phonetics` names then. Also under `torchrun --nproc_per_node=N`; the same command again continues.
"""

from __future__ import annotations

import sys
from typing import Any

from common.phonetics.config import PhoneticTrainingConfig
from common.training.command import training_command


def main(argv: list[str] | None = None) -> int:
    module, result = "common.phonetics.train", "phonetic encoder"
    return training_command(
        PhoneticTrainingConfig, _strategy, module=module, result=result, about=__doc__ or "", argv=argv
    )


def _strategy() -> type[Any]:
    from common.phonetics.strategy import PhoneticsStrategy

    return PhoneticsStrategy


if __name__ == "__main__":
    sys.exit(main())
