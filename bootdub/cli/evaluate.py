"""``bootdub evaluate`` and ``bootdub bench``: several systems on the same clips, measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import Device, DeviceOption

if TYPE_CHECKING:
    from evaluation.manifest import Case


class Probe(str, Enum):
    """Further dubs of each video, which ask other questions than how well it speaks."""

    self = "self"
    silence = "silence"
    cycle = "cycle"


class BenchSize(str, Enum):
    """How much of the rendered benchmark."""

    quick = "quick"
    full = "full"


SystemOption = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        help="[NAME=]WHAT, once per system: 'copy', a model package of either stage, or a folder of videos "
        "named after the rows; a stage-2 package takes options, as in DIR?num_steps=4&compositing=residual. "
        "Default: the installed model and copy. Tables compare with the first.",
    ),
]
OutputOption = Annotated[
    Path, typer.Option(help="Folder for dubs, results.json, results.csv and report.html.")
]
ProbeOption = Annotated[
    list[Probe] | None,
    typer.Option(
        "--probe",
        help="Also dub each video with its own speech, with silence, or each dub back again; once per probe.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(help="Folder with public weights of judge networks (SyncNet, LPIPS, Inception ...)."),
]
JudgeOption = Annotated[
    Path | None, typer.Option(help="Sync expert that no training's loss used; default: the shipped one.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Sampler steps per window of stage-2 models.")]
PassesOption = Annotated[
    int | None, typer.Option(min=1, help="How often stage-2 models dub each window, from what they made.")
]
PicturesOption = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Clips and strips in the report.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan.")]


@dataclass(frozen=True)
class SharedOptions:
    """The options that ``evaluate`` and ``bench`` have in common, as they were given."""

    output: Path
    system: list[str] | None
    probe: list[Probe] | None
    weights: Path | None
    judge: Path | None
    num_steps: int | None
    passes: int | None
    pictures: bool
    device: Device
    dry_run: bool

    def run(self, title: str, cases: Sequence[Case]) -> None:
        """Evaluate the cases, or print the plan, under this title of the report."""
        from bootdub.console import ConsoleProgress
        from bootdub.messages import quieten_libraries, show_warnings
        from common.diffusion.options import SamplingOptions
        from common.extras import require_extra
        from evaluation.command import EvaluationRequest, evaluate_cases, plan_lines

        require_extra("evaluate")
        quieten_libraries()
        show_warnings()
        request = EvaluationRequest(
            title=title,
            cases=tuple(cases),
            output=self.output,
            systems=tuple(self.system or ()),
            probes=tuple(one.value for one in self.probe or ()),
            weights=self.weights,
            judge=self.judge,
            sampling=SamplingOptions(num_steps=self.num_steps, passes=self.passes),
            pictures=self.pictures,
            device=self.device.value,
        )
        for line in (
            plan_lines(request) if self.dry_run else evaluate_cases(request, ConsoleProgress(unit="rows"))
        ):
            print(line)


def evaluate(
    manifest: Annotated[
        Path, typer.Option(help="CSV with the columns video and audio; see docs/metrics.md.")
    ],
    output: OutputOption,
    system: SystemOption = None,
    probe: ProbeOption = None,
    weights: WeightsOption = None,
    judge: JudgeOption = None,
    num_steps: StepsOption = None,
    passes: PassesOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many rows; 0: all.")] = 0,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Evaluation",
    pictures: PicturesOption = True,
    device: DeviceOption = Device.auto,
    dry_run: DryRunOption = False,
) -> None:
    """Dub the clips of a manifest with several systems, measure, write a report. Goes on where it was cut."""
    with clean_errors():
        from evaluation.manifest import read_manifest

        options = SharedOptions(
            output, system, probe, weights, judge, num_steps, passes, pictures, device, dry_run
        )
        options.run(title, read_manifest(manifest)[: limit or None])


def bench(
    output: OutputOption,
    size: Annotated[
        BenchSize, typer.Option(help="quick: minutes on a CPU; full: for figures.")
    ] = BenchSize.quick,
    group: Annotated[list[str] | None, typer.Option(help="Only these groups.")] = None,
    real: Annotated[
        Path | None, typer.Option(help="Manifest of your own clips, added to the drawn ones.")
    ] = None,
    system: SystemOption = None,
    probe: ProbeOption = None,
    weights: WeightsOption = None,
    judge: JudgeOption = None,
    num_steps: StepsOption = None,
    passes: PassesOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
    pictures: PicturesOption = True,
    device: DeviceOption = Device.auto,
    dry_run: DryRunOption = False,
) -> None:
    """The benchmark: characters drawn from seeds, whose true answer is known, and clips of your own."""
    with clean_errors():
        from evaluation.manifest import read_manifest

        options = SharedOptions(
            output, system, probe, weights, judge, num_steps, passes, pictures, device, dry_run
        )
        drawn = _drawn_manifest(output / "footage", size, group, workers, dry_run)
        manifests = [path for path in (drawn, real) if path is not None]
        cases = [case for path in manifests for case in read_manifest(path)]
        options.run(f"BootDub benchmark, {size.value}", cases)


def _drawn_manifest(
    folder: Path, size: BenchSize, groups: list[str] | None, workers: int, dry_run: bool
) -> Path | None:
    """Draw the benchmark and return its manifest; in a dry run say what would be drawn."""
    from bootdub.console import ConsoleProgress
    from evaluation.bench import bench_items, render_bench

    manifest = folder / "manifest.csv"
    if dry_run:
        items = bench_items(size.value, groups)
        print(f"{len(items)} clips to draw: {', '.join(item.name for item in items)}")
        return manifest if manifest.is_file() else None
    with ConsoleProgress(unit="clips") as progress:
        rows = render_bench(
            folder, size.value, groups, workers, lambda done, total: progress("drawing", done, total)
        )
    for row in rows:
        if row.warning is not None:
            print(f"warning: {row.warning}", file=sys.stderr)
    return manifest
