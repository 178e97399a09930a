"""What ``bootdub evaluate`` and ``bootdub bench`` do once their arguments are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import read_json
from common.files import write_json as write_plain
from common.media import probe
from common.progress import ProgressCallback
from evaluation.manifest import Case, with_probes
from evaluation.metrics.base import Kind

if TYPE_CHECKING:
    from evaluation.mos import ListeningItem
    from evaluation.registry import Measures
    from evaluation.systems import System

CASES = "cases.json"
"""Which files each row was made of, for the listening test."""


@dataclass(frozen=True)
class EvaluationRequest:
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
        device: "auto", "cpu" or "cuda": where systems and judge networks run.
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


def plan_lines(request: EvaluationRequest) -> list[str]:
    """What would be done.

    Raises:
        UserError: as :func:`evaluate_cases` would before the first dub.
    """
    systems = _systems(request)
    measures = _measures(request)
    rows = request.rows
    kinds = ", ".join(f"{sum(r.kind is kind for r in rows)} {kind.value}" for kind in Kind)
    lines = [
        f"{len(rows)} rows ({kinds}) in {len({r.group for r in rows})} groups",
        f"{len(systems)} systems: {', '.join(system.name for system in systems)}",
        f"{len(measures.metrics)} metrics: {', '.join(metric.key for metric in measures.metrics)}",
    ]
    lines += [f"{name}: {value}" for name, value in measures.facts.items()]
    return [*lines, f"into {request.output}"]


def evaluate_cases(
    request: EvaluationRequest, progress: AbstractContextManager[ProgressCallback] | None = None
) -> Iterator[str]:
    """Dub, measure, write the tables and the report; yields lines to print.

    Args:
        progress: entered once everything is loaded and the first row begins; is told the rows done.

    Raises:
        UserError: a system or a judge cannot be loaded, or the folder not be written.
    """
    from evaluation.report import write_report
    from evaluation.results_file import write_csv, write_json
    from evaluation.run import Evaluation, Plan
    from evaluation.summary import summary_lines
    from evaluation.tables import aggregate

    if not request.cases:
        raise UserError("There is nothing to evaluate: name groups or a manifest that hold clips.")
    systems = _systems(request)
    measures = _measures(request)
    plan = Plan(request.title, request.rows, tuple(systems), request.pictures)
    with progress or nullcontext() as tell:
        results = Evaluation(plan, measures, request.output, tell).run()
    tables = aggregate(results)
    write_json(results, request.output / "results.json", tables)
    write_csv(results, request.output / "results.csv")
    files = {case.name: {what: path.resolve() for what, path in case.files.items()} for case in plan.cases}
    write_plain(request.output / CASES, files)
    report = write_report(results, request.output, tables=tables)
    yield from summary_lines(results, tables)
    yield f"report: {report}"


def _systems(request: EvaluationRequest) -> list[System]:
    from evaluation.systems import build_systems
    from stage2_dubber.dub.locate import default_model_path

    texts = request.systems or (str(default_model_path()), "copy")
    return build_systems(texts, request.device, request.sampling)


def _measures(request: EvaluationRequest) -> Measures:
    from evaluation.registry import load_measures
    from stage2_dubber.dub.device import choose_device

    return load_measures(request.weights, request.judge, str(choose_device(request.device)))


def listening_items(folder: Path, systems: Sequence[str] | None) -> tuple[list[ListeningItem], list[str]]:
    """What raters can compare of an evaluation, and sentences on the rows that they cannot.

    Raises:
        UserError: there is no finished evaluation in ``folder``.
    """
    from evaluation.mos import items_from_results
    from evaluation.results_file import read_json as read_results

    results = read_results(folder / "results.json")
    files = read_json(folder / CASES)
    speech = {name: Path(case["audio"]) for name, case in files.items() if "audio" in case}
    originals = {name: Path(case.get("truth", case["video"])) for name, case in files.items()}
    return items_from_results(results, folder, speech, originals, systems)
