"""Own mouths for the frames of one clip, from collected mouths and speech to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.own_mouths.clip import ClipMouths
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.heads import Heads
from common.own_mouths.place import FramePlacer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from common.own_mouths.wanted import calibrated, wanted_shapes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MouthRenderer:
    """Draws the frames of one clip.

    Attributes:
        frames: (N,) the clip's frames that get another mouth, rising.
        plan: what each of them gets.
        placer: draws the n-th of them.
    """

    frames: NDArray[np.int64]
    plan: MouthPlan
    placer: FramePlacer

    def draw(self, frame: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frame number ``frame`` of the clip, (H, W, 3) uint8, with its new mouth."""
        return self.placer(int(np.searchsorted(self.frames, frame)), image)


def build_renderer(
    mouths: ClipMouths,
    landmarks: NDArray[np.floating],
    times: Array,
    runs: Sequence[range],
    features: NDArray[np.floating],
    config: OwnMouthsConfig,
) -> MouthRenderer:
    """Plan the mouths of a clip.

    Args:
        mouths: what the clip shows.
        landmarks: (F, 68, 2 or 3) of all its frames.
        times: (F,) seconds of the frames on the clock of the speech.
        runs: the frames to draw, each run with a face throughout; not empty.
        features: (T, 7 or more) lip shapes of the speech at 50 Hz, :class:`common.speech.lips.LipEncoder`.
        config: what is done.
    """
    frames = np.concatenate([np.arange(run.start, run.stop) for run in runs])
    wanted = wanted_shapes(features, times[frames], config.lead_frames)
    if config.calibrate:
        wanted = calibrated(wanted, mouths.bank.shapes)
    heads = Heads.of(landmarks[frames])
    sharpness = mouths.sharpness_of(frames)
    planner, parts, first = MouthPlanner(mouths.bank), [], 0
    for run in runs:
        part = slice(first, first + len(run))
        parts.append(planner.plan(wanted[part], heads.angles[part], sharpness[part]))
        first = part.stop
    plan = MouthPlan.joined(parts)
    return MouthRenderer(frames, plan, FramePlacer(heads, mouths.bank, plan, config))
