"""Companions on disk, between the generator and the shards.

companions/index.json        the plan: one row per clip, and the clips without a companion
companions/<key>/generated.mkv, meta.json    the generator's raw output (FFV1) and what made it
blended/<key>/companion.mkv, meta.json       the same over the original's pixels
filter/<key>.json                            every score, its threshold, and the verdict
retimed/index.json                           the clips that were tried
retimed/<key>/companion.mkv, meta.json       lips of other moments; no video where none will do
own_mouths/index.json                        the clips that were tried, and those that are too short
own_mouths/<key>/companion.mkv, meta.json    drawn with own mouths, moment and lip shape of each frame
own_mouths/<key>/reliability.mkv             how far its pixels can be relied on, grey
own_mouths/<key>/verdict.json                as in filter
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json
from stage1_generator.companions.plan import PairPlan, Stretch, Unpaired

GENERATED = "generated.mkv"
BLENDED = "companion.mkv"
RELIABILITY_VIDEO = "reliability.mkv"
VERDICT = "verdict.json"


@dataclass(frozen=True)
class PlanIndex:
    plans: list[PairPlan]
    unpaired: list[Unpaired]


def write_plan(folder: Path, plan: PlanIndex) -> None:
    write_json(folder / "index.json", asdict(plan))


def read_plan(folder: Path, command: str = "synthesize") -> PlanIndex:
    """The plan of the last finished run of a command.

    Raises:
        UserError: there is none.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `python -m stage1_generator.{command}` first.")
    content = read_json(path)
    plans = [
        PairPlan(
            row["key"],
            row["entry"],
            row["start"],
            row["length"],
            Stretch(**row["speech"]) if row["speech"] else None,
        )
        for row in content["plans"]
    ]
    return PlanIndex(plans, [Unpaired(**row) for row in content["unpaired"]])


def made_by(meta: Path) -> str:
    """The fingerprint in a meta file; empty where the file does not exist."""
    return str(read_json(meta).get("fingerprint", "")) if meta.is_file() else ""


def load_meta(meta: Path, command: str) -> dict[str, Any]:
    """A result's meta file.

    Raises:
        UserError: missing; names the command that makes it.
    """
    if not meta.is_file():
        raise UserError(f"{meta} does not exist: run `python -m stage1_generator.{command}` first.")
    content: dict[str, Any] = read_json(meta)
    return content
