"""The words behind a recipe's name: its parameters, which parts are wanted, and their own settings."""

from __future__ import annotations

import math
import re
import textwrap
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import require_file
from common.recipes.schema import ROOT, Parameter, ParameterKind, Recipe
from common.recipes.templates import fill

_SETTING = re.compile(r"[A-Za-z_][\w.]*=")
_OF_A_PART = re.compile(r"([A-Za-z_][\w-]*):(.*)", re.DOTALL)


@dataclass
class Request:
    """What the user asked of a recipe."""

    values: dict[str, Any] = field(default_factory=dict)
    """Parameters and places by name, filled in."""
    parts: tuple[str, ...] = ()
    words: list[str] = field(default_factory=list)
    """key=value for every part."""
    own_words: dict[str, list[str]] = field(default_factory=dict)
    """key=value (or --option=value of a command without configuration) of single parts."""
    dry_run: bool = False


def parse(recipe: Recipe, words: list[str]) -> Request:
    """Read the command line.

    Raises:
        UserError: an unknown option or part, a bad value, or an option that is missing.
    """
    request = Request(parts=recipe.parts)
    given: dict[str, Any] = {}
    queue = deque(words)
    while queue:
        word = queue.popleft()
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_") if word.startswith("--") else ""
        if name and equals:
            queue.appendleft(value)
        if name == "dry_run" and not equals:
            request.dry_run = True
        elif name == "parts":
            request.parts = _parts(recipe, _next(name, queue))
        elif name in recipe.parameters:
            given[name] = _value(name, recipe.parameters[name], queue)
        elif not name:
            _add_setting(recipe, request, word)
        else:
            raise UserError(f"unknown argument '{word}'; see --help.")
    request.values = _complete(recipe, given)
    return request


def _next(name: str, queue: deque[str]) -> str:
    if not queue:
        raise UserError(f"--{_shown(name)} needs a value.")
    return queue.popleft()


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _value(name: str, parameter: Parameter, queue: deque[str]) -> Any:
    if parameter.kind is ParameterKind.flag:
        return True
    text = _next(name, queue)
    if parameter.kind is ParameterKind.configs:
        files = [text]
        while queue and not queue[0].startswith("--") and "=" not in queue[0]:
            files.append(queue.popleft())
        return files
    if parameter.kind is ParameterKind.file:
        return str(require_file(text, name).resolve())
    if parameter.kind is ParameterKind.folder:
        return str(Path(text).resolve())
    if parameter.kind is ParameterKind.text:
        return text
    try:
        number = int(text) if parameter.kind is ParameterKind.integer else float(text)
    except ValueError:
        number = math.nan
    if parameter.kind is ParameterKind.number and not (0 < number < math.inf):
        raise UserError(f"--{_shown(name)} is '{text}': give a number above 0.")
    if parameter.choices and number not in parameter.choices:
        *most, last = map(str, parameter.choices)
        raise UserError(f"--{_shown(name)} is '{text}': give {', '.join(most)} or {last}.")
    if parameter.kind is ParameterKind.integer and not number >= parameter.least:
        raise UserError(f"--{_shown(name)} is '{text}': give a number from {parameter.least} on.")
    return number


def _parts(recipe: Recipe, text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    for part in wanted:
        if part not in recipe.parts:
            raise UserError(f"--parts names '{part}'; the {recipe.part_word}s are: {' '.join(recipe.parts)}.")
    return tuple(part for part in recipe.parts if part in wanted)


def _add_setting(recipe: Recipe, request: Request, word: str) -> None:
    """Sort out ``PART:key=value`` and ``key=value``."""
    if (found := _OF_A_PART.fullmatch(word)) and "=" in found[2]:
        part, setting = found.groups()
        if part not in recipe.settings_names:
            each, known = recipe.part_word, " ".join(recipe.settings_names)
            raise UserError(f"'{word}' names no {each}; the {each}s are: {known}.")
        request.own_words.setdefault(part, []).append(setting)
    elif recipe.settings_for_all and _SETTING.match(word):
        key = word.partition("=")[0]
        for step in recipe.steps.values():
            fixed = {"output": step.output, "init_from": step.starts_from}
            if any(wanted and key == f"{step.section}.{name}" for name, wanted in fixed.items()):
                each = recipe.part_word
                raise UserError(
                    f"{key} is set for every {each} by the recipe; for one {each} write "
                    f"{each.upper()}:{key}=VALUE."
                )
        request.words.append(word)
    else:
        raise UserError(f"unknown argument '{word}'; see --help.")


def _complete(recipe: Recipe, given: dict[str, Any]) -> dict[str, Any]:
    """All values by name: what was given, else the defaults; then the places."""
    for name, parameter in recipe.parameters.items():
        if parameter.required and not given.get(name):
            raise UserError(f"--{_shown(name)} is missing: name {parameter.help.split(';')[0]}.")
        if given.get(name) and parameter.needs and not given.get(parameter.needs):
            raise UserError(f"--{_shown(name)} means nothing alone: name its --{parameter.needs}, too.")
    values: dict[str, Any] = {"root": str(ROOT)}
    for name, parameter in recipe.parameters.items():
        value = given.get(name, parameter.default)
        if name not in given:
            value = fill(value, values, f"parameters.{name}.default")
            value = False if parameter.kind is ParameterKind.flag else value
        if parameter.kind is ParameterKind.configs:
            files = [str(ROOT / file) for file in value] if name not in given else value
            value, values[f"{name}.size"], values[f"{name}.overlays"] = files, files[0], files[1:]
        values[name] = value
    for name, place in recipe.places.items():
        values[name] = fill(place, values, f"places.{name}")
    return values


def usage(recipe: Recipe) -> str:
    """What --help prints."""
    called = f"bash {recipe.script}" if recipe.script else "python -m common.recipes RECIPE"
    rows = [
        (f"--{_shown(option)} {parameter.value}".rstrip(), _help(parameter))
        for option, parameter in recipe.parameters.items()
        if parameter.help
    ]
    each = recipe.part_word
    rows.append(("--parts LIST", f"only these of: {' '.join(recipe.parts)}"))
    does = "print the commands, and do nothing"
    if recipe.dry_run.value != "commands":
        does = "print what every command would do, and do nothing"
    rows.append(("--dry-run", does))
    rows.append((f"{each.upper()}:key=value", f"a setting of one {each}"))
    if recipe.settings_for_all:
        rows.append(("key=value", f"a setting of every {each}"))
    lines = [f"usage: {called} [options]", "", textwrap.fill(recipe.about, 100), ""]
    for left, right in rows:
        lines += textwrap.wrap(right, 100, initial_indent=f"  {left:<18} ", subsequent_indent=" " * 21)
    return "\n".join(lines)


def _help(parameter: Parameter) -> str:
    default = parameter.default
    shown = " ".join(default) if isinstance(default, list) else str(default or "")
    shown = re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), shown.replace("{root}/", ""))
    return f"{parameter.help} (default {shown})" if shown else parameter.help
