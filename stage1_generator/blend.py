"""`python -m stage1_generator.blend`: put each generated lower face back over the original crop.

Outside the lower-face mask, and on known occluders, every pixel is the original's, byte for byte.
"""

from __future__ import annotations

import sys

from common.data.prepared import PreparedClip, load_prepared
from common.files import atomic_dir, fingerprint, remove_partial, write_json
from common.media import LOSSLESS, read_frames, write_video
from common.parallel import run_parallel
from common.progress import StepProgress
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.paste import put_back
from stage1_generator.companions.plan import PairPlan
from stage1_generator.companions.records import BLENDED, GENERATED, load_meta, made_by, read_plan
from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths

_VERSION = 1


def main(argv: list[str] | None = None) -> int:
    return run_command("blend", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    plans = read_plan(work_paths(config).companions).plans
    feather = config.blend.feather * config.geometry.crop_size
    print(f"blend: {len(plans)} companions, soft border {feather:.1f} px, into {work_paths(config).blended}")


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    remove_partial(paths.blended)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plans = read_plan(paths.companions).plans
    progress = StepProgress("blend", len(plans))
    jobs = [(plan, entries[plan.entry], config) for plan in plans]
    for (plan, _, _), worked in run_parallel(lambda job: blend_clip(*job), jobs, config.blend.workers):
        progress.step(plan.length if worked else 0)
    progress.finish(paths.root)


def blend_clip(plan: PairPlan, entry: PreparedClip, config: Stage1Config) -> bool:
    """Blend one companion; returns False where it stands already."""
    paths = work_paths(config)
    source = paths.companions / plan.key
    made = load_meta(source / "meta.json", "synthesize")
    mark = fingerprint([_VERSION, made["fingerprint"], config.blend.feather])
    folder = paths.blended / plan.key
    if made_by(folder / "meta.json") == mark:
        return False
    original = entry.crops(plan.start, plan.length)
    track = entry.track(plan.start, plan.length)
    size = original.shape[1]
    masks = clip_masks(track.landmarks, size, track.occluder, config.masks.occluder_grow)
    generated = read_frames(source / GENERATED)
    blended = put_back(original, generated, masks.inpaint, config.blend.feather * size)
    with atomic_dir(folder) as temporary:
        write_video(temporary / BLENDED, blended, rate=config.geometry.fps, encoding=LOSSLESS)
        write_json(temporary / "meta.json", {**made, "fingerprint": mark})
    return True


if __name__ == "__main__":
    sys.exit(main())
