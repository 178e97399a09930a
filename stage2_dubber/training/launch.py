"""What the training commands of stage 2 share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from common.data.dataset import ShardDataset
from common.training.config import Company
from common.training.launch import derived_numbers, is_main_process, open_shards, train
from common.training.strategy import Strategy
from stage2_dubber.config import Stage2Config

C = TypeVar("C", bound=Stage2Config)


def run_phase(
    config: C,
    build: Callable[[C, ShardDataset], Strategy],
    dry_run: bool,
    numbers: Sequence[str] = (),
    company: Company | None = None,
) -> None:
    """Print what the configuration amounts to, then train what ``build`` makes of it.

    ``numbers``: further tables to be printed. ``company``: what the training holds and computes besides the
    model.
    """
    if is_main_process():
        print(derived_numbers(config, company=company), *numbers, sep="\n", flush=True)
    if dry_run:
        return
    dataset = open_shards(config.data)
    result = train(config, build(config, dataset), dataset)
    if is_main_process():
        print(f"{result.step} steps, model package in {result.package}")
