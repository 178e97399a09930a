"""Speakers with many clips are drawn more rarely than they have clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.data.dataset import ShardDataset
from common.errors import UserError

Numbers = npt.NDArray[np.int64]


def by_speaker(
    dataset: ShardDataset, parts: Sequence[Numbers], weights: Sequence[float], exponent: float
) -> tuple[list[Numbers], list[float]]:
    """Parts and weights in which every speaker is a part.

    Within a part of the data set a speaker with n clips is drawn in proportion to n ** ``exponent``: 1 leaves
    everything as it was, 0 gives all speakers the same share. The shares of the parts themselves stay.

    Args:
        parts: sample numbers; ``weights``: their shares; empty: as many as they have samples.

    Raises:
        UserError: a sample does not say whose it is.
    """
    found: list[Numbers] = []
    shares: list[float] = []
    for part, weight in zip(parts, weights or [len(part) for part in parts], strict=True):
        speakers: dict[str, list[int]] = defaultdict(list)
        for number in part:
            speakers[_speaker(dataset, int(number))].append(int(number))
        powers = {name: len(numbers) ** exponent for name, numbers in speakers.items()}
        total = sum(powers.values())
        for name, numbers in speakers.items():
            found.append(np.asarray(numbers, np.int64))
            shares.append(weight * powers[name] / total)
    return found, shares


def _speaker(dataset: ShardDataset, number: int) -> str:
    speaker = dataset.sample(number).meta.get("speaker")
    if not isinstance(speaker, str) or not speaker:
        raise UserError(
            f"The sample {dataset.keys[number]} names no speaker, which data.speaker_exponent needs: set it "
            "to 1, or make the shards again."
        )
    return speaker
