"""A Python for commands that start further ones: each is a fork of a server that has imported the libraries.

:func:`forked_python` gives the path of a stand-in for the interpreter. It hands its arguments, environment,
folder and open files to the server, forwards signals to the fork, and ends as it ends; where the stand-in is
killed, so is the fork with all that it has started. Options before ``-m``, ``-c`` or a script are not known.
"""

from __future__ import annotations

import array
import atexit
import fcntl
import gc
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
PRELOADED = (
    "bootdub.cli.main",
    "common.command",
    "common.config",
    "common.recipes.run",
    "common.training.launch",
    "stage2_dubber.training.launch",
    "stage2_dubber.training.strategy",
    "stage2_dubber.distillation.strategy",
    "stage2_dubber.joint.config",
    "stage1_generator.config",
    "stage2_dubber.dub.pipeline",
    "stage2_dubber.dub.job",
    "torch.distributed.launcher.api",
)

# Of the system's own interpreter, without site-packages: it starts in milliseconds.
_CLIENT = """#!{python} -SE
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
numbers = []
for name in os.listdir("/proc/self/fd"):
    try:
        if int(name) != server.fileno() and (int(name) < 3 or os.get_inheritable(int(name))):
            numbers.append(int(name))
    except OSError:
        pass
request = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), numbers]).encode()
files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))]
server.sendmsg([len(request).to_bytes(4, "big")], files)
server.sendall(request)
fork = int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big")
def forward(number, frame):
    try:
        os.kill(fork, number)
    except ProcessLookupError:
        pass
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, forward)
code = int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@cache
def forked_python() -> str:
    """The path of the stand-in. All workers of a test run share one server, which ends with the run."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    run = os.getppid() if worker else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"forked-python-{os.getuid()}-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    address, script = folder / "socket", folder / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            script.write_text(_CLIENT.format(python=os.path.realpath(sys.executable), socket=str(address)))
            script.chmod(0o700)
            server = subprocess.Popen(
                [sys.executable, __file__, str(run), str(address), str(script)],
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            while not address.exists():
                assert server.poll() is None, "the server of forked_python ended"
                time.sleep(0.02)
    return str(script)


def _serve(run: int, address: str, script: str) -> None:
    """Fork for every connection until the test ``run`` (a process) has ended; forks run their commands."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address + ".new")
    listening.listen(64)
    Path(address + ".new").rename(address)
    events = selectors.DefaultSelector()
    events.register(listening, selectors.EVENT_READ, None)
    while Path(f"/proc/{run}").exists():
        for key, _ in events.select(timeout=2):
            if key.data is None:
                command = _accept(listening, events)
                if command is not None:
                    _end(lambda run=command: run(script))
            else:
                key.data()
    shutil.rmtree(Path(address).parent, ignore_errors=True)


def _accept(listening: socket.socket, events: selectors.BaseSelector) -> Callable[[str], None] | None:
    """Read a request and fork; in the fork what it is to run. A stand-in may be killed at any time."""
    client, _ = listening.accept()
    files = array.array("i")
    try:
        first, ancillary, *_ = client.recvmsg(4, socket.CMSG_SPACE(256 * 4))
        for _, _, data in ancillary:
            files.frombytes(data[: len(data) // 4 * 4])
        wanted = struct.unpack(">I", first)[0]
        request = b""
        while len(request) < wanted and (piece := client.recv(wanted - len(request))):
            request += piece
    except (OSError, struct.error):
        request, wanted = b"", 1
    if len(request) < wanted:
        for file in files:
            os.close(file)
        client.close()
        return None
    words, environment, folder, numbers = json.loads(request)
    pid = os.fork()
    if pid == 0:
        # Now: their numbers may be those of the files.
        for ours in (client, events, listening):
            ours.close()
        os.setsid()
        # Above all numbers that are asked for first: one file's number may be another's place.
        high = [os.dup2(file, 1000 + place) for place, file in enumerate(files)]
        for file in files:
            os.close(file)
        for file, number in zip(high, numbers, strict=True):
            os.dup2(file, number)
            os.close(file)
        return lambda script: _run(script, words, environment, folder)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(pid)

    def left() -> None:
        """The stand-in has gone; nothing else is ever sent by it."""
        if client in events.get_map():
            events.unregister(client)
        # The fork may not yet have a group of its own.
        for kill in (os.kill, os.killpg):
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def done() -> None:
        events.unregister(ended)
        os.close(ended)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if client in events.get_map():
            events.unregister(client)
            with suppress(OSError):
                client.sendall(struct.pack(">i", code))
        client.close()

    events.register(ended, selectors.EVENT_READ, done)
    try:
        client.sendall(struct.pack(">I", pid))
    except OSError:
        left()
    else:
        events.register(client, selectors.EVENT_READ, left)
    return None


def _end(command: Callable[[], None]) -> NoReturn:
    """Run a command and end as Python does, but for the taking apart of all modules, which takes a second."""
    code = 0
    try:
        command()
    except SystemExit as asked:
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(script: str, words: list[str], environment: dict[str, str], folder: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    # What it starts in turn is a fork, too; torchrun asks the variable.
    sys.executable = script
    os.environ.update(environment, PYTHON_EXEC=script)
    os.chdir(folder)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.path[0] = ""
    for entry in environment.get("PYTHONPATH", "").split(os.pathsep):
        if entry and entry not in sys.path:
            sys.path.insert(1, entry)
    kind, *rest = words
    if kind == "-u":
        kind, *rest = rest
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [kind, *rest]
        sys.path[0] = str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)
    for name in PRELOADED:
        __import__(name)
    gc.freeze()  # forks need no copies of what is never freed
    _serve(int(sys.argv[1]), *sys.argv[2:])
