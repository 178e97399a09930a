"""The fields of a recipe file, and what is refused when one is read.

Texts may hold ``{name}``: a parameter, a place, a value of ``repeat``, ``STEP.output`` or ``STEP.package`` of
another step, ``root`` (the repository) or ``cores`` (of this machine).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from common.config import load_config
from common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
_FOLDER = ROOT / "configs" / "recipes"


class ParameterKind(str, Enum):
    """What an option of the command line takes."""

    text = "text"
    file = "file"
    """A file that must exist, which is made absolute."""
    folder = "folder"
    """A folder, which is made absolute."""
    integer = "integer"
    """A whole number, from `least` on or one of `choices`."""
    number = "number"
    """A number above 0."""
    flag = "flag"
    """Nothing: it is true when it is named."""
    configs = "configs"
    """One or more YAML files: {NAME.size} is the first, {NAME.overlays} are the others."""


@dataclass
class Parameter:
    """An option of the command line, whose value the steps may use.

    The runner itself reads some parameters, where a recipe has them: `processes` (of a training; 0 = one with
    a GPU, else as many as there are cores, at most 8), `nodes`, `rendezvous` and `id` (several machines),
    `scale` (times the minutes of every training), `batch` (times the clips of every step), `minutes` (of the
    whole run) and `started` (when that began, in seconds since 1970; 0 = now).
    """

    help: str = ""
    """Empty: it is for other programs, and --help passes over it."""
    value: str = ""
    """What --help calls its value, such as DIR."""
    kind: ParameterKind = ParameterKind.text
    default: Any = ""
    required: bool = False
    least: int = 0
    choices: list[int] = field(default_factory=list)
    needs: str = ""
    """Another parameter without which this one means nothing."""


@dataclass
class Group:
    """Settings that several steps share."""

    when: str = ""
    """A parameter, or "not PARAMETER": the group counts only where it is given (is not 0)."""
    settings: dict[str, Any] = field(default_factory=dict)


class StepKind(str, Enum):
    command = "command"
    """One process."""
    training = "training"
    """As many processes as the parameter `processes` says, under torch.distributed.run."""


@dataclass
class Step:
    """One command of the recipe."""

    command: str = ""
    """A module, or the path of a script in the repository (which ends with .py)."""
    about: str = ""
    kind: StepKind = StepKind.command
    part: str = ""
    """The name by which --parts and PART:key=value mean it (empty: the step's own). Steps may
    share a part."""
    settings_name: str = ""
    """The name in NAME:key=value where the step does not take the settings of its part's other steps."""
    when: str = ""
    """As of a group."""
    done_when: str = ""
    """A file: where it exists the step is passed over. Other commands pass over what is done themselves."""
    repeat: list[dict[str, Any]] = field(default_factory=list)
    """The command is run once for each of these, whose values its texts may use."""
    arguments: list[str] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    """YAML files, later ones win; relative to the repository."""
    uses: list[str] = field(default_factory=list)
    """Groups of settings, later ones win."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Its own settings. They win over groups that always count and over what the fields below set; groups
    with a condition win over them."""

    section: str = "train"
    """The section of the command's configuration that output, start and minutes are in."""
    output: str = ""
    """Where the training saves (SECTION.output)."""
    package: str = ""
    """What it leaves for others (empty: package in its output)."""
    starts_from: str = ""
    """An earlier step, whose package it begins with (SECTION.init_from)."""
    minutes: float = 0.0
    """It stops after so many (SECTION.time_limit_minutes), times the parameter `scale`."""
    share: float = 0.0
    """Instead of minutes: its share of those that are left for all trainings with a share, see `takes`."""
    takes: float = 0.0
    """Minutes that it takes besides the training; trainings with a share leave them."""
    takes_per: str = ""
    """A parameter: `takes` is for each one of these."""
    clips: int = 0
    """Of every optimizer step (train.global_batch_size), times the parameter `batch`; 0: as the files say."""
    fixed_clips: bool = False
    """The parameter `batch` is not for this one."""

    @property
    def takes_settings(self) -> bool:
        """Whether its command takes key=value, not --option=value."""
        return bool(self.configs or self.uses or self.settings)


class DryRun(str, Enum):
    """What --dry-run does."""

    commands = "commands"
    """The commands are printed, and nothing is run."""
    plans = "plans"
    """Every command is run with --dry-run, a training in one process that is told of all of them."""
    plans_so_far = "plans_so_far"
    """The same, up to the first that needs what an earlier one would have made."""


@dataclass
class Recipe:
    """Root of a recipe file."""

    about: str = ""
    script: str = ""
    """That runs it, for --help."""
    dry_run: DryRun = DryRun.commands
    part_word: str = "part"
    """What its parts are called in messages."""
    settings_for_all: bool = False
    """key=value without a part's name is allowed, for every part."""
    cpu_threads: int = 0
    """OMP threads of a training's process where there is no GPU (0: as the environment says)."""
    spare_minutes: float = 0.0
    """The run is ended so much later than the parameter `minutes` says, which trainings share."""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """Names of paths."""
    groups: dict[str, Group] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    """In the order in which they are run."""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part_of(name, step) for name, step in self.steps.items()))

    @property
    def settings_names(self) -> tuple[str, ...]:
        """What may stand before the colon of NAME:key=value."""
        return tuple(dict.fromkeys(settings_name_of(name, step) for name, step in self.steps.items()))


def part_of(name: str, step: Step) -> str:
    return step.part or name


def settings_name_of(name: str, step: Step) -> str:
    return step.settings_name or part_of(name, step)


def find_recipe(name: str) -> Path:
    """The file of a recipe that is named by its path, or by its name in configs/recipes."""
    named = _FOLDER / f"{name}.yaml"
    return named if "/" not in name and named.is_file() else Path(name)


def load_recipe(name: str) -> Recipe:
    """Read a recipe, by path or by its name in configs/recipes.

    Raises:
        UserError: no such file, an unknown field, or a step that names what is not there.
    """
    file = find_recipe(name)
    recipe = load_config(Recipe, [file])
    for problem in _problems(recipe):
        raise UserError(f"{file}: {problem}")
    return recipe


def _problems(recipe: Recipe) -> Iterator[str]:
    if not recipe.steps:
        yield "has no steps; is it a recipe, as those in configs/recipes?"
    for name, parameter in recipe.parameters.items():
        if parameter.needs and parameter.needs not in recipe.parameters:
            yield f"parameters.{name}.needs names '{parameter.needs}', which is no parameter."
    for name, group in recipe.groups.items():
        yield from _unknown(recipe.parameters, f"groups.{name}.when", group.when)
    earlier: list[str] = []
    for name, step in recipe.steps.items():
        yield from _unknown(recipe.parameters, f"steps.{name}.when", step.when)
        yield from _unknown(recipe.parameters, f"steps.{name}.takes_per", step.takes_per)
        for group_name in step.uses:
            if group_name not in recipe.groups:
                yield f"steps.{name}.uses names '{group_name}', which is no group."
        if step.starts_from and step.starts_from not in earlier:
            start = step.starts_from
            yield f"steps.{name}.starts_from names '{start}', which is no step before it that runs once."
        if step.share and (step.minutes or "minutes" not in recipe.parameters):
            yield f"steps.{name}.share needs the parameter 'minutes', and no minutes of the step."
        if not _exists(step):
            yield f"steps.{name}.command names '{step.command}', which is no module or script here."
        for config in step.configs:
            if "{" not in config and not (ROOT / config).is_file():
                yield f"steps.{name}.configs names '{config}', which is no file of the repository."
        earlier += [] if step.repeat else [name]


def _unknown(parameters: dict[str, Parameter], where: str, condition: str) -> Iterator[str]:
    name = condition.removeprefix("not ")
    if name and name not in parameters:
        yield f"{where} names '{name}', which is no parameter."


def _exists(step: Step) -> bool:
    if "{" in step.command or step.command.endswith(".py"):
        return "{" in step.command or (ROOT / step.command).is_file()
    path = ROOT.joinpath(*step.command.split("."))
    return bool(step.command) and (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file())
