"""Train a sync expert on the clips of stage 1.

``torchrun --nproc_per_node=N common/sync_expert/train.py --config configs/sync.yaml
data.shards=[STAGE1/encoded] train.output=DIR``; the same command again continues. Held-out shards, of other
speakers, are named in ``sync.held_out``. Sound and picture of the clips must be in sync beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.command import run_configured
from common.sync_expert.config import SyncTrainingConfig


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured(
        SyncTrainingConfig,
        run,
        prog="common/sync_expert/train.py",
        description="Train a sync expert on the clips of stage 1.",
        argv=argv,
    )


def run(config: SyncTrainingConfig, dry_run: bool = False) -> None:
    """Train, then measure on the held-out clips."""
    from common.data.dataset import ShardDataset
    from common.sync_expert.model import load_expert
    from common.sync_expert.strategy import SyncStrategy, evaluate_expert
    from common.training.launch import is_main_process, open_shards, train

    dataset = open_shards(config.data)
    strategy = SyncStrategy(config.sync, config.train, dataset)
    held_out = ShardDataset(list(config.sync.held_out)) if config.sync.held_out else None
    if is_main_process():
        print("\n".join(strategy.describe(len(dataset))), flush=True)
    if dry_run:
        return
    result = train(config, strategy, dataset)
    if not is_main_process():
        return
    print(f"{result.step} steps, expert in {result.package}")
    if held_out is None:
        print("sync.held_out names no shards: nothing was measured on unseen clips.")
        return
    report = evaluate_expert(load_expert(result.package), strategy, held_out)
    print(f"held-out accuracy {report.accuracy:.3f}, loss {report.loss:.3f} (chance 0.693)")
    print("offsets (frames: clips) " + ", ".join(f"{k:+d}: {v}" for k, v in report.offsets.items()))
    if report.at_chance:
        print("warning: the loss sits at chance, the expert has learnt nothing.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
