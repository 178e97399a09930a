"""The Dockerfile without Docker: files, options, extras and user are those that there are.

test_wheel.py runs its first step, a wheel of what .dockerignore leaves; .ci/run builds it where Docker runs.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

from docker_context import PATTERNS, ROOT, in_context
from test_docs_commands import wrong_words
from typer.main import get_command

from bootdub.cli.main import app
from bootdub.serve.gate import OPEN

TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


def _all(instruction: str, lines: list[str] = LINES) -> list[str]:
    """What follows an instruction wherever it stands."""
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{instruction} ")]


def _project(name: str) -> list[str]:
    """A list of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(rf"^{name} = (\[[^\n]*\]|\[\n.*?^\])$", text, re.MULTILINE | re.DOTALL)
    assert found, name
    return list(ast.literal_eval(found[1]))


def test_stages_follow_from_each_other_and_end_without_rights() -> None:
    known = set[str]()
    stages = re.split(r"^(?=FROM )", "\n".join(LINES), flags=re.MULTILINE)[1:]
    for stage in stages:
        start, *lines = stage.splitlines()
        _, image, _, name = start.split()
        assert image in known or re.fullmatch(r"python:3\.1[0-2]-slim", image)
        assert set(re.findall(r"\bfrom=(\w+)", stage)) <= known
        known.add(name)
        if name in ("cpu", "cuda"):
            assert _all("USER", lines) == ["bootdub"] and "--uid 1000 bootdub" in TEXT
    assert known == {"wheel", "base", "cpu", "cuda"}


def test_its_context_holds_what_a_wheel_is_made_of() -> None:
    named = [ROOT / pattern[1:] for pattern in PATTERNS if pattern.startswith("!")]
    assert named and all(path.exists() for path in named)
    assert all((ROOT / source).exists() for words in _all("COPY") for source in words.split()[:-1])
    for name in (
        "bootdub/cli/main.py",
        "tools/packaging/bootdub_build.py",
        "models/bootdub-small/bootdub.json",
    ):
        assert in_context(Path(name)) and (ROOT / name).is_file()
    for name in (
        "tests/conftest.py",
        "bootdub/__pycache__/x.pyc",
        "models/bootdub-tiny/x",
        ".git/HEAD",
    ):
        assert not in_context(Path(name))


def test_its_commands_have_their_options() -> None:
    (entry,), (serve,) = _all("ENTRYPOINT"), _all("CMD")
    shown = [shlex.split(line.partition(" bootdub ")[2]) for line in TEXT.splitlines() if "run --rm" in line]
    assert len(shown) == 1
    for words in (json.loads(serve), *shown):
        assert not wrong_words([*json.loads(entry), *words])
    options = {param.name: param.default for param in get_command(app).commands["serve"].params}  # type: ignore[attr-defined]
    assert _all("EXPOSE") == [str(options["port"])]
    folders = [word for word in json.loads(serve) if word.startswith("/")]
    (made,) = re.findall(r"install -d (.*)", TEXT)
    assert folders and set(folders) <= set(made.split())


def test_its_check_of_health_asks_what_needs_no_key() -> None:
    (check,) = re.findall(r"HEALTHCHECK .*CMD (\[.*\])", TEXT)
    program, option, code = json.loads(check)
    ast.parse(code)
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)([\w/]+)'", code)[0]
    assert (program, option) == ("python", "-c") and path in OPEN and [port] == _all("EXPOSE")


def test_its_packages_are_those_of_the_project() -> None:
    extras = {name for found in re.findall(r"whl\)\[([\w,]+)\]", TEXT) for name in found.split(",")}
    assert extras == {"serve", "xformers"} and all(_project(name) for name in extras)
    (torch,) = re.findall(r'pip install "(torch[^"]*)"', TEXT)
    assert torch in _project("dependencies")
    (system,) = re.findall(r"--no-install-recommends ([\w\d. ]+)", TEXT)
    assert all(name in (ROOT / "docs" / "install.md").read_text("utf-8") for name in system.split())
