"""`python -m stage1_generator.filters`: measure every companion and reject what would teach nothing or harm.

A score that cannot be measured here (no identity model, no detector that sees a drawn face) is written down
as not measured, with the reason; it neither passes nor rejects, and the report counts it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from common.data.summary import spread
from common.errors import UserError
from common.face.identity import IdentityEncoder
from common.files import fingerprint, write_json
from common.media import read_frames
from stage1_generator.command import Progress, run_command, run_parallel, sweep
from stage1_generator.companions import BLENDED, load_meta, made_by, read_plan
from stage1_generator.config import Stage1Config, work_paths
from stage1_generator.detection import DetectorPool
from stage1_generator.entries import Entry, load_entries
from stage1_generator.plan import PairPlan
from stage1_generator.regions import Regions, clip_regions
from stage1_generator.scores import (
    identity_cosine,
    lip_change,
    lip_landmark_distance,
    sharpness_ratio,
)

_VERSION = 1


def main(argv: list[str] | None = None) -> int:
    return run_command("filters", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    limits = config.filters
    encoder, reason = _identity_encoder(config)
    measured = f">= {limits.identity_min}" if encoder else f"not measured ({reason})"
    print(f"filter: {len(read_plan(work_paths(config).companions).plans)} companions")
    print(f"filter: identity cosine {measured}")
    print(f"filter: lip distance >= {limits.lip_distance_min} px; or change >= {limits.lip_change_min}")
    print(f"filter: sharpness ratio in [{limits.sharpness_min}, {limits.sharpness_max}]")


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    sweep(paths.filtered)
    entries = {entry.id: entry for entry in load_entries(paths.prepared)}
    plans = read_plan(paths.companions).plans
    encoder, reason = _identity_encoder(config)
    if encoder is None:
        print(f"filter: identity is not measured: {reason}", file=sys.stderr)
    judge = _Judge(config, encoder, reason)
    progress = Progress("filter", len(plans))
    jobs = [(plan, entries[plan.entry]) for plan in plans]
    rejected = 0
    judged = run_parallel(lambda job: judge.judge(*job), jobs, config.filters.workers)
    for (plan, _), (accepted, worked) in judged:
        rejected += not accepted
        progress.step(plan.length if worked else 0)
    progress.finish(paths.root)
    print(f"filter: {len(plans) - rejected} kept, {rejected} rejected", file=sys.stderr)


def _identity_encoder(config: Stage1Config) -> tuple[IdentityEncoder | None, str]:
    try:
        return IdentityEncoder(root=config.filters.identity_root), ""
    except UserError as error:
        return None, str(error)


class _Judge:
    def __init__(self, config: Stage1Config, identity: IdentityEncoder | None, why_not: str) -> None:
        self._config, self._identity, self._why_not = config, identity, why_not
        self._paths = work_paths(config)
        self._detectors = DetectorPool(config.face)

    def judge(self, plan: PairPlan, entry: Entry) -> tuple[bool, bool]:
        """Score one companion and write its verdict; whether it is kept, and False where it was known."""
        folder = self._paths.blended / plan.key
        made = load_meta(folder / "meta.json", "blend")
        identity = self._identity is not None
        mark = fingerprint([_VERSION, made["fingerprint"], self._config.filters, self._config.face, identity])
        verdict_path = self._paths.filtered / f"{plan.key}.json"
        if made_by(verdict_path) == mark:
            return bool(load_meta(verdict_path, "filters")["accepted"]), False
        scores = self._score(plan, entry, folder / BLENDED)
        reasons = [f"{name} {score['why']}" for name, score in scores.items() if score["passed"] is False]
        verdict = {
            "key": plan.key,
            "fingerprint": mark,
            "accepted": not reasons,
            "reasons": reasons,
            "scores": scores,
        }
        write_json(verdict_path, verdict)
        return not reasons, True

    def _score(self, plan: PairPlan, entry: Entry, companion_path: Path) -> dict[str, dict[str, Any]]:
        limits = self._config.filters
        original = entry.crops(plan.start, plan.length)
        companion = read_frames(companion_path)
        track = entry.track(plan.start, plan.length)
        regions = clip_regions(
            track.landmarks, original.shape[1], track.occluder, self._config.synthesis.occluder_grow
        )
        scores = {
            "sharpness": _between(
                sharpness_ratio(original, companion, regions.inpaint),
                limits.sharpness_min,
                limits.sharpness_max,
            ),
            "identity": self._identity_score(original, companion, track.landmarks),
        }
        if entry.meta["detector"] == "box":
            scores["lip_distance"] = _not_measured("the face came from a track file, no detector is asked")
            scores["lip_change"] = self._lip_change(original, companion, regions)
        else:
            distance = lip_landmark_distance(track.landmarks, companion, self._detectors.get())
            if distance is None:
                scores["lip_distance"] = _score(
                    None, False, "cannot be measured: no face is found in the companion"
                )
            else:
                scores["lip_distance"] = _between(distance, limits.lip_distance_min)
        return scores

    def _lip_change(self, original: Any, companion: Any, regions: Regions) -> dict[str, Any]:
        visible = regions.lips & ~regions.occluder
        return _between(lip_change(original, companion, visible), self._config.filters.lip_change_min)

    def _identity_score(self, original: Any, companion: Any, landmarks: Any) -> dict[str, Any]:
        if self._identity is None:
            return _not_measured(self._why_not)
        frames = spread(len(original), self._config.filters.frames_per_clip)
        cosine = identity_cosine(original[frames], companion[frames], landmarks[frames], self._identity)
        return _between(cosine, self._config.filters.identity_min)


def _score(value: float | None, passed: bool | None, why: str) -> dict[str, Any]:
    return {"value": value, "passed": passed, "why": why}


def _not_measured(reason: str) -> dict[str, Any]:
    return _score(None, None, f"not measured: {reason}")


def _between(value: float, least: float, most: float | None = None) -> dict[str, Any]:
    if not value >= least:  # NaN fails, too
        return _score(value, False, f"is {value:.3f}, below {least}")
    if most is not None and value > most:
        return _score(value, False, f"is {value:.3f}, above {most}")
    return _score(value, True, "")


if __name__ == "__main__":
    sys.exit(main())
