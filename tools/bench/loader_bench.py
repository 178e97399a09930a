"""How fast the data loader is, against what the trainer uses: the same data, configuration and processes.

``python tools/bench/loader_bench.py --config configs/tiny.yaml configs/stage2_structure.yaml
configs/stage2_tiny.yaml data.shards=[PAIRS]``, or under ``torchrun --nproc_per_node=N``.

The baseline, named ``trainer``, are some optimiser steps of the given configuration in this same run. Beside
it: ``cached``, the loader alone on pairs with latents, and ``uncached``, the loader and the encoders on the
same pairs without. The last line is JSON; all rates are samples per second of all processes together.

Where other work shares the machine, times on the wall say little. Without loader workers and on a CPU all
work is the processes' own; then ``cpu`` holds the same ratios of samples per second of CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn
from torch.utils.data import DataLoader

from common.config import load_config
from common.config_arguments import add_config_arguments, parse_config_arguments
from common.data.dataset import ShardDataset
from common.data.order import build_order
from common.data.schema import CACHE
from common.data.writer import ShardWriter
from common.errors import EXIT_CODE, UserError
from common.speech.build import build_speech_encoder
from common.training.conditioning import FlowInputs
from common.training.draws import DrawSampler
from common.training.launch import open_shards, train
from common.training.loading import Assemble, DrawnSamples, MicroBatch
from common.training.strategy import SampleLosses
from stage2_dubber.config import Stage2Config, check
from stage2_dubber.training.clip_encoder import ClipEncoder
from stage2_dubber.training.strategy import EditorStrategy


@dataclass(frozen=True)
class Clock:
    """Seconds on the wall, and those for which this process had a core."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.perf_counter(), time.process_time())


class TimedStrategy(EditorStrategy):
    """Notes when each forward pass begins; from one to the next is all that a pass costs."""

    def __init__(self, config: Stage2Config, dataset: ShardDataset) -> None:
        super().__init__(config, dataset)
        self.begun: list[Clock] = []

    def loss(self, model: nn.Module, inputs: FlowInputs) -> SampleLosses:
        self.begun.append(Clock.now())
        return super().loss(model, inputs)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of the trainer (default 8)")
    parser.add_argument("--batches", type=int, default=40, help="micro-batches of the cached loader")
    parser.add_argument("--uncached", type=int, default=8, help="pairs that are encoded while training")
    try:
        options = parse_config_arguments(parser, argv)
        config = check(load_config(Stage2Config, options.config, options.overrides))
        report = measure(config, options.steps, options.batches, options.uncached)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    if PartialState().is_main_process:
        for name in ("trainer", "cached", "uncached"):
            print(f"{name:<9} {report[name]:9.1f} samples/s")
        print(f"loader over trainer {report['loader_over_trainer']:.1f} (wanted: 10 or more)")
        if "cpu" in report:
            print(f"  by CPU time: {report['cpu']['loader_over_trainer']:.1f}")
        print(f"cached over uncached {report['cached_over_uncached']:.1f}")
        print(json.dumps(report))
    return 0


def measure(config: Stage2Config, steps: int, batches: int, uncached: int) -> dict[str, Any]:
    """Rates and ratios. Writes only into a temporary folder.

    Raises:
        UserError: the pairs have no cache, or the configuration is wrong.
    """
    # The trainer takes the processes as they are set up here.
    state = PartialState(cpu=not torch.cuda.is_available())
    dataset = open_shards(config.data)
    if steps < 3:
        raise UserError(f"--steps is {steps}; the first one warms up: give 3 or more.")
    if not all(dataset.sample(i).has(CACHE) for i in range(len(dataset))):
        raise UserError("data.shards must have cached latents: the bench takes them away itself.")
    strategy = TimedStrategy(config, dataset)
    with tempfile.TemporaryDirectory() as own:
        # One folder for the run of all processes, the main one's.
        folder = broadcast_object_list([own])[0]
        config.train.output = str(Path(folder) / "run")
        config.train.max_steps = steps
        config.train.log_every = config.train.save_every = steps
        cached = _summed(state, _loader_rates(config, dataset, state, batches))
        bare = without_cache(dataset, Path(own) / "bare", uncached)
        encoder = ClipEncoder(
            strategy.start.codec,
            build_speech_encoder(config.speech),
            config.geometry.clip_frames,
            config.speech.extra_window,
            config.train.seed,
            config.augment,
        )
        passes = -(-uncached // config.train.micro_batch_size)
        encoded = _summed(state, _loader_rates(config, bare, state, passes, encoder.batch))
        train(config, strategy, dataset)
    # The first step warms up.
    per_step = config.train.global_batch_size // (config.train.micro_batch_size * state.num_processes)
    begun = strategy.begun[::per_step][1:]
    trainer = Clock(
        config.train.global_batch_size / statistics.median(b.wall - a.wall for a, b in pairwise(begun)),
        config.train.global_batch_size / statistics.median(b.cpu - a.cpu for a, b in pairwise(begun)),
    )
    report = {
        "baseline": f"trainer, {steps} optimiser steps of the same configuration",
        "processes": state.num_processes,
        "workers": config.train.num_workers,
        "trainer": trainer.wall,
        "cached": cached.wall,
        "uncached": encoded.wall,
        **_ratios(trainer.wall, cached.wall, encoded.wall),
    }
    if not config.train.num_workers and state.device.type == "cpu":
        report["cpu"] = _ratios(trainer.cpu, cached.cpu, encoded.cpu)
    return report


def _ratios(trainer: float, cached: float, uncached: float) -> dict[str, float]:
    return {
        "loader_over_trainer": cached / trainer,
        "uncached_over_trainer": uncached / trainer,
        "cached_over_uncached": cached / uncached,
    }


def without_cache(dataset: ShardDataset, folder: Path, count: int) -> ShardDataset:
    """The first ``count`` samples as a new set of shards without what encoders made of them."""
    with ShardWriter(folder, "bare", count, {"step": "bench"}) as writer:
        for number in range(min(count, len(dataset))):
            members = dataset.members(number)
            writer.add(dataset.keys[number], {name: data for name, data in members.items() if name != CACHE})
    return ShardDataset(folder)


def _loader_rates(
    config: Stage2Config,
    dataset: ShardDataset,
    state: PartialState,
    batches: int,
    after: Callable[[MicroBatch], Any] | None = None,
) -> Clock:
    """Samples per second of this process' loader, on the wall and of CPU time.

    ``after`` is what the trainer would do to its batches.
    """
    train_ = config.train
    order = build_order(dataset, config.data, train_.global_batch_size, train_.seed)
    sampler = DrawSampler(
        order, train_.global_batch_size, train_.micro_batch_size, state.num_processes, state.process_index, 0
    )
    assemble = Assemble(config.geometry.clip_frames, config.speech.extra_window)
    loader = DataLoader(
        DrawnSamples(dataset), batch_sampler=sampler, collate_fn=assemble, num_workers=train_.num_workers
    )
    micros: Iterator[MicroBatch] = iter(loader)
    # Workers start and run ahead: what they have ready by now must not count.
    for micro in islice(micros, 1 + 2 * train_.num_workers):
        if after is not None:
            after(micro)
    state.wait_for_everyone()
    begun, samples = Clock.now(), 0
    for micro in islice(micros, batches):
        if after is not None:
            after(micro)
        samples += len(micro)
    ended = Clock.now()
    return Clock(samples / (ended.wall - begun.wall), samples / (ended.cpu - begun.cpu))


def _summed(state: PartialState, rates: Clock) -> Clock:
    if state.num_processes == 1:
        return rates
    total = torch.tensor([rates.wall, rates.cpu], dtype=torch.float32, device=state.device)
    torch.distributed.all_reduce(total)
    return Clock(*total.tolist())


if __name__ == "__main__":
    sys.exit(main())
