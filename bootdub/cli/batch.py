"""``bootdub batch``: many clips with one model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import (
    Device,
    DeviceOption,
    Dtype,
    LimitOption,
    ModelOption,
    PresetOption,
    use_limits,
)
from common.errors import UserError
from common.extras import require_extra
from common.files import require_file
from stage2_dubber.dub.presets.names import Preset

if TYPE_CHECKING:
    from stage2_dubber.dub.lists.batch import Batch, Outcome
    from stage2_dubber.dub.lists.job_list import Job

SOME_FAILED = 1
SPLIT_MINUTES = 10.0


def batch(
    jobs: Annotated[Path, typer.Argument(help="CSV with the columns video, audio, output and options.")],
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    preset: PresetOption = None,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights, as of dub.")] = Dtype.auto,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace outputs that exist.")
    ] = False,
    limit: LimitOption = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dub on this Ray cluster (host:port, auto, or local: processes of this machine).",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="With --ray: how many; else one per GPU, without GPUs one per 4 CPUs."),
    ] = None,
    split_minutes: Annotated[
        float, typer.Option(min=0, help="With --ray: longer videos are dubbed in parts by several workers.")
    ] = SPLIT_MINUTES,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all paths and print what is left to do.")
    ] = False,
) -> None:
    """Dub all clips of a list with one load of the model. Goes on where it was cut; lists can be shared."""
    with clean_errors():
        require_file(jobs, "list of jobs")
        use_limits(limit)
        from bootdub.messages import quieten_libraries, show_warnings
        from stage2_dubber.dub.lists.batch import Batch, failed
        from stage2_dubber.dub.locate import default_model_path

        quieten_libraries()
        show_warnings()
        _check_cluster(ray, workers, split_minutes)
        # The machines of a cluster have working folders of their own.
        todo = Batch.read(jobs if ray is None else jobs.absolute(), overwrite)
        folder = model or default_model_path()
        if dry_run:
            from stage2_dubber.dub.presets.choose import choose_preset

            print(f"preset {choose_preset(preset, folder, device.value).described()}")
            for job in todo.waiting():
                print(f"line {job.line}: {job.request.video} + {job.request.audio} -> {job.request.output}")
            return
        from stage2_dubber.dub.presets.names import AUTO_PRESET

        def tell(job: Job, outcome: Outcome) -> None:
            said = f": {outcome.message}" if outcome.message else ""
            print(f"{outcome.state} {outcome.output} in {outcome.seconds:g} s{said}", file=sys.stderr)

        chosen = preset or AUTO_PRESET
        if ray is not None:
            from bootdub.cluster.dubbers import ClusterDubbers
            from bootdub.cluster.run import run_on_cluster
            from bootdub.cluster.worker import WorkerOptions

            options = WorkerOptions(folder.absolute(), device.value, dtype.value, chosen, tuple(limit or ()))
            with ClusterDubbers(ray, options, workers, split_minutes * 60) as dubbers:
                print(f"{dubbers.count} workers", file=sys.stderr)
                outcomes = run_on_cluster(todo, dubbers, tell)
        else:
            outcomes = _run_here(todo, folder, device.value, dtype.value, chosen, tell)
        print(f"{todo.results}: {len(outcomes) - failed(outcomes)} done here, {failed(outcomes)} failed")
        if failed(outcomes):
            raise typer.Exit(SOME_FAILED)


def _check_cluster(ray: str | None, workers: int | None, split_minutes: float) -> None:
    if ray is not None:
        require_extra("ray")
    elif workers is not None or split_minutes != SPLIT_MINUTES:
        raise UserError("--workers and --split-minutes are about a cluster: give --ray, too.")


def _run_here(
    todo: Batch,
    folder: Path,
    device: str,
    dtype: str,
    preset: Preset | str,
    tell: Callable[[Job, Outcome], None],
) -> list[Outcome]:
    from bootdub.console import ConsoleProgress
    from stage2_dubber.dub.pipeline import DubPipeline

    pipeline = DubPipeline.from_pretrained(folder, device, dtype, preset=preset)
    if pipeline.preset is not None and pipeline.preset.changes:
        print(f"preset {pipeline.preset.described()}", file=sys.stderr)
    with ConsoleProgress() as progress:
        return todo.run(lambda request: pipeline.run(request, progress=progress), tell)
