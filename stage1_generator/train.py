"""`python -m stage1_generator.train`: train the inpainting generator on the shards of the encode step.

Also under `torchrun --nproc_per_node=N`. The same command again continues; the model package for synthesis is
`package/` in train.output.
"""

from __future__ import annotations

import sys

from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command


def main(argv: list[str] | None = None) -> int:
    # No lock on the work folder: several processes train together, and only train.output is written.
    return run_command("train", __doc__ or "", run, dry_run, argv, lock=False, show_timesteps=timesteps)


def timesteps(config: Stage1Config) -> str:
    from common.diffusion.flow import FlowMatching
    from common.training.timesteps import show_timesteps

    diffusion = config.diffusion
    flow = FlowMatching(diffusion.shift, diffusion.timestep_a)
    return show_timesteps("generator", flow, diffusion.num_steps)


def dry_run(config: Stage1Config) -> None:
    from common.training.launch import derived_numbers

    print(derived_numbers(config, config.references.count), flush=True)


def run(config: Stage1Config) -> None:
    from common.training.launch import run_training
    from stage1_generator.generator.strategy import GeneratorStrategy

    run_training("train", "model package", GeneratorStrategy, config)


if __name__ == "__main__":
    sys.exit(main())
