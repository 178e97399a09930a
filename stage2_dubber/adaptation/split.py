"""`python -m stage2_dubber.adaptation.split`: pairs of one person -> those to train on, those to check with.

The last clips of every stretch of film are held out. Those that share frames with one of them are in neither
set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.command import exit_code_of
from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.data.writer import ShardWriter
from common.errors import UserError

TRAINED, HELD_OUT = "trained", "held_out"
HELD_OUT_SHARE = 0.2
"""Of the clips of a stretch, at least two of all."""
_SHARD_SAMPLES = 128


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stage2_dubber.adaptation.split", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="shards of pairs")
    parser.add_argument("--output", type=Path, required=True, help="the folder of both sets")
    given = parser.parse_args(argv)
    return exit_code_of(lambda: split(given.pairs, given.output))


def split(pairs: Path, output: Path) -> None:
    """Write ``output/trained`` and ``output/held_out``, copies of the samples in ``pairs``.

    Raises:
        UserError: there are too few clips for both sets.
    """
    dataset = ShardDataset(pairs)
    held_out = choose_held_out([_place(dataset.sample(number)) for number in range(len(dataset))])
    sets = {TRAINED: held_out["trained"], HELD_OUT: held_out["held_out"]}
    if not sets[TRAINED] or len(sets[HELD_OUT]) < 2:
        raise UserError(
            f"{pairs}: {len(dataset)} pairs are too few to train on some and to check with others: give more "
            "film of the person, five seconds or more in one piece."
        )
    meta = dataset.indices[0].meta
    for name, numbers in sets.items():
        keys = [dataset.keys[number] for number in numbers]
        with ShardWriter(output / name, "pairs", _SHARD_SAMPLES, {**meta, "split": name}) as writer:
            for number in numbers[writer.resume(keys) :]:
                writer.add(dataset.keys[number], dataset.members(number))
    print(
        f"split: {len(sets[TRAINED])} pairs to train on, {len(sets[HELD_OUT])} to check with", file=sys.stderr
    )


def choose_held_out(places: Sequence[tuple[str, int, int]]) -> Mapping[str, list[int]]:
    """Numbers of the clips of both sets.

    Args:
        places: (stretch, first frame, frames) of each clip.
    """
    stretches: dict[str, list[int]] = {}
    for number in sorted(range(len(places)), key=lambda n: places[n][:2]):
        stretches.setdefault(places[number][0], []).append(number)
    chosen: dict[str, list[int]] = {TRAINED: [], HELD_OUT: []}
    for numbers in stretches.values():
        kept = -(-len(numbers) * HELD_OUT_SHARE // 1)
        last = numbers[-max(2, int(kept)) :]
        border = places[last[0]][1]
        chosen[HELD_OUT] += last
        chosen[TRAINED] += [n for n in numbers if places[n][1] + places[n][2] <= border]
    return chosen


def _place(sample: Sample) -> tuple[str, int, int]:
    meta = sample.meta
    return str(meta["entry"]), int(meta["start"]), int(meta["frames"])


if __name__ == "__main__":
    sys.exit(main())
