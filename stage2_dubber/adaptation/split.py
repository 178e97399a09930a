"""`python -m stage2_dubber.adaptation.split`: clips of one person -> those to train on, those to check with.

The last clips of every stretch of film are held out. Those that share frames with one of them are in neither
set.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.data.dataset import ShardDataset
from common.data.schema import Sample
from common.data.writer import ShardWriter
from common.errors import UserError
from stage2_dubber.adaptation.command import run_with_folders

TRAINED, HELD_OUT = "trained", "held_out"
HELD_OUT_SHARE = 0.2
"""Of the clips of a stretch, at least two of all."""
_SHARD_SAMPLES = 128


def main(argv: Sequence[str] | None = None) -> int:
    return run_with_folders(
        "stage2_dubber.adaptation.split",
        __doc__,
        split,
        argv,
        pairs="shards of pairs, or of open mouths",
        output="the folder of both sets",
    )


def split(pairs: Path, output: Path) -> None:
    """Write ``output/trained`` and ``output/held_out``, copies of the samples in ``pairs``.

    Raises:
        UserError: there are too few clips for both sets.
    """
    dataset = ShardDataset(pairs)
    sets = choose_held_out([_place(dataset.sample(number)) for number in range(len(dataset))])
    if not sets[TRAINED] or len(sets[HELD_OUT]) < 2:
        raise UserError(
            f"{pairs}: {len(dataset)} clips are too few to train on some and to check with others: give more "
            "film of the person, five seconds or more in one piece."
        )
    meta = dataset.indices[0].meta
    for name, numbers in sets.items():
        keys = [dataset.keys[number] for number in numbers]
        with ShardWriter(output / name, "pairs", _SHARD_SAMPLES, {**meta, "split": name}) as writer:
            for number in numbers[writer.resume(keys) :]:
                writer.add(dataset.keys[number], dataset.members(number))
    print(
        f"split: {len(sets[TRAINED])} clips to train on, {len(sets[HELD_OUT])} to check with", file=sys.stderr
    )


def choose_held_out(places: Sequence[tuple[str, int, int]]) -> Mapping[str, list[int]]:
    """Numbers of the clips of both sets, by the set's name.

    Args:
        places: (stretch, first frame, frames) of each clip.
    """
    stretches: dict[str, list[int]] = {}
    for number in sorted(range(len(places)), key=lambda n: places[n][:2]):
        stretches.setdefault(places[number][0], []).append(number)
    chosen: dict[str, list[int]] = {TRAINED: [], HELD_OUT: []}
    for numbers in stretches.values():
        last = numbers[-max(2, math.ceil(len(numbers) * HELD_OUT_SHARE)) :]
        border = places[last[0]][1]
        chosen[HELD_OUT] += last
        chosen[TRAINED] += [n for n in numbers if places[n][1] + places[n][2] <= border]
    return chosen


def _place(sample: Sample) -> tuple[str, int, int]:
    meta = sample.meta
    return str(meta["entry"]), int(meta["start"]), int(meta["frames"])


if __name__ == "__main__":
    sys.exit(main())
