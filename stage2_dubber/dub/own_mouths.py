"""Own mouths in a dubbing job: which frames they draw, and the passage to the editor's frames."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from common.own_mouths.config import Renderer
from common.own_mouths.renderer import MouthRenderer, build_renderer
from stage2_dubber.dub.faces.follow import FollowedFace
from stage2_dubber.dub.job import MIN_SEGMENT_SECONDS, Composite, FacePlan
from stage2_dubber.dub.request import DubRequest

if TYPE_CHECKING:
    from common.own_mouths.painting.painter import InsidePainter

FADE_FRAMES = 5
"""Frames over which a dub passes from own mouths to the editor's pictures and back."""

SHEET_SIZE = 256
"""Pixels of the crops that contact sheets show."""
# Frames of a stretch that the editor draws, at least: its shortest segment at 25 frames per second. What own
# mouths do not cover for less than that they draw all the same.
_LEAST_STRETCH = round(MIN_SEGMENT_SECONDS * 25)
_WORKERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Division:
    """Who draws which frames of a job.

    Attributes:
        renderer: draws own mouths; None where the editor draws all.
        editor: the plan of the frames that the editor draws; None where there are none.
        opacity: frame -> share of own mouths in it, 0 to 1; what is not in it is not dubbed.
    """

    renderer: MouthRenderer | None
    editor: FacePlan | None
    opacity: dict[int, float]


def divide(
    request: DubRequest,
    wanted: Renderer,
    face: FollowedFace,
    plan: FacePlan,
    lips: np.ndarray | None,
    painter: InsidePainter | None,
    reliability: bool = False,
) -> Division:
    """Decide who draws what: one decision per stretch of frames.

    Args:
        request: the job.
        wanted: the renderer that is asked for.
        face: what the first pass has found.
        plan: all frames that are dubbed.
        lips: (T, 8) lip shapes of the speech at 50 Hz; not used by the editor.
        painter: of insides of mouths; None: they are drawn.
        reliability: whether drawn frames tell it.

    Raises:
        UserError: only own mouths are wanted, and the clip shows none.
    """
    if wanted is Renderer.editor or (wanted is Renderer.auto and face.mouths is None):
        return Division(None, plan, {})
    if face.mouths is None or lips is None:
        raise UserError(
            f"'{request.video}' shows no mouth that could be measured: use --renderer editor, or give "
            "landmarks with --track."
        )
    runs = [segment.source for segment in plan.segments]
    guessed = np.array(sorted(face.mouths.guessed), np.int64)
    own, others = parted(runs, guessed)
    renderer = build_renderer(
        face.mouths, face.track.landmarks, face.times, own, lips, request.own_mouths, painter
    )
    renderer = replace(renderer, reliability=reliability)
    opacity = {int(frame): 1.0 for frame in renderer.frames}
    if wanted is Renderer.own_mouths:
        return Division(renderer, None, opacity)
    stretches = sorted([*_uncovered(own, renderer), *others], key=lambda stretch: stretch.start)
    edited = [_grown(stretch, runs) for stretch in stretches]
    for stretch, whole in zip(stretches, edited, strict=True):
        for frame in whole:
            away = max(stretch.start - frame, frame - stretch.stop + 1, 0)
            opacity[frame] = min(opacity.get(frame, 0.0), away / (FADE_FRAMES + 1))
    # What is of two runs stays apart even where one follows the other: a cut lies between them.
    parts = [part for run in runs for part in _merged([e for e in edited if e.start in run])]
    segments = plan.timeline.segments([slice(part.start, part.stop) for part in parts])
    return Division(renderer, replace(plan, segments=segments) if segments else None, opacity)


def with_own_mouths(
    items: Iterable[Composite], division: Division, plan: FacePlan, crops: bool
) -> Iterator[Composite]:
    """Frames with own mouths laid over what the editor made of them.

    Args:
        items: all frames from one on, edited where the division says so. Whether something lies before a
            face is told by :data:`common.own_mouths.occluders.REACH` frames on either side, too.
        division: who draws what.
        plan: all frames that are dubbed.
        crops: also give crops of source and result, for pictures to look at.
    """
    assert division.renderer is not None
    waiting: deque[Composite] = deque()

    def sources() -> Iterator[tuple[int, np.ndarray]]:
        for item in items:
            waiting.append(item)
            yield item.frame.index, item.frame.image

    position: int | None = None
    unseen = {frame for frame, share in division.opacity.items() if share == 0}
    for drawn in division.renderer.draw_all(sources(), _WORKERS, unseen):
        item, image = waiting.popleft(), drawn.image
        share = division.opacity.get(item.frame.index)
        if share is None:
            yield item
            continue
        if position is None:
            position = sum(frame < item.frame.index for frame in division.opacity)
        if share < 1:
            mixed = item.image.astype(np.float32) * (1 - share) + image.astype(np.float32) * share
            image = np.rint(mixed).astype(np.uint8)
        before, after = item.before, item.after
        if crops:
            before, after = (
                plan.crops.extract(x, item.frame.index, SHEET_SIZE) for x in (item.frame.image, image)
            )
        yield Composite(item.frame, image, position, before, after, drawn.reliability)
        position += 1


def parted(runs: list[range], chosen: np.ndarray) -> tuple[list[range], list[range]]:
    """Runs in parts: the frames that are not ``chosen`` (N,), and those that are."""
    others: list[range] = []
    parts: list[range] = []
    for run in runs:
        here = np.isin(np.arange(run.start, run.stop), chosen)
        edges = [0, *(np.flatnonzero(np.diff(here)) + 1).tolist(), len(run)]
        for first, last in pairwise(edges):
            part = range(run.start + first, run.start + last)
            (parts if here[first] else others).append(part)
    return others, parts


def _uncovered(runs: list[range], renderer: MouthRenderer) -> list[range]:
    """Stretches of frames whose pose no moment has, long enough for the editor."""
    found, first = [], 0
    for run in runs:
        missing = ~renderer.plan.reached[first : first + len(run)]
        first += len(run)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
        stretches = [range(run.start + int(a), run.start + int(b)) for a, b in edges.reshape(-1, 2)]
        # Two stretches with less than two passages between them are one.
        found += [s for s in _merged(stretches, 2 * FADE_FRAMES) if len(s) >= _LEAST_STRETCH]
    return found


def _grown(stretch: range, runs: list[range]) -> range:
    """A stretch with the frames of its passages, within its run."""
    run = next(run for run in runs if run.start <= stretch.start < run.stop)
    return range(max(run.start, stretch.start - FADE_FRAMES), min(run.stop, stretch.stop + FADE_FRAMES))


def _merged(stretches: list[range], gap: int = 0) -> list[range]:
    """Stretches in order, those that lie at most ``gap`` frames apart joined."""
    if not stretches:
        return []
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(stretches)) if b.start - a.stop > gap]
    parts = [stretches[i:j] for i, j in pairwise([0, *breaks, len(stretches)])]
    return [range(part[0].start, part[-1].stop) for part in parts]
