"""`python -m stage1_generator.switch`: pairs of two languages, from clips that change theirs in the middle.

Clips are made by LTX-2 from a table of what is said (`script`), or cut from recordings (`recordings`). Each
half is made anew in the other half's language, lips and, for made clips, speech, while the model sees and
hears the rest of the clip; halves of recordings get the other half's own sound. What passes the filters
becomes pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.command import alone_in_work_folder, run_configured
from common.models.ltx2.prompts import require_text_parts
from stage1_generator.language_switch.clips import halves
from stage1_generator.language_switch.config import SwitchConfig
from stage1_generator.language_switch.plan import SwitchPlan
from stage1_generator.language_switch.steps import SwitchSteps


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured(
        SwitchConfig,
        alone_in_work_folder(run, dry_run),
        prog="python -m stage1_generator.switch",
        description=__doc__ or "",
        argv=argv,
    )


def dry_run(config: SwitchConfig) -> None:
    plan = SwitchPlan.of(config)
    missing = SwitchSteps(config, plan).missing_prompts()
    if missing:
        require_text_parts(plan.opened.model)
    frames = plan.opened.info.geometry.clip_frames
    span = halves(frames)[0]
    whence = "made from" if config.script else "cut from"
    print(
        f"switch: {len(plan.clips)} clips of {frames} frames, {whence} {config.script or config.recordings}"
    )
    print(f"switch: {len(missing)} prompts are to be encoded")
    exaggerated = sum(half.exaggerates(config) for half in plan.halves)
    print(
        f"switch: {len(plan.halves)} pairs of {span.stop} frames at most, {exaggerated} with exaggerated lips"
    )


def run(config: SwitchConfig) -> None:
    SwitchSteps(config, SwitchPlan.of(config)).run()


if __name__ == "__main__":
    sys.exit(main())
