"""``bootdub ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import Device, DeviceOption, Dtype, LimitOption, ModelOption, RefineOption
from bootdub.serve.settings import ServeSettings


def ui(
    work: Annotated[Path, typer.Option(help="Folder of the jobs and their files.")] = Path("bootdub-jobs"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    keep_hours: Annotated[float, typer.Option(help="Ended jobs and their files are kept so long.")] = 24 * 30,
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights, as of dub.")] = Dtype.auto,
    limit: LimitOption = None,
    refine: RefineOption = None,
) -> None:
    """A page in the browser of this machine: video and voice in, dub out (docs/service.md)."""
    with clean_errors():
        from common.extras import require_extra
        from common.media.isolation.limits import limits
        from common.models.package_info import read_info
        from stage2_dubber.dub.locate import default_model_path

        require_extra("ui")
        require_extra("serve")
        settings = ServeSettings(
            work=work.resolve(),
            model=(model or default_model_path()).resolve(),
            keep_hours=keep_hours,
            refine=None if refine is None else refine.resolve(),
            limits=tuple(limit or ()),
            device=device.value,
            dtype=dtype.value,
        )
        read_info(settings.model)
        limits().with_words(settings.words)
        from bootdub.ui.run import run_page

        run_page(settings, port, browser)
