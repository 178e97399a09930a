"""Options about a text that the model speaks, and ``bootdub prompts``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.dub_options.panel import option_in
from bootdub.cli.errors import clean_errors
from common.errors import UserError
from common.files import require_file
from stage2_dubber.dub.speaking.options import AudioRole

_option = option_in("Speech that the model makes (docs/ltx2.md)")

AudioRoleOption = Annotated[
    AudioRole,
    _option(help="What AUDIO is: speech that the lips follow, or a voice in which the model says TEXT."),
]
TextOption = Annotated[
    str | None,
    _option(help="What the model shall say (LTX-2, docs/ltx2.md); without --audio in the video's own voice."),
]
LanguageOption = Annotated[str | None, _option(help="Of TEXT: en, fr, de ...")]
PromptStatesOption = Annotated[
    Path | None,
    _option(
        help="Instead of --text and --language: a file of 'bootdub prompts', where the text encoder is not.",
        metavar="FILE",
    ),
]


def prompts(
    model: Annotated[Path, typer.Option(help="Package of LTX-2, whose folder has the text encoder.")],
    video: Annotated[Path, typer.Option(help="The clip that is to be dubbed.")],
    text: Annotated[str, typer.Option(help="What the model shall say.")],
    language: Annotated[str, typer.Option(help="Of TEXT: en, fr, de ...")],
    output: Annotated[Path, typer.Option(help="File to write (.safetensors).")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the prompts alone.")] = False,
) -> None:
    """Encode what a dub shall say, one prompt for each window, for dubs without the text encoder."""
    with clean_errors():
        require_file(video, "video")
        if output.exists() and not overwrite:
            raise UserError(f"The output '{output}' exists already: give --overwrite to replace it.")
        from bootdub.messages import quieten_libraries, show_warnings

        quieten_libraries()
        show_warnings()
        from common.models.ltx2.package import open_joint_package
        from common.models.ltx2.prompts import require_text_parts
        from common.models.ltx2.spoken import SpokenPrompts
        from stage2_dubber.dub.speaking.prompts import clip_prompts

        opened = open_joint_package(model)
        texts = clip_prompts(opened.info, text, language, video)
        require_text_parts(opened.model)
        for line in texts:
            print(line)
        if not dry_run:
            SpokenPrompts.encode(opened.model, texts).save(output)
            print(f"{output}: {len(texts)} prompts")
