"""``bootdub doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import Device, DeviceOption, require_folder


def doctor(
    model: Annotated[Path | None, typer.Option(help="Model package whose editor is estimated, too.")] = None,
    device: DeviceOption = Device.auto,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what this machine has, which optional parts are missing, and what dubs would take here."""
    with clean_errors():
        if model is not None:
            require_folder(model, "model")
        from bootdub.messages import quieten_libraries

        quieten_libraries()
        from stage2_dubber.dub.device import choose_device
        from stage2_dubber.dub.doctor import examine, report_lines
        from stage2_dubber.dub.presets.choose import choose_preset

        place = choose_device(device.value)
        found = examine(place, model)
        preset = None if model is None else choose_preset(None, model, place).described()
        if json:
            from json import dumps

            print(dumps(found.as_dict() | {"preset": preset}, indent=2))
            return
        for line in report_lines(found):
            print(line)
        if preset is not None:
            print(f"  {model} is dubbed here with --preset {preset}")
