"""What ``bootdub evaluate`` and ``bootdub bench`` do once their arguments are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import read_json
from common.files import write_json as write_plain
from common.media import probe
from evaluation.manifest import Case, with_probes
from evaluation.metrics.base import Kind

if TYPE_CHECKING:
    from evaluation.mos import ListeningItem
    from evaluation.systems import System

CASES = "cases.json"
"""Which files each row was made of, for the listening test."""


@dataclass(frozen=True)
class Request:
    """One evaluation.

    Attributes:
        title: of the report.
        cases: rows of the manifest.
        output: folder.
        systems: as :func:`evaluation.systems.build_system` reads them; none: the default model and the
            untouched input.
        probes: "self", "silence", "cycle".
        weights: folder with public weights; None: what needs them is not measured.
        judge: sync expert; None: the shipped one.
        sampling: of stage-2 packages, where it is not their own.
        pictures: previews and strips for the report.
        device: "auto", "cpu" or "cuda".
    """

    title: str
    cases: tuple[Case, ...]
    output: Path
    systems: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    weights: Path | None = None
    judge: Path | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    pictures: bool = True
    device: str = "cpu"

    @property
    def rows(self) -> tuple[Case, ...]:
        """The cases and their probes."""
        mute = [case.video for case in self.cases if self.probes and not probe(case.video).has_audio]
        return tuple(with_probes(self.cases, [Kind(name) for name in self.probes], mute))


def plan_lines(request: Request) -> list[str]:
    """What would be done.

    Raises:
        UserError: as :func:`evaluate_cases` would before the first dub.
    """
    from evaluation.registry import load_measures

    systems = _systems(request)
    measures = load_measures(request.weights, request.judge)
    rows = request.rows
    kinds = ", ".join(f"{sum(r.kind is kind for r in rows)} {kind.value}" for kind in Kind)
    lines = [
        f"{len(rows)} rows ({kinds}) in {len({r.group for r in rows})} groups",
        f"{len(systems)} systems: {', '.join(system.name for system in systems)}",
        f"{len(measures.metrics)} metrics: {', '.join(metric.key for metric in measures.metrics)}",
    ]
    lines += [f"{name}: {value}" for name, value in measures.facts.items()]
    return [*lines, f"into {request.output}"]


def evaluate_cases(request: Request) -> Iterator[str]:
    """Dub, measure, write the tables and the report; yields lines to print.

    Raises:
        UserError: a system or a judge cannot be loaded, or the folder not be written.
    """
    from bootdub.console import ConsoleProgress
    from evaluation.registry import load_measures
    from evaluation.report import write_report
    from evaluation.run import Evaluation, Plan
    from evaluation.storage import write_csv, write_json
    from evaluation.summary import summary_lines
    from evaluation.tables import aggregate

    if not request.cases:
        raise UserError("There is nothing to evaluate: name groups or a manifest that hold clips.")
    systems = _systems(request)
    measures = load_measures(request.weights, request.judge)
    plan = Plan(request.title, request.rows, tuple(systems), request.pictures)
    with ConsoleProgress(unit="rows") as progress:
        results = Evaluation(plan, measures, request.output, progress).run()
    tables = aggregate(results)
    write_json(results, request.output / "results.json", tables)
    write_csv(results, request.output / "results.csv")
    files = {case.name: {what: path.resolve() for what, path in case.files.items()} for case in plan.cases}
    write_plain(request.output / CASES, files)
    report = write_report(results, request.output, tables=tables)
    yield from summary_lines(results, tables)
    yield f"report: {report}"


def _systems(request: Request) -> list[System]:
    from evaluation.systems import build_systems
    from stage2_dubber.dub.locate import default_model_path

    texts = request.systems or (str(default_model_path()), "copy")
    return build_systems(texts, request.device, request.sampling)


def listening_items(folder: Path, systems: Sequence[str] | None) -> tuple[list[ListeningItem], list[str]]:
    """What raters can compare of an evaluation, and sentences on the rows that they cannot.

    Raises:
        UserError: there is no finished evaluation in ``folder``.
    """
    from evaluation.mos import items_from_results
    from evaluation.storage import read_json as read_results

    results = read_results(folder / "results.json")
    files = read_json(folder / CASES)
    speech = {name: Path(case["audio"]) for name, case in files.items() if "audio" in case}
    originals = {name: Path(case.get("truth", case["video"])) for name, case in files.items()}
    return items_from_results(results, folder, speech, originals, systems)


def bench_manifest(
    folder: Path, size: str, groups: Sequence[str] | None, workers: int, dry_run: bool = False
) -> Path | None:
    """Draw the benchmark into ``folder`` and return its manifest; None in a dry run before it was drawn.

    Raises:
        UserError: unknown size or group, or the folder cannot be written.
    """
    from bootdub.console import ConsoleProgress
    from evaluation.bench import bench_items, render_bench

    manifest = folder / "manifest.csv"
    if dry_run:
        items = bench_items(size, groups)
        print(f"{len(items)} clips to draw: {', '.join(item.name for item in items)}")
        return manifest if manifest.is_file() else None
    with ConsoleProgress(unit="clips") as progress:
        rows = render_bench(
            folder, size, groups, workers, lambda done, total: progress("drawing", done, total)
        )
    for row in rows:
        if row.warning is not None:
            print(f"warning: {row.warning}", file=sys.stderr)
    return manifest
