"""The ``bootdub`` command with everything in it: dubbing, and evaluation, benchmark and listening tests."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bootdub.cli.import_xdub  # noqa: F401  # adds import-xdub
from bootdub.cli.dub import Device, app, clean_errors

if TYPE_CHECKING:
    from evaluation.command import Request


class Probe(str, Enum):
    """Further dubs of each video, which ask other questions than how well it speaks."""

    self = "self"
    silence = "silence"
    cycle = "cycle"


class Size(str, Enum):
    """How much of the rendered benchmark."""

    quick = "quick"
    full = "full"


class Rule(str, Enum):
    """What clips are chosen by."""

    front = "front"
    occluded = "occluded"


class Thing(str, Enum):
    """What is drawn in front of a mouth."""

    hand = "hand"
    microphone = "microphone"
    cup = "cup"


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
DeviceOption = Annotated[Device, typer.Option(help="auto takes the GPU where there is one.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan.")]


@app.command()
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
        from common.diffusion.options import SamplingOptions
        from evaluation.command import Request
        from evaluation.manifest import read_manifest

        request = Request(
            title=title,
            cases=tuple(read_manifest(manifest)[: limit or None]),
            output=output,
            systems=tuple(system or ()),
            probes=tuple(one.value for one in probe or ()),
            weights=weights,
            judge=judge,
            sampling=SamplingOptions(num_steps=num_steps, passes=passes),
            pictures=pictures,
            device=device.value,
        )
        _evaluate(request, dry_run)


@app.command()
def bench(
    output: OutputOption,
    size: Annotated[Size, typer.Option(help="quick: minutes on a CPU; full: for figures.")] = Size.quick,
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
        from common.diffusion.options import SamplingOptions
        from evaluation.command import Request, bench_manifest
        from evaluation.manifest import read_manifest

        drawn = bench_manifest(output / "footage", size.value, group, workers, dry_run)
        request = Request(
            title=f"BootDub benchmark, {size.value}",
            cases=tuple(case for path in (drawn, real) if path is not None for case in read_manifest(path)),
            output=output,
            systems=tuple(system or ()),
            probes=tuple(one.value for one in probe or ()),
            weights=weights,
            judge=judge,
            sampling=SamplingOptions(num_steps=num_steps, passes=passes),
            pictures=pictures,
            device=device.value,
        )
        _evaluate(request, dry_run)


def _evaluate(request: Request, dry_run: bool) -> None:
    from bootdub.console import quieten_libraries, show_warnings
    from evaluation.command import evaluate_cases, plan_lines

    quieten_libraries()
    show_warnings()
    if dry_run:
        print("\n".join(plan_lines(request)))
        return
    for line in evaluate_cases(request):
        print(line)


@app.command()
def curate(
    folder: Annotated[Path, typer.Argument(help="Folder of videos, searched with its subfolders.")],
    output: Annotated[Path, typer.Option(help="Manifest to write (CSV).")],
    rule: Annotated[Rule, typer.Option(help="front: small head angles; occluded: hands over the face.")],
    threshold: Annotated[
        float | None, typer.Option(help="front: degrees (15); occluded: covered landmarks (30).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many clips; 0: all that fit.")] = 50,
    seed: Annotated[int, typer.Option(help="Of who is drawn and who speaks for whom.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Choose clips of your own for the benchmark, as EdiDub's appendix C does."""
    with clean_errors():
        from bootdub.console import ConsoleProgress, quieten_libraries
        from evaluation.bench.curate import curate as choose

        quieten_libraries()
        with ConsoleProgress(unit="videos") as progress:
            result = choose(
                folder,
                output,
                rule.value,
                threshold,
                limit,
                seed,
                workers,
                lambda done, total: progress("looking", done, total),
            )
        for verdict in result.verdicts:
            if verdict.reason is not None:
                print(f"left out {verdict.video}: {verdict.reason}", file=sys.stderr)
        print(f"{output}: {len(result.rows)} of {len(result.verdicts)} videos")


@app.command()
def occlude(
    manifest: Annotated[Path, typer.Argument(help="CSV as for evaluate; see docs/metrics.md.")],
    output: Annotated[Path, typer.Option(help="Folder for clips, tracks and manifest.csv.")],
    kind: Annotated[
        list[Thing] | None, typer.Option(help="Once per kind, drawn in turn; default: all three.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the things, their ways and their times.")] = 0,
) -> None:
    """Draw hands, microphones and cups with a known mask over clips of your own. Goes on where it was cut."""
    with clean_errors():
        from bootdub.console import ConsoleProgress, quieten_libraries
        from common.errors import UserError
        from evaluation.bench.occlude import MANIFEST, THINGS
        from evaluation.bench.occlude import occlude as draw

        quieten_libraries()
        kinds = [thing.value for thing in kind or ()] or THINGS
        with ConsoleProgress(unit="clips") as progress:
            result = draw(manifest, output, kinds, seed, lambda done, total: progress("drawing", done, total))
        for line in result.left_out:
            print(f"left out: {line}", file=sys.stderr)
        if not result.rows:
            raise UserError(f"No row of '{manifest}' could be made: mend what is said above.")
        print(f"{output / MANIFEST}: {len(result.rows)} clips, {result.kept} of them there already")


mos = typer.Typer(help="A blind listening test: make its page, score its answers.", no_args_is_help=True)
app.add_typer(mos, name="mos")


@mos.command("make")
def mos_make(
    results: Annotated[Path, typer.Option(help="Output folder of bootdub evaluate or bench.")],
    output: Annotated[Path, typer.Option(help="Folder of the page, new or empty; its key goes beside it.")],
    system: Annotated[list[str] | None, typer.Option(help="Only these systems, by name.")] = None,
    key: Annotated[Path | None, typer.Option(help="Where the key goes instead.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many clips; 0: all.")] = 0,
    seconds: Annotated[float, typer.Option(min=1, help="Clips are cut to this length.")] = 15.0,
    seed: Annotated[int | None, typer.Option(help="Of orders and names; default: drawn.")] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Video listening test",
) -> None:
    """Make a page for a blind test: every system, the truth and a corrupted control, in random order."""
    with clean_errors():
        from bootdub.console import ConsoleProgress, quieten_libraries
        from evaluation.command import listening_items
        from evaluation.mos import make_pages

        quieten_libraries()
        items, left_out = listening_items(results, system)
        with ConsoleProgress(unit="clips") as progress:
            made = make_pages(
                items,
                output,
                seed,
                key=key,
                limit=limit,
                seconds=seconds,
                title=title,
                progress=lambda done, total: progress("writing clips", done, total),
            )
        for line in left_out:
            print(line)
        print(f"{output / 'index.html'}: {len(made.pages)} clips; keep the key away from raters")


@mos.command("score")
def mos_score(
    key: Annotated[Path, typer.Option(help="The key that was written beside the page.")],
    answers: Annotated[Path, typer.Option(help="Folder of the raters' JSON files.")],
    output: Annotated[Path, typer.Option(help="Folder for tables.")],
) -> None:
    """Screen the raters and score the systems (EdiDub, appendix A.2)."""
    with clean_errors():
        from evaluation.mos import score_answers
        from evaluation.mos.scoring import readable

        print(readable(score_answers(key, answers, output)))


def main() -> None:
    """Entry point of the ``bootdub`` command."""
    app()


if __name__ == "__main__":
    main()
