"""Which clips are packed with a companion, by what made it; pairs of drawn characters apart (rendered.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.data.prepared import PreparedClip, load_prepared
from common.errors import UserError
from stage1_generator.companions.plan import PairPlan
from stage1_generator.companions.records import VERDICT, load_meta, read_plan
from stage1_generator.config import Stage1Config
from stage1_generator.pairs.reference_frames import plan_reference_pairs, reference_mark
from stage1_generator.work.paths import work_paths


@dataclass(frozen=True)
class PlannedPair:
    """A clip and what made its companion; the filters' verdict where there was one."""

    plan: PairPlan
    entry: PreparedClip
    made: dict[str, Any]
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float | None]:
        return {name: score["value"] for name, score in self.verdict["scores"].items()}


def accepted_pairs(config: Stage1Config) -> list[PlannedPair]:
    """Clips with a generated companion that the filters let pass.

    Raises:
        UserError: a companion's clip is not prepared any more.
    """
    paths = work_paths(config)
    entries = _Entries(paths.prepared)
    pairs = []
    for plan in read_plan(paths.companions).plans:
        verdict = load_meta(paths.filtered / f"{plan.key}.json", "filters")
        if verdict["accepted"]:
            made = load_meta(paths.blended / plan.key / "meta.json", "blend")
            pairs.append(PlannedPair(plan, entries.of(plan, "synthesize"), made, verdict))
    return pairs


def own_mouths_pairs(config: Stage1Config) -> list[PlannedPair]:
    """Clips drawn with their own mouths of other moments.

    Raises:
        UserError: they were drawn otherwise than `pairs.own_mouths` says now, or of a clip that is not
            prepared any more.
    """
    paths, kind = work_paths(config), config.pairs.own_mouths.value
    entries = _Entries(paths.prepared)
    pairs = []
    for plan in read_plan(paths.own_mouths, "own_mouths").plans:
        folder = paths.own_mouths / plan.key
        verdict, made = (load_meta(folder / name, "own_mouths") for name in (VERDICT, "meta.json"))
        if made["kind"] != kind:
            raise UserError(
                f"{paths.own_mouths} holds companions of pairs.own_mouths={made['kind']}, not {kind}: run "
                "`python -m stage1_generator.own_mouths` first."
            )
        if verdict["accepted"]:
            pairs.append(PlannedPair(plan, entries.of(plan, "own_mouths"), made, verdict))
    return pairs


def retimed_pairs(config: Stage1Config) -> list[PlannedPair]:
    """Clips with a companion of their own lips at other moments.

    Raises:
        UserError: a companion's clip is not prepared any more.
    """
    paths = work_paths(config)
    entries = _Entries(paths.prepared)
    plans = read_plan(paths.retimed, "retime").plans
    made = [load_meta(paths.retimed / plan.key / "meta.json", "retime") for plan in plans]
    return [
        PlannedPair(plan, entries.of(plan, "retime"), meta)
        for plan, meta in zip(plans, made, strict=True)
        if meta["accepted"]
    ]


def reference_pairs(config: Stage1Config) -> list[PlannedPair]:
    """Clips with other frames of their own for references.

    Raises:
        UserError: `prepare` has not chosen them.
    """
    entries = {entry.id: entry for entry in load_prepared(work_paths(config).prepared)}
    return [
        PlannedPair(plan, entries[plan.entry], {"fingerprint": reference_mark(entries[plan.entry], frames)})
        for plan, frames in plan_reference_pairs(entries, config)
    ]


class _Entries:
    """Prepared clips by what plans call them."""

    def __init__(self, prepared: Path) -> None:
        self._folder = prepared
        self._entries = {entry.id: entry for entry in load_prepared(prepared)}

    def of(self, plan: PairPlan, command: str) -> PreparedClip:
        """The clip of a plan that ``command`` has made.

        Raises:
            UserError: it is not prepared any more.
        """
        if plan.entry not in self._entries:
            raise UserError(
                f"{self._folder} does not hold '{plan.entry}' any more, which has a companion: run "
                f"`python -m stage1_generator.{command}` again."
            )
        return self._entries[plan.entry]
