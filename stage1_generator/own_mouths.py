"""`python -m stage1_generator.own_mouths`: each clip drawn again with its own mouths of other moments.

Does nothing unless `pairs.own_mouths` is set. Needs no generator: see `stage1_generator.companions.rebuilt`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from common.data.prepared import PreparedClip, load_prepared
from common.files import atomic_dir, fingerprint, remove_partial, sampled_digest, write_json
from common.media import LOSSLESS, write_video
from common.own_mouths.painting.painter import InsidePainter
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.own_frames import EntryFrames, make_companions, plan_companions
from stage1_generator.companions.plan import PairPlan, Unpaired, clip_seed
from stage1_generator.companions.quality import Lips, QualityFilter
from stage1_generator.companions.rebuilt import (
    APART,
    VERSION,
    Mouths,
    collect_mouths,
    enough_moments,
    rebuilt,
    shapes_elsewhere,
)
from stage1_generator.companions.records import (
    BLENDED,
    RELIABILITY_VIDEO,
    VERDICT,
    PlanIndex,
    made_by,
    write_plan,
)
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
    remove_partial(paths.own_mouths)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plan = plan_own_mouths(list(entries.values()), config)
    for known in plan.plans:
        remove_partial(paths.own_mouths / known.key)  # verdicts lie inside
    quality = QualityFilter(config, Lips.same if kind is OwnMouths.rebuilt else Lips.different, "own_mouths")
    if quality.why_no_identity:
        print(f"own mouths: identity is not measured: {quality.why_no_identity}", file=sys.stderr)
    # What a model shall repair is drawn as in a dub; other lips only have to differ.
    painter = ShippedPainter.load() if kind is OwnMouths.rebuilt else None
    make = partial(draw_clip, config=config, quality=quality, painter=painter)
    kept = make_companions("own mouths", plan.plans, entries, config, make, EntryMouths)
    # Last: the index says that the run was finished.
    write_plan(paths.own_mouths, plan)
    rejected = len(plan.plans) - kept
    print(f"own mouths: {kept} kept, {rejected} rejected, {len(plan.unpaired)} too short", file=sys.stderr)


@dataclass(frozen=True)
class ShippedPainter:
    """The painter of insides that dubs use, and its fingerprint."""

    paint: InsidePainter
    fingerprint: str

    @classmethod
    def load(cls) -> ShippedPainter:
        """Raises UserError where none is installed."""
        folder = SHIPPED_PAINTER.folder()
        return cls(InsidePainter.load(folder), sampled_digest(sorted(folder.glob("*.safetensors"))))


class EntryMouths(EntryFrames):
    """Also the entry's mouths, collected once."""

    @cached_property
    def mouths(self) -> Mouths | None:
        return collect_mouths(self.crops, self.landmarks)


def plan_own_mouths(entries: list[PreparedClip], config: Stage1Config) -> PlanIndex:
    """The clips to be drawn, and those of entries that have no other moments."""
    frames = {entry.id: entry.frames for entry in entries}
    reason = f"no moments that are more than {APART} frames away"
    plans: list[PairPlan] = []
    short: list[Unpaired] = []
    for plan in plan_companions(entries, config, config.pairs.own_mouths.value):
        if enough_moments(frames[plan.entry], plan.start, plan.length):
            plans.append(plan)
        else:
            short.append(Unpaired(plan.key, reason))
    return PlanIndex(plans, short)


def draw_clip(
    plan: PairPlan,
    frames: EntryMouths,
    config: Stage1Config,
    quality: QualityFilter,
    painter: ShippedPainter | None = None,
) -> tuple[bool, bool]:
    """Draw one companion and filter it; returns whether it is kept, and whether there was work to do."""
    folder = work_paths(config).own_mouths / plan.key
    settings = [config.blend.feather, config.pairs.own_mouths, config.synthesis.seed]
    settings += [] if painter is None else [painter.fingerprint]
    mark = fingerprint([VERSION, frames.entry.fingerprint, plan.start, plan.length, *settings])
    drawn = made_by(folder / "meta.json") != mark
    if drawn:
        _draw(plan, frames, config, mark, None if painter is None else painter.paint)
    accepted, measured = quality.check(plan, frames.entry, folder, folder / VERDICT)
    return accepted, drawn or measured


def _draw(
    plan: PairPlan, frames: EntryMouths, config: Stage1Config, mark: str, painter: InsidePainter | None
) -> None:
    span = slice(plan.start, plan.start + plan.length)
    side, mouths, made = frames.crops.shape[1], frames.mouths, None
    if mouths is not None:
        wanted = mouths.shapes[span]
        if config.pairs.own_mouths is OwnMouths.other:
            random = np.random.default_rng(clip_seed(config.synthesis.seed, plan.key, "own mouths"))
            wanted = shapes_elsewhere(mouths.shapes, frames.landmarks, span, random)
        mask = clip_masks(frames.landmarks[span], side).inpaint
        made = rebuilt(frames.crops, mouths, span, wanted, mask, config.blend.feather * side, painter)
    with atomic_dir(work_paths(config).own_mouths / plan.key) as temporary:
        meta: dict[str, Any] = {"fingerprint": mark, "kind": config.pairs.own_mouths}
        if made is None:
            meta["failed"] = "the mouth is seen in too few frames"
        else:
            videos = {BLENDED: made.frames}
            meta |= {"moments": made.moments, "covered": made.covered}
            if config.pairs.own_mouths is OwnMouths.rebuilt:
                videos[RELIABILITY_VIDEO] = np.repeat(made.reliability[..., None], 3, axis=-1)
                meta["lip_shapes"] = made.lip_shapes.round(4).tolist()
            for name, video in videos.items():
                write_video(temporary / name, video, rate=config.geometry.fps, encoding=LOSSLESS)
        write_json(temporary / "meta.json", meta)


if __name__ == "__main__":
    sys.exit(main())
