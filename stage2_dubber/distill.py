"""Distil the trained editor into a student that dubs in a few steps without guidance.

``torchrun --nproc_per_node=N stage2_dubber/distill.py --config configs/tiny.yaml configs/distill.yaml
train.init_from=PACKAGE data.shards=[DIR] train.output=DIR``; the same command again continues. The package
that it leaves dubs as any other, ``diffusion.num_steps`` model calls per window.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.command import run_configured
from stage2_dubber.distillation.config import StudentConfig, check_student


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured(
        StudentConfig,
        lambda config, dry_run: run(check_student(config), dry_run),
        prog="stage2_dubber/distill.py",
        description="Distil the trained editor into a student of a few steps.",
        argv=argv,
    )


def run(config: StudentConfig, dry_run: bool = False) -> None:
    """Distil, or only print what the configuration amounts to."""
    # Seconds of imports that a mistyped key need not wait for.
    from stage2_dubber.distillation.report import company_of, distillation_numbers
    from stage2_dubber.distillation.strategy import StudentStrategy
    from stage2_dubber.training.launch import run_phase

    numbers = [distillation_numbers(config)]
    run_phase(config, StudentStrategy, dry_run, numbers, company_of(config))


if __name__ == "__main__":
    sys.exit(main())
