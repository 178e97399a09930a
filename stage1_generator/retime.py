"""`python -m stage1_generator.retime`: real companions, each clip with its own lips of other moments.

Does nothing unless `pairs.retimed` is set. Needs no generator: see
`stage1_generator.companions.retimed` for what it is good for.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np

from common.data.prepared import load_prepared
from common.files import atomic_dir, fingerprint, remove_partial, write_json
from common.media import LOSSLESS, write_video
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.own_frames import EntryFrames, make_companions, plan_companions
from stage1_generator.companions.plan import PairPlan, clip_seed
from stage1_generator.companions.records import BLENDED, PlanIndex, load_meta, made_by, write_plan
from stage1_generator.companions.retimed import VERSION, retimed
from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths


def main(argv: list[str] | None = None) -> int:
    return run_command("retime", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    if config.pairs.retimed:
        plans = plan_companions(load_prepared(work_paths(config).prepared), config, "retimed")
        print(f"retime: {len(plans)} clips, each with its own lips of other moments where such will do")
    else:
        print("retime: none (pairs.retimed is false)")


def run(config: Stage1Config) -> None:
    if not config.pairs.retimed:
        return
    paths = work_paths(config)
    remove_partial(paths.retimed)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plans = plan_companions(list(entries.values()), config, "retimed")
    made = make_companions("retime", plans, entries, config, partial(retime_clip, config=config), EntryFrames)
    # Last: the index says that the run was finished.
    write_plan(paths.retimed, PlanIndex(plans, []))
    print(f"retime: {made} of {len(plans)} clips have fitting lips at other moments", file=sys.stderr)


def retime_clip(plan: PairPlan, frames: EntryFrames, config: Stage1Config) -> tuple[bool, bool]:
    """Make one companion; returns whether lips were found, and whether there was work to do."""
    folder = work_paths(config).retimed / plan.key
    settings = [config.blend.feather, config.filters.lip_distance_min, config.synthesis.seed]
    mark = fingerprint([VERSION, frames.entry.fingerprint, plan.start, plan.length, *settings])
    if made_by(folder / "meta.json") == mark:
        return bool(load_meta(folder / "meta.json", "retime")["accepted"]), False
    crops, landmarks = frames.crops, frames.landmarks
    span = slice(plan.start, plan.start + plan.length)
    made = retimed(
        crops,
        landmarks,
        span,
        clip_masks(landmarks[span], crops.shape[1]).inpaint,
        config.blend.feather * crops.shape[1],
        config.filters.lip_distance_min,
        np.random.default_rng(clip_seed(config.synthesis.seed, plan.key, "retime")),
    )
    with atomic_dir(folder) as temporary:
        scores = {}
        if made is not None:
            write_video(temporary / BLENDED, made.frames, rate=config.geometry.fps, encoding=LOSSLESS)
            scores = {"lip_distance": made.lip_distance, "seam": made.seam}
        write_json(
            temporary / "meta.json", {"fingerprint": mark, "accepted": made is not None, "scores": scores}
        )
    return made is not None, True


if __name__ == "__main__":
    sys.exit(main())
