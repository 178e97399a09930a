"""`python -m stage1_generator.filters`: measure every companion and reject what would teach nothing or harm.

A score that cannot be measured here (no identity model, no detector that sees a drawn face) is written down
as not measured, with the reason; it neither passes nor rejects, and the report counts it.
"""

from __future__ import annotations

import sys

from common.data.prepared import PreparedClip, load_prepared
from common.files import remove_partial
from common.parallel import run_parallel
from common.progress import StepProgress
from stage1_generator.companions.plan import PairPlan
from stage1_generator.companions.quality import Lips, QualityFilter, identity_encoder
from stage1_generator.companions.records import read_plan
from stage1_generator.config import Stage1Config
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths


def main(argv: list[str] | None = None) -> int:
    return run_command("filters", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    limits = config.filters
    encoder, reason = identity_encoder(config.filters)
    measured = f">= {limits.identity_min}" if encoder else f"not measured ({reason})"
    print(f"filter: {len(read_plan(work_paths(config).companions).plans)} companions")
    print(f"filter: identity cosine {measured}")
    print(f"filter: lip distance >= {limits.lip_distance_min} px; or change >= {limits.lip_change_min}")
    print(f"filter: sharpness ratio in [{limits.sharpness_min}, {limits.sharpness_max}]")


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    remove_partial(paths.filtered)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plans = read_plan(paths.companions).plans
    quality = QualityFilter(config, Lips.different, "blend")
    if quality.why_no_identity:
        print(f"filter: identity is not measured: {quality.why_no_identity}", file=sys.stderr)
    progress = StepProgress("filter", len(plans))

    def verdict(job: tuple[PairPlan, PreparedClip]) -> tuple[bool, bool]:
        key = job[0].key
        return quality.check(*job, paths.blended / key, paths.filtered / f"{key}.json")

    jobs = [(plan, entries[plan.entry]) for plan in plans]
    rejected = 0
    for (plan, _), (accepted, worked) in run_parallel(verdict, jobs, config.filters.workers):
        rejected += not accepted
        progress.step(plan.length if worked else 0)
    progress.finish(paths.root)
    print(f"filter: {len(plans) - rejected} kept, {rejected} rejected", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
