"""tools/bench/command_bench.py: all processes of a command are counted, and frames are compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dub_clips import picture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import command_bench

from common.media import LOSSLESS, VideoWriter

# Stands for a checkout: a process that works, and leaves one behind that works for longer.
_WORK = "import time\nwhile time.process_time() < {seconds}:\n    pass\n"
_MAIN = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {_WORK.format(seconds=0.4)!r}])\n"


@pytest.mark.skipif(sys.platform != "linux", reason="processes that are left behind are found on Linux alone")
def test_a_process_that_is_left_behind_is_waited_for_and_counted(tmp_path: Path) -> None:
    package = tmp_path / "bootdub"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(_MAIN + _WORK.format(seconds=0.1))
    # In a process of its own, which has no other children to wait for.
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path; import command_bench; place = Path(sys.argv[1])\n"
        "print(command_bench.run(place, [place, place], place, (), {}).cpu)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert float(done.stdout) > 0.5, done.stderr


def test_the_difference_of_two_videos_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.stack([picture(i) for i in range(3)]).clip(0, 250)
    other = frames.copy()
    other[1, :10, :20] += 5
    paths = []
    for name, clip in (("a.mkv", frames), ("b.mkv", other)):
        paths.append(tmp_path / name)
        with VideoWriter(paths[-1], frames.shape[2], frames.shape[1], rate=25, encoding=LOSSLESS) as writer:
            for image in clip:
                writer.write(image)
    command_bench.print_difference(*paths)
    share = 200 / (3 * frames.shape[1] * frames.shape[2])
    assert f"5 at most, in {share:.2g} of the pixels" in capsys.readouterr().out
