"""``bootdub import-ltx2``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.importing import DryRunOption, OutputOption, OverwriteOption
from bootdub.cli.options import require_folder


def import_ltx2(
    folder: Annotated[
        Path, typer.Argument(help="LTX-2.0 or 2.3 in diffusers' format; it stays and is referred to.")
    ],
    output: OutputOption,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Entries of the sections geometry and joint."),
    ] = None,
    lora: Annotated[
        Path | None,
        typer.Option(help="A public in-context LoRA, such as JUST-DUB-IT's; it is copied.", metavar="FILE"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What every clip shows. Default: a person who is speaking.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="What guidance by text leads away from. Default: bad pictures.")
    ] = None,
    prompt_states: Annotated[
        Path | None,
        typer.Option(
            help="States of both prompts (prompt.safetensors of a package), without text encoder.",
            metavar="FILE",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make a model package of LTX-2: the prompt's states are computed once, the LoRA is checked."""
    with clean_errors():
        require_folder(folder, "folder of LTX-2")
        from bootdub.messages import quieten_libraries, show_warnings

        quieten_libraries()
        show_warnings()
        from common.config import load_config
        from common.errors import UserError
        from stage2_dubber.importing import ltx2

        if prompt_states is not None and (prompt is not None or negative is not None):
            raise UserError("--prompt-states says what the prompts are: leave --prompt and --negative out.")
        config = load_config(ltx2.JointImportConfig, [], overrides or [])
        shown = f"states in {prompt_states.name}" if prompt_states is not None else ltx2.PROMPT
        texts = (shown if prompt is None else prompt, ltx2.NEGATIVE if negative is None else negative)
        sources = ltx2.open_joint_sources(folder, config, lora, prompt_states, texts)
        for line in ltx2.plan_lines(sources, config):
            print(line)
        if dry_run:
            print(ltx2.cost_line(sources, config))
        else:
            ltx2.import_joint_package(sources, config, output, overwrite)
            print(f"{output}: written")
