"""`python -m stage1_generator.own_mouths`: each clip drawn again with its own mouths of other moments.

Does nothing unless `pairs.own_mouths` is set. Needs no generator: see `stage1_generator.companions.rebuilt`.
"""

from __future__ import annotations

import sys
from functools import cached_property, partial
from typing import Any

import numpy as np

from common.data.prepared import PreparedClip, load_prepared
from common.files import atomic_dir, fingerprint, write_json
from common.media import write_video
from common.work_folder import sweep
from stage1_generator.companions.judging import Judge, Lips
from stage1_generator.companions.lent import Lender, make_lent, plan_lent
from stage1_generator.companions.plan import PairPlan, Unpaired, clip_seed
from stage1_generator.companions.rebuilt import (
    APART,
    VERSION,
    Mouths,
    collect_mouths,
    enough_moments,
    rebuilt,
    shapes_elsewhere,
)
from stage1_generator.companions.records import BLENDED, VERDICT, PlanIndex, made_by, write_plan
from stage1_generator.companions.regions import clip_regions
from stage1_generator.config import OwnMouths, Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths


def main(argv: list[str] | None = None) -> int:
    return run_command("own_mouths", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    kind = config.pairs.own_mouths
    if kind is OwnMouths.none:
        print("own mouths: none (pairs.own_mouths is none)")
        return
    plan = plan_own_mouths(load_prepared(work_paths(config).prepared), config)
    limits = config.filters
    wanted = (
        f"the same lips, distance <= {limits.rebuilt_lip_distance_max} px"
        if kind is OwnMouths.rebuilt
        else f"other lips, distance >= {limits.lip_distance_min} px; or change >= {limits.lip_change_min}"
    )
    print(f"own mouths: {len(plan.plans)} clips, {wanted}; {len(plan.unpaired)} clips are too short")


def run(config: Stage1Config) -> None:
    kind = config.pairs.own_mouths
    if kind is OwnMouths.none:
        return
    paths = work_paths(config)
    sweep(paths.own_mouths)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plan = plan_own_mouths(list(entries.values()), config)
    for known in plan.plans:
        sweep(paths.own_mouths / known.key)  # verdicts lie inside
    judge = Judge(config, Lips.same if kind is OwnMouths.rebuilt else Lips.different, "own_mouths")
    if judge.why_no_identity:
        print(f"own mouths: identity is not measured: {judge.why_no_identity}", file=sys.stderr)
    make = partial(draw_clip, config=config, judge=judge)
    kept = make_lent("own mouths", plan.plans, entries, config, make, MouthLender)
    # Last, so that the index tells of a finished run.
    write_plan(paths.own_mouths, plan)
    rejected = len(plan.plans) - kept
    print(f"own mouths: {kept} kept, {rejected} rejected, {len(plan.unpaired)} too short", file=sys.stderr)


class MouthLender(Lender):
    """Its mouths are collected once, too."""

    @cached_property
    def mouths(self) -> Mouths | None:
        return collect_mouths(self.crops, self.landmarks)


def plan_own_mouths(entries: list[PreparedClip], config: Stage1Config) -> PlanIndex:
    """The clips to be drawn, and those of entries that have no other moments."""
    frames = {entry.id: entry.frames for entry in entries}
    reason = f"no moments that are more than {APART} frames away"
    plans: list[PairPlan] = []
    short: list[Unpaired] = []
    for plan in plan_lent(entries, config, config.pairs.own_mouths.value):
        if enough_moments(frames[plan.entry], plan.start, plan.length):
            plans.append(plan)
        else:
            short.append(Unpaired(plan.key, reason))
    return PlanIndex(plans, short)


def draw_clip(plan: PairPlan, lender: MouthLender, config: Stage1Config, judge: Judge) -> tuple[bool, bool]:
    """Draw one companion and judge it; whether it is kept, and False where that was known."""
    folder = work_paths(config).own_mouths / plan.key
    settings = [config.blend.feather, config.pairs.own_mouths, config.synthesis.seed]
    mark = fingerprint([VERSION, lender.entry.fingerprint, plan.start, plan.length, *settings])
    drawn = made_by(folder / "meta.json") != mark
    if drawn:
        _draw(plan, lender, config, mark)
    accepted, judged = judge.judge(plan, lender.entry, folder, folder / VERDICT)
    return accepted, drawn or judged


def _draw(plan: PairPlan, lender: MouthLender, config: Stage1Config, mark: str) -> None:
    span = slice(plan.start, plan.start + plan.length)
    side, mouths, made = lender.crops.shape[1], lender.mouths, None
    if mouths is not None:
        wanted = mouths.shapes[span]
        if config.pairs.own_mouths is OwnMouths.other:
            random = np.random.default_rng(clip_seed(config.synthesis.seed, plan.key, "own mouths"))
            wanted = shapes_elsewhere(mouths.shapes, lender.landmarks, span, random)
        mask = clip_regions(lender.landmarks[span], side).inpaint
        made = rebuilt(lender.crops, mouths, span, wanted, mask, config.blend.feather * side)
    with atomic_dir(work_paths(config).own_mouths / plan.key) as temporary:
        meta: dict[str, Any] = {"fingerprint": mark, "kind": config.pairs.own_mouths}
        if made is None:
            meta["failed"] = "the mouth is seen in too few frames"
        else:
            write_video(temporary / BLENDED, made.frames, rate=config.geometry.fps, lossless=True)
            meta |= {"moments": made.moments, "covered": made.covered}
        write_json(temporary / "meta.json", meta)


if __name__ == "__main__":
    sys.exit(main())
