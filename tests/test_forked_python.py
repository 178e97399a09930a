"""The stand-in for the interpreter behaves as the interpreter does."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from forked_python import forked_python


def test_arguments_folder_environment_files_and_exit_code_are_handed_on(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['X'], sys.stdin.read()); sys.exit(7)"
    done = subprocess.run(
        [forked_python(), "-c", code, "a b"],
        cwd=tmp_path,
        env={**os.environ, "X": "1"},
        input="in",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, f"['-c', 'a b'] {tmp_path} 1 in\n", "")
    script = tmp_path / "s.py"
    script.write_text("import sys; print(__name__, sys.argv, file=sys.stderr); raise ValueError('no')")
    done = subprocess.run([forked_python(), str(script), "x"], capture_output=True, text=True)
    assert done.returncode == 1 and f"__main__ ['{script}', 'x']" in done.stderr
    assert done.stderr.rstrip().endswith("ValueError: no")


def test_files_that_are_inherited_keep_their_numbers() -> None:
    reading, writing = os.pipe()
    code = f"import os; os.write({writing}, b'there')"
    subprocess.run([forked_python(), "-c", code], pass_fds=[writing], check=True)
    assert os.read(reading, 10) == b"there"
    os.close(reading), os.close(writing)


def test_low_numbers_of_files_are_free_for_the_command() -> None:
    code = "import os; [os.write(number, b'x') for number in range(3, 10)]"
    shell = '"$0" -c "$1" 3>&1 4>&1 5>&1 6>&1 7>&1 8>&1 9>&1'
    done = subprocess.run(["sh", "-c", shell, forked_python(), code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "xxxxxxx", "")


def test_what_the_command_starts_with_its_interpreter_is_a_fork_too() -> None:
    inner = "import sys; print(len(sys.modules))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    done = subprocess.run([forked_python(), "-c", code], capture_output=True, text=True)
    assert int(done.stdout) > 1000, "libraries are loaded already"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_command(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    process = subprocess.Popen([forked_python(), "-c", code])
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(10) == -number
    for _ in range(500):
        try:
            os.kill(int(mark.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("the command is still there")


def test_stand_ins_that_are_killed_at_once_leave_the_server_as_it_was() -> None:
    """At any time: before the request is whole, before the fork is told, and after."""
    code = "import time; time.sleep(60)"
    for number in range(40):
        process = subprocess.Popen([forked_python(), "-c", code])
        time.sleep(0.001 * number)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = subprocess.run([forked_python(), "-c", "print('here')"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")
