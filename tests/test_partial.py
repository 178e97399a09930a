"""What a killed process leaves half-written is removed by the next one, and nothing else is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from common.files import atomic_dir, atomic_path
from common.partial import clear_abandoned

WRITES = """
import sys, time
from pathlib import Path
from common.files import atomic_dir, atomic_path
folder = Path(sys.argv[1])
with atomic_path(folder / "clip.mp4") as file, atomic_dir(folder / "run") as inner:
    file.write_bytes(b"half")
    (inner / "a.txt").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def _half_written(folder: Path) -> list[Path]:
    return sorted(folder.glob(".part-*"))


def _writer(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_files_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    process = _writer(tmp_path)
    try:
        assert len(_half_written(tmp_path)) == 2
        clear_abandoned(tmp_path)
        assert len(_half_written(tmp_path)) == 2, "what is being written was removed"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert len(_half_written(tmp_path)) == 2
    with atomic_path(tmp_path / "clip.mp4") as file:
        file.write_bytes(b"whole")
        assert _half_written(tmp_path) == [file]
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_own_files_under_way_and_foreign_ones_stay(tmp_path: Path) -> None:
    foreign = [tmp_path / name for name in (".part-abc", ".part-out.import", ".part-bootdub-7-notes-of-mine")]
    for path in foreign:
        path.write_text("x")
    link = tmp_path / ".part-bootdub-4194305-abcdefgh"
    link.symlink_to(foreign[0])
    with atomic_path(tmp_path / "a.json") as file, atomic_dir(tmp_path / "run") as inner:
        file.unlink()  # as safetensors does: another file in its place
        file.write_text("{}")
        clear_abandoned(tmp_path)
        assert file.exists() and inner.is_dir()
    assert all(path.exists() for path in foreign) and link.is_symlink()
    assert (tmp_path / "a.json").read_text() == "{}" and (tmp_path / "run").is_dir()
