"""Every page that shows commands or Python has some that run here, on small things (docs_things.py)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from docs_blocks import DOCUMENTS, OURS, Block, blocks
from docs_things import SMALLER, lay_out
from forked_python import forked_python

NOT_RUN = {
    "README.md": "its commands are those of docs/index.md",
    "testing.md": "shows how this very suite is run",
}
"""Pages with commands of which none is run -> why."""
DUB = "--video clip.mp4 --audio speech.wav --output dubbed.mp4"
_OUTPUT = re.compile(r'(?:--output |--outfile |--video_out_path |\boutput=)"?([\w./-]+)')


def _pages() -> dict[str, list[Block]]:
    return {path.name: list(blocks(path.read_text("utf-8"))) for path in DOCUMENTS}


RUN = {name: marked for name, page in _pages().items() if (marked := [b for b in page if b.run is not None])}


def test_every_page_with_commands_has_some_that_run() -> None:
    shown = {name for name, page in _pages().items() if any(block.has_commands for block in page)}
    assert shown - RUN.keys() == NOT_RUN.keys()
    assert all(block.has_commands for page in RUN.values() for block in page)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.mark.parametrize("name", RUN)
def test_what_a_page_marks_runs(
    name: str, made: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = _script(RUN[name], tmp_path, port)
    if "curl " in script and not shutil.which("curl"):
        pytest.skip("no curl here")
    files = [block for block in _pages()[name] if block.file]
    named = script + "".join(block.text for block in (*RUN[name], *files))
    lay_out(tmp_path, named, made, lambda: request.getfixturevalue("footage"))
    for block in files:
        (tmp_path / block.file).write_text(block.text)
    _programs(tmp_path / "programs", port)
    code, said = _run(script, tmp_path)
    assert code == 0, f"{name}: {said[-3000:]}"


def _script(marked: list[Block], folder: Path, port: str) -> str:
    """A page's blocks for bash, with this port for that of the service.

    Each is tried by itself, without what the ones before have written.
    """
    script = "set -euo pipefail\n"
    for block in marked:
        text = block.text.replace(" ... ", f" {DUB} ").replace(":8000", f":{port}")
        outputs = " ".join(_OUTPUT.findall(text))
        script += f"rm -rf {outputs}\n"
        if block.is_python:
            (folder / f"line-{block.number}.py").write_text(text)
            script += f"python line-{block.number}.py\n"
        else:
            lines = re.sub(r"\\\n\s*", " ", text).splitlines()
            script += "".join(f"{_longer(line, block.run or '')}\n" for line in lines)
        if outputs and "--dry-run" not in (block.run or ""):
            script += f"ls {outputs}\n"
    return script


def _longer(line: str, words: str) -> str:
    """A command with the words that its mark and the table of small things add."""
    command = re.sub(r"\s+#\s.*", "", line)
    if not re.match(rf"\s*([A-Z_]+=\S+ )*{OURS} ", command):
        return line
    small = " ".join(more for begin, more in SMALLER.items() if begin in command)
    return f"{command} {small} {words}"


def _run(script: str, folder: Path) -> tuple[int, str]:
    """Its exit code and what it has printed; what it has left running is ended."""
    log = folder / "log.txt"
    variables = {
        "PATH": f"{folder / 'programs'}:{os.environ['PATH']}",
        "PYTHON": forked_python(),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with log.open("w") as file:
        process = subprocess.Popen(
            ["bash", "-xc", script],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return code, log.read_text()


def _programs(folder: Path, port: str) -> None:
    """What the pages call, by forks of one process; servers stay behind, and end with the page's commands."""
    python = shlex.quote(forked_python())
    folder.mkdir()
    bodies = {
        "python": f'exec {python} "$@"',
        "torchrun": f'exec {python} -m torch.distributed.run "$@"',
        "pip": f'exec {shlex.quote(sys.executable)} -m pip "$@"',
        "curl": f'exec {shutil.which("curl")} --fail-with-body "$@"',
        "bootdub": f"""
            [[ "$1 ${{2:-}}" == "serve --root" ]] || exec {python} -m bootdub "$@"
            {python} -m bootdub "$@" --port {port} &
            until (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 $! && sleep 0.1; done""",
    }
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/bash\nset -eu\n{body}\n")
        (folder / name).chmod(0o755)
