"""How much of each speaker the pairs hold: one without accepted companions is not learnt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.files import read_json
from stage1_generator.companions.records import VERDICT, read_plan
from stage1_generator.work.paths import WorkPaths

SHOWN = 12
_KINDS = ("generated", "retimed", "own_mouths")


def speakers(paths: WorkPaths, prepared: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each speaker the seconds that were prepared, and the companions of all kinds that were accepted.

    A kind that was not made is left out. ``prepared``: the meta.json of each entry, by its name.
    """
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0})
    for meta in prepared.values():
        found[meta["speaker"]]["seconds"] += meta["frames"] / meta["fps"]
    kinds = {
        "generated": (paths.companions, lambda key: paths.filtered / f"{key}.json"),
        "retimed": (paths.retimed, lambda key: paths.retimed / key / "meta.json"),
        "own_mouths": (paths.own_mouths, lambda key: paths.own_mouths / key / VERDICT),
    }
    for kind, (folder, verdict) in kinds.items():
        if (folder / "index.json").is_file():
            for row in found.values():
                row[kind] = 0
            plans = read_plan(folder).plans
            for entry in _accepted((plan.entry, verdict(plan.key)) for plan in plans):
                found[prepared[entry]["speaker"]][kind] += 1
    return dict(found)


def speaker_table(rows: dict[str, dict[str, float]]) -> list[str]:
    """Markdown lines: the speakers of whom there are fewest companions."""
    kinds = [kind for kind in _KINDS if any(kind in row for row in rows.values())]
    if not kinds:
        return []

    def companions(name: str) -> float:
        return sum(rows[name].get(kind, 0) for kind in kinds)

    poorest = sorted(rows, key=lambda name: (companions(name), name))[:SHOWN]
    lines = ["", "## Speakers with the fewest companions", ""]
    lines += [f"| speaker | seconds | {' | '.join(kinds)} |", "|---" * (2 + len(kinds)) + "|"]
    for name in poorest:
        counts = " | ".join(str(int(rows[name].get(kind, 0))) for kind in kinds)
        lines.append(f"| {name} | {rows[name]['seconds']:.1f} | {counts} |")
    return lines


def _accepted(verdicts: Iterable[tuple[str, Path]]) -> Iterable[str]:
    for entry, file in verdicts:
        said: dict[str, Any] = read_json(file) if file.is_file() else {}
        if said.get("accepted"):
            yield entry
