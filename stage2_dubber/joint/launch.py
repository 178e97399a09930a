"""Start a training of LTX-2, or print what it amounts to."""

from __future__ import annotations

import os

from common.training.launch import is_main_process, open_shards, train
from stage2_dubber.joint.config import JointTrainingConfig
from stage2_dubber.joint.estimate import describe_joint
from stage2_dubber.joint.strategy import JointStrategy


def run_training(config: JointTrainingConfig, dry_run: bool) -> None:
    """Train, or only print what the configuration amounts to: then no model and no data need be there."""
    if dry_run:
        print(describe_joint(config, int(os.environ.get("WORLD_SIZE", "1"))))
        return
    dataset = open_shards(config.data)
    strategy = JointStrategy(config, dataset)
    if is_main_process():
        print(f"{config.joint.summary}; {len(dataset)} windows", flush=True)
    result = train(config, strategy, dataset)
    if is_main_process():
        print(f"{result.step} steps, model package in {result.package}")
