"""Every command in the documents has the options that it is shown with."""

from __future__ import annotations

import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
import typer
from docs_blocks import DOCUMENTS, ROOT, Block, blocks

from bootdub.cli.main import app
from common.recipes.options import usage
from common.recipes.schema import load_recipe


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of a block, without comments; variables of the block are filled in."""
    text = re.sub(r"\\\n\s*", " ", "\n".join(block.lines))
    variables: dict[str, str] = {}
    for line in text.splitlines():
        line = re.sub(r"\s#\s.*", "", line).removeprefix("$ ")
        if re.match(r"\w+ {3}", line):  # a table of names
            continue
        for name, value in re.findall(r'\b([A-Z]+)="([^"]*)"', line):
            variables[name] = value
        for name, values in re.findall(r"\bfor (\w+) in (\w+)", line):
            variables[name] = values
        line = re.sub(r"\$(\w+)\b", lambda found: variables.get(found[1], found[0]), line)
        for part in line.split(";"):
            # [--optional VALUE] is shown in brackets.
            with suppress(ValueError):  # prose, or code of another language
                words = shlex.split(re.sub(r"\[(--[^\]]*)\]", r"\1", part))
                words = [word for word in words if word != "..."]
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                    words.pop(0)
                if words:
                    yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def options(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


@cache
def _help(program: str) -> str:
    """What a module, a script of the repository or a recipe's shell script says of its options."""
    if program.endswith(".sh"):
        text = (ROOT / program).read_text(encoding="utf-8")
        recipe = re.search(r'run_recipe "\$here" (\w+)', text)
        script = re.search(r"tools/\w+\.py", text)
        if recipe:
            return _usage(recipe[1]) + "--help"
        return text + (_help(script[0]) if script else "")
    said, old = io.StringIO(), (sys.argv, list(sys.path))
    sys.argv = [program, "--help"]
    try:
        with redirect_stdout(said), suppress(SystemExit):
            if program.endswith(".py"):
                sys.path.insert(0, str((ROOT / program).parent))
                runpy.run_path(str(ROOT / program), run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = old
    return said.getvalue()


@cache
def _usage(recipe: str) -> str:
    return usage(load_recipe(recipe)) + "--dry-run --parts "


def _wrong_of_bootdub(words: list[str]) -> list[str]:
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands") and rest:
        name = rest.pop(0)
        if name not in command.commands:
            return [f"bootdub {name}"]
        command = command.commands[name]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return [option for option in options(rest) if option not in known]


def wrong_words(words: list[str]) -> list[str]:
    """Options of a command that it has not."""
    program, *rest = words
    if program == "bootdub":
        return _wrong_of_bootdub(rest)
    if program == "python" and rest[:1] == ["-m"]:
        name, rest = rest[1], rest[2:]
        if name.split(".")[0] not in ("bootdub", "common", "evaluation", "stage1_generator", "stage2_dubber"):
            return []
    elif program in ("python", "bash", "torchrun", "sbatch"):
        places = [k for k, word in enumerate(rest) if re.fullmatch(r"[\w/]+\.(py|sh|sbatch)", word)]
        if not places:
            return []
        name, rest = rest[places[0]], rest[places[0] + 1 :]
        if name == "tools/test.sh":  # its options are those of pytest
            return []
        if name.endswith(".sbatch"):
            name = "tools/train_stage2.sh"
    else:
        return []
    if not options(rest):
        return []
    said = _usage(rest[0]) if name == "common.recipes" else _help(name)
    return [option for option in options(rest) if not re.search(rf"{option}(?![\w-])", said)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_have_the_options_that_documents_show(document: Path) -> None:
    shown = [words for block in blocks(document.read_text("utf-8")) for words in commands(block)]
    wrong = {" ".join(words): found for words in shown if (found := wrong_words(words))}
    assert not wrong


def test_a_wrong_option_is_found() -> None:
    lines = (
        "bootdub dub --video V --audoi A   # says",
        "bootdub dbu",
        "",
        "bash tools/run_stage1.sh --vdeos V",
    )
    text = "Text:\n\n" + "\n".join(f"    {line}" for line in lines)
    (block,) = blocks(text)
    found = [wrong for words in commands(block) for wrong in wrong_words(words)]
    assert found == ["--audoi", "bootdub dbu", "--vdeos"]
    assert wrong_words(shlex.split("python -m stage1_generator.prepare --nothing")) == ["--nothing"]
