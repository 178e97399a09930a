"""Other frames of the same clip as references, chosen frame by frame (EdiDub, section 3.1).

The reference of a training has to show everything but the lips of the target's speech. EdiDub has no
companions: each frame gets the frame of the same person whose landmarks without the lips are nearest, outside
a window about the frame itself, so that head and face are where they are to be.

Here the jaw is left out, too: it moves with the lips, and frames of a like jaw have like lips, which a model
would learn to copy (docs/LOG.md, 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.data.prepared import PreparedClip
from common.errors import UserError
from common.face.layout import JAW, MOUTH, NUM_POINTS
from common.files import fingerprint
from stage1_generator.companions.own_frames import plan_companions
from stage1_generator.companions.plan import PairPlan, clip_seed
from stage1_generator.config import ReferenceFrames, Stage1Config

VERSION = 2
NONE = -1
"""In the place of a frame: none is far enough away."""
_STEADY = [point for point in range(NUM_POINTS) if point not in (*MOUTH, *JAW)]


def nearest_frames(landmarks: NDArray[np.float32], apart: int) -> NDArray[np.int64]:
    """For every frame of (N, 68, 2 or more) the nearest one: (N,), :data:`NONE` where there is none.

    The distance is that of all landmarks but those of lips and jaw, in the plane of the crop.

    Args:
        landmarks: crop pixels.
        apart: frames nearer in time than this, or as near, are no choice.
    """
    points = landmarks[:, _STEADY, :2].reshape(len(landmarks), -1).astype(np.float64)
    points -= points.mean(axis=0)
    norms = np.square(points).sum(axis=1)
    distances = norms[:, None] + norms - 2 * points @ points.T
    distances[_too_near(len(points), apart)] = np.inf
    nearest = distances.argmin(axis=1)
    return np.where(np.isfinite(distances.min(axis=1)), nearest, NONE)


def random_frames(frames: int, apart: int, random: np.random.Generator) -> NDArray[np.int64]:
    """For every one of ``frames`` frames another one, as :func:`nearest_frames`, but drawn evenly."""
    draws = random.random((frames, frames))
    draws[_too_near(frames, apart)] = -1
    return np.where(draws.max(axis=1) >= 0, draws.argmax(axis=1), NONE)


def _too_near(frames: int, apart: int) -> NDArray[np.bool_]:
    times = np.arange(frames)
    return np.abs(times[:, None] - times) <= apart


def chosen_frames(plan: PairPlan, entry: PreparedClip, config: Stage1Config) -> NDArray[np.int64]:
    """The references of a clip: (length,) frames of its entry, or :data:`NONE`.

    Raises:
        UserError: they are to be chosen by landmarks, which `prepare` did not do.
    """
    span = slice(plan.start, plan.start + plan.length)
    if config.pairs.reference_frames is ReferenceFrames.random:
        random = np.random.default_rng(clip_seed(config.synthesis.seed, plan.key, "reference frames"))
        return random_frames(entry.frames, config.pairs.exclusion_frames, random)[span]
    nearest = _nearest(entry)
    if nearest is None:
        raise UserError(
            f"{entry.folder} has no nearest_frames, which pairs.reference_frames=landmarks needs: run "
            "`python -m stage1_generator.prepare` with it first."
        )
    return nearest[span]


def plan_reference_pairs(
    entries: Mapping[str, PreparedClip], config: Stage1Config
) -> list[tuple[PairPlan, NDArray[np.int64]]]:
    """The clips that have a reference for each of their frames, and which ones.

    Raises:
        UserError: as :func:`chosen_frames`.
    """
    plans: Sequence[PairPlan] = plan_companions(list(entries.values()), config, "reference")
    chosen = [(plan, chosen_frames(plan, entries[plan.entry], config)) for plan in plans]
    return [(plan, frames) for plan, frames in chosen if (frames != NONE).all()]


def reference_mark(entry: PreparedClip, frames: NDArray[np.int64]) -> str:
    """What decides the pictures of a pair."""
    return fingerprint([VERSION, entry.fingerprint, frames.tolist()])


@lru_cache(maxsize=4)  # clips come in the order of their entries
def _nearest(entry: PreparedClip) -> NDArray[np.int64] | None:
    return entry.track().nearest_frames
