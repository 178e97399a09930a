"""Commands of the repository in processes that need not import the libraries again (:mod:`forked_python`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from forked_python import REPOSITORY, forked_python

TIMEOUT_SECONDS = 900

Process = subprocess.Popen[bytes]


def start_command(log: Path, *command: str, variables: Mapping[str, str] | None = None) -> Process:
    """Start a command; what it prints goes into ``log`` (standard output) and ``log`` + ".err".

    ``command`` is a script and its arguments, or "-m", a module and its arguments.
    """
    with log.open("wb") as out, _error_log(log).open("wb") as err:
        return subprocess.Popen(
            [forked_python(), *command],
            cwd=REPOSITORY,
            env={**os.environ, **(variables or {}), "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = start_command(log, *command)
        _wait([process])
        return subprocess.CompletedProcess(command, process.returncode, log.read_text(), errors(log))


def several_processes(count: int, *command: str) -> str:
    """Run a command in ``count`` connected processes, as torchrun does; returns what they printed."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(rank) for rank in range(count)]
        ranks = [
            start_command(log, *command, variables={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank, log in enumerate(logs)
        ]
        _wait(ranks)
        codes = [process.returncode for process in ranks]
        assert codes == [0] * count, f"{codes}\n" + "\n".join(errors(log)[-3000:] for log in logs)
        return "".join(log.read_text() for log in logs)


def torchrun(count: int, *command: str) -> str:
    """The same by PyTorch's own launcher, as users start it."""
    launch = ["-m", "torch.distributed.run", f"--nproc_per_node={count}"]
    launch += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = run_command(*launch, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def kill(process: Process) -> None:
    """End a command and the processes that it has started with SIGKILL; nothing where it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def errors(log: Path) -> str:
    """What a command started with ``log`` wrote to standard error."""
    path = _error_log(log)
    return path.read_text() if path.exists() else ""


def _error_log(log: Path) -> Path:
    return log.with_name(f"{log.name}.err")


def _wait(processes: Sequence[Process]) -> None:
    """Until all have ended, or one has failed: the others would wait for it."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes) or time.monotonic() > end:
            for process in processes:
                kill(process)
        time.sleep(0.02)
