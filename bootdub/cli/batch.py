"""``bootdub batch``: many clips with one model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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
from common.files import require_file

SOME_FAILED = 1


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all paths and print what is left to do.")
    ] = False,
) -> None:
    """Dub all clips of a list with one load of the model. Goes on where it was cut; lists can be shared."""
    with clean_errors():
        require_file(jobs, "list of jobs")
        use_limits(limit)
        from bootdub.messages import quieten_libraries, show_warnings
        from stage2_dubber.dub.lists.batch import Batch, Outcome, failed
        from stage2_dubber.dub.lists.job_list import Job
        from stage2_dubber.dub.locate import default_model_path

        quieten_libraries()
        show_warnings()
        todo = Batch.read(jobs, overwrite)
        folder = model or default_model_path()
        if dry_run:
            from stage2_dubber.dub.presets.choose import choose_preset

            print(f"preset {choose_preset(preset, folder, device.value).described()}")
            for job in todo.waiting():
                print(f"line {job.line}: {job.request.video} + {job.request.audio} -> {job.request.output}")
            return
        from bootdub.console import ConsoleProgress
        from stage2_dubber.dub.pipeline import DubPipeline
        from stage2_dubber.dub.presets.names import AUTO_PRESET

        pipeline = DubPipeline.from_pretrained(
            folder, device.value, dtype.value, preset=preset or AUTO_PRESET
        )
        if pipeline.preset is not None and pipeline.preset.changes:
            print(f"preset {pipeline.preset.described()}", file=sys.stderr)

        def tell(job: Job, outcome: Outcome) -> None:
            said = f": {outcome.message}" if outcome.message else ""
            print(f"{outcome.state} {outcome.output} in {outcome.seconds:g} s{said}", file=sys.stderr)

        with ConsoleProgress() as progress:
            outcomes = todo.run(lambda request: pipeline.run(request, progress=progress), tell)
        print(f"{todo.results}: {len(outcomes) - failed(outcomes)} done here, {failed(outcomes)} failed")
        if failed(outcomes):
            raise typer.Exit(SOME_FAILED)
