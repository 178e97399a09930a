"""Companions made of an entry's own frames, without a generator: which clips, and the run over them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from common.data.prepared import PreparedClip
from common.data.writer import safe_key
from common.parallel import run_parallel
from common.progress import StepProgress
from stage1_generator.companions.plan import PairPlan, chosen_clips
from stage1_generator.config import Stage1Config
from stage1_generator.work.paths import work_paths


class EntryFrames:
    """What an entry's own frames show, for all of its clips: read once, when it is first needed."""

    def __init__(self, entry: PreparedClip) -> None:
        self.entry = entry

    @cached_property
    def crops(self) -> NDArray[np.uint8]:
        """(N, S, S, 3)."""
        return self.entry.crops()

    @cached_property
    def landmarks(self) -> NDArray[np.float32]:
        """(N, 68, 3) crop pixels."""
        return self.entry.track().landmarks


AnyFrames = TypeVar("AnyFrames", bound=EntryFrames)


def plan_companions(entries: Sequence[PreparedClip], config: Stage1Config, kind: str) -> list[PairPlan]:
    """The clips to be tried, in key order: as many of each speaker as get generated companions.

    Clips with known occluders are left out: lips taken from another moment would bring its occluder along.
    ``kind`` ends the keys.
    """
    pairs = config.pairs
    clips = chosen_clips(
        [(entry.id, entry.speaker, entry.frames) for entry in entries if not entry.meta["occluder"]],
        pairs.clip_frames,
        pairs.stride,
        config.synthesis.seed,
        pairs.per_speaker,
    )
    plans = [
        PairPlan(safe_key(f"{key}-{kind}"), entry, start, pairs.clip_frames, None)
        for key, (entry, start) in clips.items()
    ]
    return sorted(plans, key=lambda plan: plan.key)


def make_companions(
    what: str,
    plans: Sequence[PairPlan],
    entries: Mapping[str, PreparedClip],
    config: Stage1Config,
    make: Callable[[PairPlan, AnyFrames], tuple[bool, bool]],
    frames_of: type[AnyFrames],
) -> int:
    """Make the companions of all plans, several entries at once; returns how many are accepted.

    Args:
        what: name of the step.
        make: makes one companion; returns whether it is accepted, and whether there was work to do.
        frames_of: the class of what ``make`` gets of the clip's entry.
    """
    groups: dict[str, list[PairPlan]] = defaultdict(list)
    for plan in plans:
        groups[plan.entry].append(plan)

    def make_all(entry: str) -> list[tuple[bool, bool]]:
        opened = frames_of(entries[entry])
        return [make(plan, opened) for plan in groups[entry]]

    progress, accepted = StepProgress(what, len(plans)), 0
    for entry, results in run_parallel(make_all, list(groups), config.blend.workers):
        for plan, (good, worked) in zip(groups[entry], results, strict=True):
            accepted += good
            progress.step(plan.length if worked else 0)
    progress.finish(work_paths(config).root)
    return accepted
