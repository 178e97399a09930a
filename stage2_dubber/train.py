"""Train one phase of the editor, or LTX-2.

``torchrun --nproc_per_node=N stage2_dubber/train.py --config configs/tiny.yaml configs/stage2_structure.yaml
data.shards=[DIR] train.output=DIR``; without torchrun it is one process. The same command again continues.
A configuration with a section ``joint`` (configs/ltx2_*.yaml) is one of LTX-2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.command import run_configured
from common.config_arguments import named_sections
from stage2_dubber.config import Stage2Config, check
from stage2_dubber.joint.config import SECTION, JointTrainingConfig

PROG = "stage2_dubber/train.py"


def main(argv: Sequence[str] | None = None) -> int:
    if SECTION in named_sections(argv):
        return run_configured(
            JointTrainingConfig,
            run_joint,
            prog=PROG,
            description="Train LTX-2, or an in-context LoRA of it, on encoded pairs.",
            argv=argv,
        )
    return run_configured(
        Stage2Config,
        lambda config, dry_run: run(check(config), dry_run),
        prog=PROG,
        description="Train one phase of the editor on pairs from stage 1.",
        argv=argv,
        show_timesteps=_timesteps,
    )


def _timesteps(config: Stage2Config) -> str:
    from common.diffusion.flow import FlowMatching
    from common.training.timesteps import show_timesteps

    diffusion, phase = config.diffusion, config.phase
    flow = FlowMatching(diffusion.shift, diffusion.timestep_a)
    return show_timesteps(phase.name, flow, diffusion.num_steps, phase.active_range)


def run(config: Stage2Config, dry_run: bool = False) -> None:
    """Train, or only print what the configuration amounts to."""
    # Seconds of imports that a mistyped key need not wait for.
    from stage2_dubber.training.launch import run_phase
    from stage2_dubber.training.strategy import EditorStrategy

    run_phase(config, EditorStrategy, dry_run)


def run_joint(config: JointTrainingConfig, dry_run: bool = False) -> None:
    """As :func:`run`, of LTX-2."""
    from stage2_dubber.joint.launch import run_training

    run_training(config, dry_run)


if __name__ == "__main__":
    sys.exit(main())
