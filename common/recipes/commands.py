"""From a step of a recipe to the command that is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.recipes.options import Request, parse
from common.recipes.schema import (
    ROOT,
    DryRun,
    ParameterKind,
    Recipe,
    Step,
    StepKind,
    load_recipe,
    part_of,
    settings_name_of,
)
from common.recipes.templates import fill, holds, to_yaml_word


@dataclass(frozen=True)
class Host:
    """Where the commands run."""

    python: str
    cores: int

    @cached_property
    def has_gpu(self) -> bool:
        """Whether `python` finds one: asked of it, so that the runner need not hold torch for hours."""
        question = "import torch; print(torch.cuda.is_available())"
        asked = subprocess.run([self.python, "-c", question], stdout=subprocess.PIPE, text=True)
        if asked.returncode:
            raise UserError(f"{self.python} cannot import torch: set PYTHON to one that can.")
        return asked.stdout.strip() == "True"

    def processes(self, wanted: int) -> int:
        """`wanted`, or for 0: one with a GPU, else as many as there are cores, at most 8."""
        if wanted or self.has_gpu:
            return wanted or 1
        return next(count for count in (8, 4, 2, 1) if count <= self.cores)


@dataclass(frozen=True)
class Command:
    """One process to run: its words, and what its environment has besides."""

    words: list[str]
    environment: dict[str, str]


class Commands:
    """The commands of the steps that a user asked for."""

    def __init__(self, recipe: Recipe, request: Request, machine: Host) -> None:
        self.recipe, self.request, self.machine = recipe, request, machine
        self.values = {**request.values, "cores": machine.cores}
        for name, step in recipe.steps.items():
            if step.repeat:
                continue
            output = fill(step.output, self.values, f"steps.{name}.output")
            package = fill(step.package, self.values, f"steps.{name}.package") or f"{output}/package"
            self.values |= {f"{name}.output": output, f"{name}.package": package}

    def selected(self) -> dict[str, Step]:
        """The steps that the parameters and --parts leave, in order."""
        return {
            name: step
            for name, step in self.recipe.steps.items()
            if part_of(name, step) in self.request.parts and holds(step.when, self.values)
        }

    def finished(self, name: str) -> bool:
        """Whether the file is there that says so."""
        mark = fill(self.recipe.steps[name].done_when, self.values, f"steps.{name}.done_when")
        return bool(mark) and Path(mark).is_file()

    def of(self, name: str, minutes: float, dry_run: bool = False) -> Iterator[Command]:
        """The commands of a step, one for each of its repeats; a training stops after ``minutes``.

        With ``dry_run`` they are those that say what they would do.

        Raises:
            UserError: a text names what is not known, or the clips cannot be shared by the processes.
        """
        step = self.recipe.steps[name]
        for repeat in step.repeat or [{}]:
            values = {**self.values, **repeat}
            words = [*self._program(name, values, dry_run), *self._arguments(name, minutes, values)]
            if dry_run:
                words.append("--dry-run")
            yield Command(words, self._environment(step, dry_run))

    def _program(self, name: str, values: dict[str, Any], dry_run: bool) -> list[str]:
        step = self.recipe.steps[name]
        command = fill(step.command, values, f"steps.{name}.command")
        program = [str(ROOT / command)] if command.endswith(".py") else ["-m", command]
        if step.kind is StepKind.command or dry_run:
            return [self.machine.python, *program]
        place = ["--standalone"]
        if self._nodes > 1:
            place = [f"--nnodes={self._nodes}", "--rdzv-backend=c10d"]
            place += [
                f"--rdzv-endpoint={values['rendezvous']}",
                f"--rdzv-id={values['id']}-{part_of(name, step)}",
            ]
        processes = f"--nproc_per_node={self._processes}"
        return [self.machine.python, "-m", "torch.distributed.run", *place, processes, *program]

    def _arguments(self, name: str, minutes: float, values: dict[str, Any]) -> list[str]:
        step = self.recipe.steps[name]
        words = [str(word) for word in fill(step.arguments, values, f"steps.{name}.arguments")]
        if step.configs:
            words += ["--config", *self._configs(name, values)]
        words += [f"{key}={value}" for key, value in self._settings(name, minutes, values).items()]
        own = self.request.own_words.get(settings_name_of(name, step), [])
        own = [word for word in own if step.takes_settings != word.startswith("--")]
        return [*words, *(self.request.words if step.takes_settings else []), *own]

    def _configs(self, name: str, values: dict[str, Any]) -> list[str]:
        """The recipe's files and the user's; one of the recipe's gives way to the user's of the same name."""
        theirs = {
            Path(file).name
            for parameter, about in self.recipe.parameters.items()
            if about.kind is ParameterKind.configs
            for file in values[parameter]
        }
        files: list[str] = []
        for entry in self.recipe.steps[name].configs:
            if "{" in entry:
                found = fill(entry, values, f"steps.{name}.configs")
                files += found if isinstance(found, list) else [found]
            elif Path(entry).name not in theirs:
                files.append(str(ROOT / entry))
        return files

    def _settings(self, name: str, minutes: float, values: dict[str, Any]) -> dict[str, str]:
        """The words key=value, later ones in place of earlier ones."""
        step = self.recipe.steps[name]
        settings: dict[str, str] = {}
        if step.output:
            output = fill(step.output, values, f"steps.{name}.output")
            settings[f"{step.section}.output"] = to_yaml_word(output)
        if step.starts_from:
            settings[f"{step.section}.init_from"] = to_yaml_word(values[f"{step.starts_from}.package"])
        if step.minutes or step.share:
            settings[f"{step.section}.time_limit_minutes"] = f"{minutes:.2f}"
        if step.clips:
            clips = step.clips * (1 if step.fixed_clips else values.get("batch", 1))
            if clips % self._processes:
                raise UserError(
                    f"{clips} clips of a step of {name} cannot be shared by {self._processes} processes: "
                    "give --processes a number that divides them."
                )
            settings["train.global_batch_size"] = str(clips)
            settings["train.micro_batch_size"] = str(clips // self._processes)
        groups = [self.recipe.groups[group] for group in step.uses]
        always = [group.settings for group in groups if not group.when]
        here = [group.settings for group in groups if group.when and holds(group.when, values)]
        for layer in (*always, step.settings, *here):
            for key, value in layer.items():
                settings[key] = to_yaml_word(fill(value, values, f"steps.{name}: {key}"))
        return settings

    def _environment(self, step: Step, dry_run: bool) -> dict[str, str]:
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        environment = {"PYTHONPATH": os.pathsep.join(dict.fromkeys([str(ROOT), *paths]))}
        if step.kind is StepKind.training:
            if dry_run:
                environment["WORLD_SIZE"] = str(self._processes * self._nodes)
            # Small layers: processes with one thread each beat one process with many.
            elif self.recipe.cpu_threads and not self.machine.has_gpu:
                environment["OMP_NUM_THREADS"] = str(self.recipe.cpu_threads)
        return environment

    @cached_property
    def _processes(self) -> int:
        return self.machine.processes(self.values.get("processes", 1))

    @property
    def _nodes(self) -> int:
        return int(self.values.get("nodes", 1))

    def check(self) -> None:
        """Refuse, before anything is run, what no command could be made of.

        Raises:
            UserError: several machines without a place to meet, settings that no command takes, and what
                :meth:`of` raises.
        """
        if self._nodes > 1 and not self.values.get("rendezvous"):
            raise UserError(f"--nodes {self._nodes} needs --rendezvous HOST:PORT, the same on every machine.")
        for part, words in self.request.own_words.items():
            steps = [step for name, step in self.recipe.steps.items() if settings_name_of(name, step) == part]
            for word in words:
                if not any(step.takes_settings != word.startswith("--") for step in steps):
                    form = "key=value" if any(step.takes_settings for step in steps) else "--option=value"
                    raise UserError(f"'{part}:{word}' is no setting of {part}, which takes {form}.")
        planned = self.request.dry_run and self.recipe.dry_run is not DryRun.commands
        for name in self.selected():
            for _ in self.of(name, 1.0, planned):
                pass


def read_commands(recipe: str, words: list[str]) -> Commands:
    """What a recipe, by its path or name, and the words behind it amount to.

    $PYTHON is to run the commands, without it this interpreter.

    Raises:
        UserError: no such recipe, or a bad option.
    """
    loaded = load_recipe(recipe)
    machine = Host(os.environ.get("PYTHON") or sys.executable, os.cpu_count() or 1)
    commands = Commands(loaded, parse(loaded, words), machine)
    commands.check()
    return commands
