"""Commands of the repository in processes that need not import the libraries again.

Most of a short command's time is its imports. They are done once, by a server of Python's multiprocessing of
which every process is a fork; the server itself computes nothing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 900

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["common.training.launch", "stage2_dubber.training.strategy", "stage2_dubber.distillation.strategy"]
)


def start_command(log: Path, *command: str, variables: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start a command; what it prints goes into ``log`` (standard output) and ``log`` + ".err".

    ``command`` is a script and its arguments, or "-m", a module and its arguments.
    """
    process = _SERVER.Process(target=_run, args=(command, dict(variables or {}), log))
    process.start()
    return process


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = start_command(log, *command)
        _wait([process])
        return subprocess.CompletedProcess(command, process.exitcode or 0, log.read_text(), errors(log))


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
        codes = [process.exitcode for process in ranks]
        assert codes == [0] * count, f"{codes}\n" + "\n".join(errors(log)[-3000:] for log in logs)
        return "".join(log.read_text() for log in logs)


def torchrun(count: int, *command: str) -> str:
    """The same by PyTorch's own launcher, as users start it; some seconds slower."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}"]
    launch += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = subprocess.run(
        [*launch, *command],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def kill(process: ForkServerProcess) -> None:
    """End a command and the processes that it has started with SIGKILL; nothing where it has ended."""
    if process.exitcode is None and process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            process.join()


def errors(log: Path) -> str:
    """What a command started with ``log`` wrote to standard error."""
    path = _error_log(log)
    return path.read_text() if path.exists() else ""


def _error_log(log: Path) -> Path:
    return log.with_name(f"{log.name}.err")


def _run(command: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
    os.setsid()
    os.environ.update(variables, CUDA_VISIBLE_DEVICES="")
    os.chdir(REPOSITORY)
    for stream, path in ((1, log), (2, _error_log(log))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    if command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        sys.path.insert(0, str(Path(command[0]).resolve().parent))
        runpy.run_path(command[0], run_name="__main__")


def _wait(processes: Sequence[ForkServerProcess]) -> None:
    """Until all have ended, or one has failed: the others would wait for it."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while any(process.exitcode is None for process in processes):
        if any(process.exitcode for process in processes) or time.monotonic() > end:
            for process in processes:
                kill(process)
        time.sleep(0.02)
