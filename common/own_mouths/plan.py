"""Which moment of the clip gives its mouth to which frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from common.face.mouth import LIP_GAPS
from common.own_mouths.bank import POSE_TOLERANCES, SHAPE_WEIGHTS, Bank, features, grimaces
from common.own_mouths.goal import filmed_gap, frontality, mean_gap
from common.own_mouths.shots import STRANGER
from common.own_mouths.wanted import closedness, silence

Array = NDArray[np.float64]

# Cost of a jump, in units of the squared distance of shapes; a jump's looks weigh this much more.
_JUMP, _LOOK = 2.5, 8.0
# Steps along a run that cost no jump: 1 frame on, standing still, skipping one, backwards.
_STEPS = {1: 0.0, 0: 0.5, 2: 0.4, -1: 1.0}
_POSE = 1.0
# The nearer to a profile, the nearer must the moment's pose be.
_PROFILE_TOLERANCE = 0.3
# A mouth that is opened beyond what the moment shows is worse than one that is closed.
_BEYOND, _BEYOND_FREE = 1.5, 0.25
# Lips that shall be closed: cost of a moment's gap, the gap that is free,
# and the cost in silence, where a jump is not seen.
_CLOSED, _CLOSED_FREE, _SILENT = 3.0, 0.1, 6.0
# Blur: cost per squared difference of log sharpness of a moment that is softer than the frame.
_SOFTER, _SOFTER_FREE = 16.0, 0.25
# A grimace is no speech: cost of an expression that is not the clip's usual one, and the most that it costs.
_GRIMACE, _GRIMACE_MOST = 0.5, 6.0
# Nor is one that only its picture shows: cost of a mouth that is askew, in a clip whose usual grimace is more
# than the first of these; in full from the first plus one on. Those of people who speak are .2.
_GRIMACING, _ASKEW = 0.5, 4.0
# Frames that are planned together, and those after them that are looked at and planned again.
_BLOCK, _AHEAD = 750, 50
_FORBIDDEN = 1e6
# Frames whose costs are told at once: with a full bank each takes 150 kB meanwhile.
_AT_ONCE = 100
# A moment covers a frame up to this missing gap (eye-corner distances) and this turn of the head (radians).
_FREE_GAP, _FREE_TURN = 0.02, 0.6

FADE = 2
"""Frames on each side of a jump over which skin passes from one moment to the next."""


@dataclass(frozen=True)
class MouthPlan:
    """Moments of N frames.

    Attributes:
        wanted: (N, 7) lip shapes.
        moments: (N,) index into the bank.
        jumps: (N,) bool, frames at which another run of moments begins; the first is none.
        covered: (N,) bool, whether the moment shows what is wanted: an inside of the mouth that need not be
            drawn, and a head that is held nearly alike.
        reached: (N,) bool, whether it is at least held nearly alike, and not a stranger's.
        runs: (N,) number of the run of consecutive frames that each frame belongs to, rising.
    """

    wanted: Array
    moments: NDArray[np.int64]
    jumps: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    reached: NDArray[np.bool_]
    runs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.moments)

    @classmethod
    def joined(cls, plans: Sequence[MouthPlan]) -> MouthPlan:
        """Plans of several runs as one; a run begins with its own moment, not with a jump."""
        joined = cls(*(np.concatenate([getattr(p, field.name) for p in plans]) for field in fields(cls)))
        return replace(joined, runs=np.repeat(np.arange(len(plans)), [len(p) for p in plans]))

    def shown(self, frame: int, bank: Bank) -> list[tuple[int, float]]:
        """(moment, weight) of what ``frame`` shows, weights summing to 1: two moments about a jump.

        A run goes on past its end, and begins before its start, while the other fades: with d frames from the
        jump, the run that owns the frame weighs 0.5 + 0.5 (d + 0.5) / FADE.
        """
        own = int(self.moments[frame])
        others: dict[int, float] = {}
        first = max(0, frame - FADE + 1)
        for jump in first + np.flatnonzero(self.jumps[first : frame + FADE + 1]):
            if self.runs[jump] != self.runs[frame]:
                continue
            # What is shown up to the jump or from it on, carried on to this frame.
            late = frame >= jump
            distance, end = (frame - jump, jump - 1) if late else (jump - frame - 1, jump)
            start = int(self.moments[end])
            other = _same_run(start, start + frame - int(end), bank)
            others[other] = others.get(other, 0.0) + 0.5 - 0.5 * (distance + 0.5) / FADE
        # Between two jumps the frame's own moment still weighs most.
        shrink = min(1.0, 0.5 / max(sum(others.values()), 0.5))
        weights = {moment: weight * shrink for moment, weight in others.items()}
        weights[own] = weights.get(own, 0.0) + 1.0 - sum(weights.values())
        return list(weights.items())


def _same_run(start: int, wanted: int, bank: Bank) -> int:
    """``wanted``, or the last moment on the way there that still belongs to the run of ``start``."""
    step = 1 if wanted > start else -1
    moment = start
    while moment != wanted:
        following = moment + step
        if not 0 <= following < len(bank) or not bank.follows[max(moment, following)]:
            break
        moment = following
    return moment


class MouthPlanner:
    """Plans runs of frames with one bank.

    Args:
        bank: M moments.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._passage = _passage_costs(bank)

    def plan(
        self,
        wanted: Array,
        angles: Array,
        sharpness: Array | None = None,
        forbidden: NDArray[np.bool_] | None = None,
        extra: Array | None = None,
    ) -> MouthPlan:
        """The cheapest path through the bank (Viterbi) for N frames that follow each other.

        A frame t that takes moment m costs ||w (s_t - s_m)||^2 + ||(a_t - a_m) / tolerance||^2, more where
        the gap must be opened beyond the moment's and where the moment is softer than the frame. Going from m
        to m' costs nothing along a run; at a jump it costs 2.5 and the distance, in shape, pose and looks, of
        m' from the moment that follows m.

        Args:
            wanted: (N, 7) lip shapes s.
            angles: (N, 4) of :attr:`common.own_mouths.heads.Heads.angles`, a.
            sharpness: (N,) of the frames, as :attr:`Bank.sharpness`; None: not compared.
            forbidden: (N, M) moments that a frame must not take; each frame has one that it may.
            extra: (M,) cost of each moment, to be added in all frames; None: nothing.
        """
        bank, count = self._bank, len(wanted)
        moments = np.zeros(count, np.int64)
        silent = silence(wanted[:, 1])
        first, previous = 0, None
        while first < count:
            last = min(count, first + _BLOCK + _AHEAD)
            part = slice(first, last)
            soft = None if sharpness is None else sharpness[part]
            cost = _costs(wanted[part], silent[part], angles[part], bank, soft)
            if extra is not None:
                cost += extra.astype(np.float32)
            if forbidden is not None:
                cost[forbidden[part]] = _FORBIDDEN
            path = _cheapest(cost, self._passage, previous)
            keep = len(path) if last == count else _BLOCK
            moments[first : first + keep] = path[:keep]
            first, previous = first + keep, int(path[keep - 1])
        jumps = np.zeros(count, bool)
        for frame in range(1, count):
            before, now = int(moments[frame - 1]), int(moments[frame])
            jumps[frame] = now - before not in _STEPS or _same_run(before, now, bank) != now
        most = [filmed_gap(mean_gap(shape)) for shape in bank.shapes[moments]]
        beyond = np.maximum([mean_gap(shape) for shape in wanted] - np.array(most), 0)
        turned = np.abs(angles - bank.heads.angles[moments])[:, :2].max(axis=1)
        reached = turned <= _FREE_TURN
        if extra is not None:
            reached &= extra[moments] < STRANGER
        runs = np.zeros(count, np.int64)
        return MouthPlan(wanted, moments, jumps, reached & (beyond <= _FREE_GAP), reached, runs)


def _costs(
    wanted: Array, silent: Array, angles: Array, bank: Bank, sharpness: Array | None
) -> NDArray[np.float32]:
    """(N, M) cost of each moment in each frame."""
    parts = []
    for first in range(0, len(wanted), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        soft = None if sharpness is None else sharpness[part]
        parts.append(_costs_of(wanted[part], silent[part], angles[part], bank, soft))
    return np.concatenate(parts)


def _costs_of(
    wanted: Array, silent: Array, angles: Array, bank: Bank, sharpness: Array | None
) -> NDArray[np.float32]:
    """The same of a few frames."""
    apart = wanted[:, None] - bank.shapes[None]
    cost = np.square(apart * SHAPE_WEIGHTS).sum(axis=-1)
    wider = apart[..., :LIP_GAPS].mean(axis=-1)
    beyond = np.maximum(wider - _BEYOND_FREE * bank.shapes[None, :, 1], 0)
    cost += _BEYOND * beyond**2
    # Lips that shall be closed are best taken from closed ones: a bend leaves a dark line between them.
    closed = _CLOSED * closedness(wanted[:, 1]) + _SILENT * silent
    cost += closed[:, None] * np.square(np.maximum(-wider - _CLOSED_FREE, 0))
    tolerance = _PROFILE_TOLERANCE + (1 - _PROFILE_TOLERANCE) * frontality(angles[:, 0])
    turned = (angles[:, None] - bank.heads.angles[None]) / POSE_TOLERANCES / tolerance[:, None, None]
    cost += _POSE * np.square(turned).sum(axis=-1)
    grimace = grimaces(bank.expressions)
    cost += np.minimum(_GRIMACE * grimace, _GRIMACE_MOST)
    if (grimacing := min(float(np.median(grimace)) - _GRIMACING, 1.0)) > 0:
        cost += _ASKEW * grimacing * bank.askew
    if sharpness is not None:
        softer = np.log(np.maximum(sharpness, 1e-3))[:, None] - np.log(np.maximum(bank.sharpness, 1e-3))[None]
        cost += _SOFTER * np.square(np.maximum(softer - _SOFTER_FREE, 0))
    return cost.astype(np.float32)


def _passage_costs(bank: Bank) -> NDArray[np.float32]:
    """(M, M) cost of going from a moment to another."""
    count = len(bank)
    following = np.arange(count)
    following[:-1][bank.follows[1:]] += 1
    values = features(bank.shapes, bank.heads.angles).astype(np.float32)
    cost = _JUMP + _squared_distances(values[following], values)
    cost += _LOOK / bank.looks.shape[1] * _squared_distances(bank.looks[following], bank.looks)
    for step, price in _STEPS.items():
        for moment in range(max(0, -step), count - max(0, step)):
            if _same_run(moment, moment + step, bank) == moment + step:
                cost[moment, moment + step] = min(cost[moment, moment + step], price)
    return cost


def _squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    square = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(square, 0), np.float32)


def _cheapest(
    cost: NDArray[np.float32], passage: NDArray[np.float32], previous: int | None
) -> NDArray[np.int64]:
    """Viterbi over (N, M) costs and (M, M) passages; ``previous``: the moment before the first frame."""
    total = cost[0] + (0 if previous is None else passage[previous])
    back = np.zeros(cost.shape, np.int16)
    for frame in range(1, len(cost)):
        reached = total[:, None] + passage
        back[frame] = reached.argmin(axis=0)
        total = reached.min(axis=0) + cost[frame]
    path = [int(total.argmin())]
    for frame in range(len(cost) - 1, 0, -1):
        path.append(int(back[frame, path[-1]]))
    return np.array(path[::-1], np.int64)
