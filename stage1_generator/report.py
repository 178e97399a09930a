"""`python -m stage1_generator.report`: what every step kept and left out, as report.json and report.md."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.data.index import INDEX_NAME, read_index
from common.files import atomic_path, read_json, write_json
from common.progress import format_duration
from common.timings import read_timings
from stage1_generator.companions.records import VERDICT, read_plan
from stage1_generator.config import Stage1Config
from stage1_generator.pairs.speakers import speaker_table, speakers
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import WorkPaths, work_paths


def main(argv: list[str] | None = None) -> int:
    return run_command("report", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    print(f"report: into {config.work}/report.json and report.md")


def run(config: Stage1Config) -> None:
    report = collect(config)
    folder = Path(config.work)
    write_json(folder / "report.json", report)
    with atomic_path(folder / "report.md") as temporary:
        temporary.write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))
    print(f"report: {folder / 'report.json'}, {folder / 'report.md'}", file=sys.stderr)


def collect(config: Stage1Config) -> dict[str, Any]:
    """Counts of all steps; a step that has not run yet is None."""
    paths = work_paths(config)
    index = paths.prepared / "index.json"
    content = read_json(index) if index.is_file() else None
    names = content["entries"] if content else []
    prepared = {name: read_json(paths.prepared / name / "meta.json") for name in names}
    return {
        "prepare": _prepared(content, list(prepared.values())) if content else None,
        "speakers": speakers(paths, prepared) if content else None,
        "encode": _shards(paths.encoded, config.geometry.clip_frames, config),
        "synthesize": _planned(paths),
        "filter": _filtered(paths.companions, lambda key: paths.filtered / f"{key}.json"),
        "own_mouths": _own_mouths(paths),
        "pack": _shards(paths.pairs, config.pairs.clip_frames, config),
        "pack_retimed": _shards(paths.retimed_pairs, config.pairs.clip_frames, config),
        "pack_own_mouths": _shards(paths.own_mouths_pairs, config.pairs.clip_frames, config),
        "pack_reference_frames": _shards(paths.reference_pairs, config.pairs.clip_frames, config),
        "pack_rendered": _shards(paths.rendered_pairs, config.pairs.clip_frames, config),
        "timings": read_timings(Path(config.work)),
    }


def _prepared(content: dict[str, Any], metas: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "videos": content["videos"],
        "entries": len(metas),
        "seconds": sum(meta["frames"] / meta["fps"] for meta in metas),
        "speakers": len({meta["speaker"] for meta in metas}),
        "with_occluder": sum(meta["occluder"] for meta in metas),
        "detectors": dict(Counter(meta["detector"] for meta in metas)),
        "left_out": content["rejected"],
    }


def _planned(paths: WorkPaths) -> dict[str, Any] | None:
    if not (paths.companions / "index.json").is_file():
        return None
    plan = read_plan(paths.companions)
    return {
        "clips": len(plan.plans) + len(plan.unpaired),
        "companions": len(plan.plans),
        "silent": sum(item.speech is None for item in plan.plans),
        "without_companion": [{"key": item.key, "reason": item.reason} for item in plan.unpaired],
    }


def _own_mouths(paths: WorkPaths) -> dict[str, Any] | None:
    """As the filters' part, and the clips that are too short."""
    own_mouths = _filtered(paths.own_mouths, lambda key: paths.own_mouths / key / VERDICT)
    if not (paths.own_mouths / "index.json").is_file():
        return None
    short = read_plan(paths.own_mouths).unpaired
    return {
        **(own_mouths or {"judged": 0, "accepted": 0, "filters": {}, "rejected": []}),
        "without_companion": [{"key": item.key, "reason": item.reason} for item in short],
    }


def _filtered(folder: Path, verdict: Callable[[str], Path]) -> dict[str, Any] | None:
    """Counts over the verdicts on the companions that the index in ``folder`` names, by their keys."""
    if not (folder / "index.json").is_file():
        return None
    files = [verdict(plan.key) for plan in read_plan(folder).plans]
    verdicts = [read_json(file) for file in files if file.is_file()]
    if not verdicts:
        return None
    names = sorted({name for verdict in verdicts for name in verdict["scores"]})
    return {
        "judged": len(verdicts),
        "accepted": sum(verdict["accepted"] for verdict in verdicts),
        "filters": {name: _one_filter(name, verdicts) for name in names},
        "rejected": [
            {"key": verdict["key"], "reasons": verdict["reasons"]}
            for verdict in verdicts
            if not verdict["accepted"]
        ],
    }


def _one_filter(name: str, verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [verdict["scores"][name] for verdict in verdicts if name in verdict["scores"]]
    values = sorted(score["value"] for score in scores if score["value"] is not None)
    skipped = [score["why"] for score in scores if score["passed"] is None]
    return {
        "passed": sum(score["passed"] is True for score in scores),
        "rejected": sum(score["passed"] is False for score in scores),
        "not_measured": dict(Counter(skipped)),
        "least": values[0] if values else None,
        "median": values[len(values) // 2] if values else None,
        "greatest": values[-1] if values else None,
    }


def _shards(folder: Path, frames: int, config: Stage1Config) -> dict[str, Any] | None:
    if not (folder / INDEX_NAME).is_file():
        return None
    index = read_index(folder)
    return {
        "folder": str(folder),
        "samples": index.num_samples,
        "seconds": index.num_samples * frames / config.geometry.fps,
        "shards": {shard.url: shard.sha256 for shard in index.shards},
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# Stage 1", ""]
    prepared, planned, filtered = report["prepare"], report["synthesize"], report["filter"]
    own = report["own_mouths"]
    if prepared:
        lines.append(
            f"- prepare: {prepared['videos']} videos -> {prepared['entries']} faces, "
            f"{format_duration(prepared['seconds'])} of {prepared['speakers']} speakers, "
            f"{len(prepared['left_out'])} left out"
        )
    lines += _shard_line("encode", "clips", report["encode"])
    if planned:
        lines.append(
            f"- synthesize: {planned['companions']} companions for {planned['clips']} clips, "
            f"{planned['silent']} of them silent, {len(planned['without_companion'])} clips without"
        )
    if filtered:
        lines.append(f"- filter: {filtered['accepted']} of {filtered['judged']} accepted")
    if own:
        lines.append(
            f"- own mouths: {own['accepted']} of {own['judged']} accepted, {len(own['without_companion'])} "
            "clips are too short"
        )
    lines += _shard_line("pack", "pairs", report["pack"])
    lines += _shard_line("pack, retimed", "pairs", report["pack_retimed"])
    lines += _shard_line("pack, own mouths", "pairs", report["pack_own_mouths"])
    lines += _shard_line("pack, reference frames", "pairs", report["pack_reference_frames"])
    lines += _shard_line("pack, rendered", "pairs", report["pack_rendered"])
    lines += _filter_table("filter", filtered)
    lines += _filter_table("filter, own mouths", own)
    if report["timings"]:
        lines += ["", "| step | last run | frames | frames/s |", "|---|---|---|---|"]
        for step, row in report["timings"].items():
            rate = row["frames"] / max(row["seconds"], 1e-6)
            lines.append(f"| {step} | {format_duration(row['seconds'])} | {row['frames']} | {rate:.1f} |")
    lines += speaker_table(report["speakers"] or {})
    for title, rows in _left_out(report):
        lines += ["", f"## {title}", "", *(f"- {row}" for row in rows)]
    return "\n".join(lines) + "\n"


def _filter_table(title: str, filtered: dict[str, Any] | None) -> list[str]:
    if not filtered or not filtered["filters"]:
        return []
    lines = [
        "",
        f"| {title} | passed | rejected | not measured | least | median | greatest |",
        "|---" * 7 + "|",
    ]
    for name, row in filtered["filters"].items():
        numbers = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("least", "median", "greatest")]
        skipped = sum(row["not_measured"].values())
        lines.append(f"| {name} | {row['passed']} | {row['rejected']} | {skipped} | {' | '.join(numbers)} |")
    reasons = {why: n for row in filtered["filters"].values() for why, n in row["not_measured"].items()}
    return lines + (["", *(f"{count} x {why}" for why, count in reasons.items())] if reasons else [])


def _shard_line(step: str, unit: str, shards: dict[str, Any] | None) -> list[str]:
    if shards is None:
        return []
    length, tars = format_duration(shards["seconds"]), len(shards["shards"])
    return [f"- {step}: {shards['samples']} {unit}, {length}, {tars} shards in {shards['folder']}"]


def _left_out(report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    prepared, planned, filtered = report["prepare"], report["synthesize"], report["filter"]
    own = report["own_mouths"]
    parts = [
        ("Left out by prepare", [_place(row) for row in prepared["left_out"]] if prepared else []),
        (
            "Clips without a companion",
            [f"{row['key']}: {row['reason']}" for row in planned["without_companion"]] if planned else [],
        ),
        ("Rejected companions", _rejected(filtered)),
        (
            "Clips without own mouths",
            [f"{row['key']}: {row['reason']}" for row in own["without_companion"]] if own else [],
        ),
        ("Rejected own mouths", _rejected(own)),
    ]
    return [part for part in parts if part[1]]


def _rejected(filtered: dict[str, Any] | None) -> list[str]:
    return [f"{row['key']}: {'; '.join(row['reasons'])}" for row in filtered["rejected"]] if filtered else []


def _place(row: dict[str, Any]) -> str:
    where = f", {row['frames']} frames from {row['start']}" if "start" in row else ""
    return f"{row['video']}{where}: {row['reason']}"


if __name__ == "__main__":
    sys.exit(main())
