"""`python -m stage2_dubber.adaptation.mouths`: a painter that knows one person becomes part of a package.

A painter is refused that paints held-out mouths of the person no better than the one it was trained from.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from common.data.dataset import ShardDataset
from common.errors import UserError
from common.files import atomic_dir
from common.mouth_painter.samples import every_mouth
from common.own_mouths.painting.network import load_painter
from common.own_mouths.painting.shipped import PAINTER_FOLDER
from stage2_dubber.adaptation.command import linked_copy, run_with_folders


def main(argv: Sequence[str] | None = None) -> int:
    return run_with_folders(
        "stage2_dubber.adaptation.mouths",
        __doc__,
        finish_mouths,
        argv,
        model="the package that is dubbed with",
        before="the painter that the training began with",
        after="the painter that it made",
        mouths="shards of open mouths that it did not see",
        output="the package to write",
    )


def finish_mouths(model: Path, before: Path, after: Path, mouths: Path, output: Path) -> None:
    """Check the painter ``after`` and write ``output``: the files of ``model``, and the painter.

    The model's weights are hard links where the file system has them, so that only the painter takes space.

    Raises:
        UserError: the painter is no better than ``before``, or a folder is not what it should be.
    """
    errors = [painting_error(folder, mouths) for folder in (before, after)]
    told = f"error of held-out insides {errors[0]:.1f} to {errors[1]:.1f} grey levels"
    if errors[1] >= errors[0]:
        raise UserError(
            f"{after}: the painter does not paint this person better ({told}): nothing was written; give "
            "more film of the person, or other minutes."
        )
    with atomic_dir(output) as temporary:
        linked_copy(model, temporary, leave=PAINTER_FOLDER)
        shutil.copytree(after, temporary / PAINTER_FOLDER)
    print(f"adapted: {told}; the package is {output}", file=sys.stderr)


def painting_error(painter: Path, mouths: Path) -> float:
    """Mean absolute error of what a painter paints, grey levels: the mean over mouths.

    Args:
        painter: its folder.
        mouths: folder of shards of ``python -m common.mouth_painter.label``.

    Raises:
        UserError: one of both cannot be read.
    """
    network, dataset, errors = load_painter(painter), ShardDataset(mouths), []
    for number in range(len(dataset)):
        planes, filmed, mask = every_mouth(dataset.sample(number))
        with torch.inference_mode():
            off = (network(planes) - filmed).abs().mean(dim=1, keepdim=True) * mask
        errors.append(off.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)))
    return 255 * float(torch.cat(errors).mean())


if __name__ == "__main__":
    sys.exit(main())
