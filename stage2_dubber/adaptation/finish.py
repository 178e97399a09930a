"""`python -m stage2_dubber.adaptation.finish`: a trained adapter is checked, and becomes part of a package.

An adapter is refused that draws held-out clips of the person no better than the model without it, or with
which the model hears less: shown a clip, it must not copy the lips instead of listening.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError
from common.files import atomic_dir, require_file
from common.models.package_info import METADATA_FILE, adapter_file, read_info, write_info
from common.training.held_out import HEARD, HeldOutLoss
from common.training.meter import METRICS
from stage2_dubber.adaptation.command import linked_copy, run_with_folders

LEAST_HEARD = 0.9
"""Of what the model hears without the adapter."""


@dataclass(frozen=True)
class HeldOutLosses:
    """Of held-out clips (:class:`common.training.held_out.HeldOutLoss`): the mean flow loss, and how much
    speech changes the lips.
    """

    mean: float
    heard: float


def main(argv: Sequence[str] | None = None) -> int:
    return run_with_folders(
        "stage2_dubber.adaptation.finish",
        __doc__,
        finish,
        argv,
        model="the package that was adapted",
        run="the folder of the adapter's training",
        output="the package to write",
    )


def finish(model: Path, run: Path, output: Path) -> None:
    """Check the adapter of ``run`` and write ``output``: the files of ``model``, and the adapter.

    The model's weights are hard links where the file system has them, so that only the adapter takes space.

    Raises:
        UserError: the adapter does no good, or nothing was measured.
    """
    before, after = measured(run / METRICS)
    told = (
        f"held-out loss {before.mean:.4f} to {after.mean:.4f}, heard {before.heard:.4f} to {after.heard:.4f}"
    )
    if after.mean >= before.mean:
        raise UserError(
            f"{run}: the adapter does not help ({told}): nothing was written; give more film of the "
            "person, or more minutes."
        )
    if after.heard < LEAST_HEARD * before.heard:
        raise UserError(
            f"{run}: with the adapter the model hears less ({told}): nothing was written; give fewer minutes "
            "or more film."
        )
    trained, info = read_info(run / "package"), read_info(model)
    with atomic_dir(output) as temporary:
        linked_copy(model, temporary, leave=METADATA_FILE)
        for adapter in trained.adapters:
            shutil.copy2(run / "package" / adapter_file(adapter.name), temporary)
        write_info(temporary, replace(info, adapters=trained.adapters, training=trained.training))
    print(f"adapted: {told}; the package is {output}", file=sys.stderr)


def measured(metrics: Path) -> tuple[HeldOutLosses, HeldOutLosses]:
    """What a training measured before its first step, and after its last.

    Raises:
        UserError: one of both is missing.
    """
    lines = require_file(metrics, "log of the training").read_text().splitlines()
    logged = (json.loads(line) for line in lines)
    found = {row["step"]: row[HeldOutLoss.name] for row in logged if HeldOutLoss.name in row}
    if len(found) < 2 or min(found) or any(HEARD not in values for values in found.values()):
        raise UserError(
            f"{metrics}: loss and hearing of held-out clips were not measured before and after the training: "
            "train with data.held_out, train.evaluate_hearing=true and at least one step."
        )
    first, last = found[min(found)], found[max(found)]
    return HeldOutLosses(first["mean"], first[HEARD]), HeldOutLosses(last["mean"], last[HEARD])


if __name__ == "__main__":
    sys.exit(main())
