"""From what a user writes to a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.models.package_info import METADATA_FILE, read_info
from common.own_mouths.config import OwnMouthsConfig, Renderer
from evaluation.systems.base import System
from evaluation.systems.given import CopySystem, FolderSystem
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.refining.checks import check_refiner
from stage2_dubber.dub.speaking.options import AudioRole

COPY = "copy"


def _refiner(text: str) -> Path:
    """Raises UserError where there is no package that refines."""
    check_refiner(Path(text))
    return Path(text)


# What a stage-2 package can be told behind a question mark.
_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    **SamplingOptions.types(),
    "compositing": Compositing,
    "renderer": Renderer,
    "audio_role": AudioRole,
    "refine": _refiner,
}
_OWN_MOUTHS = "own_mouths."


def build_systems(
    texts: Sequence[str], device: str = "cpu", sampling: SamplingOptions | None = None
) -> list[System]:
    """One system per text; see :func:`build_system`.

    Raises:
        UserError: as there, or two systems have one name.
    """
    systems = [build_system(text, device, sampling) for text in texts]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two systems are called '{name}': name them, as in --system other={name}.")
    return systems


def build_system(text: str, device: str = "cpu", sampling: SamplingOptions | None = None) -> System:
    """``[NAME=]WHAT[?OPTION=VALUE&...]``.

    WHAT is ``copy`` (the untouched input), the folder of a model package of either stage, or a folder of
    videos that another program has made. Packages of stage 2 take options: the fields of
    :class:`common.diffusion.options.SamplingOptions`, ``compositing``, ``renderer``, ``audio_role``,
    ``refine`` (the folder of a package that refines), and ``own_mouths.FIELD`` for the fields of
    :class:`common.own_mouths.config.OwnMouthsConfig`; their names are then made of folder and options.

    Args:
        sampling: of packages of stage 2; None: the package's own. An option in the text wins.

    Raises:
        UserError: there is nothing of that kind, or it has no such option.
    """
    words, _, query = text.partition("?")
    options = _options(text, query)
    name, separator, what = words.rpartition("=")
    if separator and not name:
        raise UserError(f"The system '{text}' has an empty name: write NAME=FOLDER.")
    if options and (what == COPY or not _is_editor(Path(what))):
        raise UserError(f"The system '{text}' has options, but '{what}' is no model package of stage 2.")
    if what == COPY:
        system = CopySystem()
        system.name = name or system.name
        return system
    folder = Path(what)
    name = _safe(name or "-".join([folder.name, *(Path(value).name for _, value in parse_qsl(query))]))
    if not (folder / METADATA_FILE).is_file():
        return FolderSystem(name, folder)
    # Networks are imported only where they are used.
    if read_info(folder).stage == 1:
        from evaluation.systems.generator import GeneratorSystem

        return GeneratorSystem(name, folder, device)
    from evaluation.systems.editor import EditorSystem

    changes = {key: options.pop(key) for key in SamplingOptions.types() if key in options}
    sampling = replace(sampling or SamplingOptions(), **changes)
    return EditorSystem(name, folder, device, sampling=sampling, **options)


def _is_editor(folder: Path) -> bool:
    return (folder / METADATA_FILE).is_file() and read_info(folder).stage == 2


def _options(text: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    own_mouths: dict[str, str] = {}
    try:
        for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
            if key.startswith(_OWN_MOUTHS):
                own_mouths[key.removeprefix(_OWN_MOUTHS)] = value
            else:
                options[key] = _OPTIONS[key](value)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"The system '{text}' has an option that cannot be read ({error}); known are "
            f"{', '.join(_OPTIONS)}, as in FOLDER?num_steps=4&compositing=residual."
        ) from error
    if own_mouths:
        options["own_mouths"] = OwnMouthsConfig.read(own_mouths)
    return options


def _safe(name: str) -> str:
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise UserError(f"The system name '{name}' cannot be the name of a folder: write NAME=FOLDER.")
    return name
