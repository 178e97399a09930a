"""CPU time, time and memory of the whole command `bootdub dub`, beside another checkout in the same run.

    python tools/bench/command_bench.py VIDEO AUDIO --baseline FOLDER [--runs 3] [--plain-avx2] [--pictures]

The two checkouts take turns, so that other work on the machine meets both alike; the least of all runs
counts. CPU time is user and system time of all processes, decoding ones included. --plain-avx2 hides AVX-512
from the libraries that can be told (torch's kernels, oneDNN, MKL, OpenBLAS, NumPy, OpenCV); x264, FFmpeg and
MediaPipe cannot. --pictures also dubs without loss and compares the frames. Linux alone.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent.parent):  # also runs from a checkout that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
from bench_arguments import positive  # noqa: E402

from common.media import VideoReader  # noqa: E402

PLAIN_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL",
}
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


@dataclass(frozen=True)
class CommandCost:
    """Of one run: CPU seconds of all processes, seconds of the clock, megabytes of the largest process."""

    cpu: float
    seconds: float
    megabytes: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--baseline", type=Path, required=True, help="another checkout, with its models")
    parser.add_argument("--runs", type=positive, default=3)
    parser.add_argument("--plain-avx2", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    chosen = parser.parse_args(argv)
    checkouts = {"baseline": chosen.baseline.resolve(), "this": HERE.parent.parent}
    more = PLAIN_AVX2 if chosen.plain_avx2 else {}
    inputs = [chosen.video.resolve(), chosen.audio.resolve()]
    # An open file is decoded in this process, which must have no children of its own (see run).
    with inputs[0].open("rb") as file:
        length = float(VideoReader(file).times()[-1])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        costs: dict[str, list[CommandCost]] = {which: [] for which in checkouts}
        for _ in range(chosen.runs):
            for which, place in checkouts.items():
                costs[which].append(run(place, inputs, work / f"{which}.mp4", (), more))
        print_costs(costs, length)
        if chosen.pictures:
            for which, place in checkouts.items():
                run(place, inputs, work / f"{which}.mkv", ("--lossless",), more)
            print_difference(work / "baseline.mkv", work / "this.mkv")
    return 0


def run(
    checkout: Path, inputs: Sequence[Path], output: Path, words: Sequence[str], more: dict[str, str]
) -> CommandCost:
    """Dub once, and wait for all processes that were started for it."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # what the command leaves behind becomes this process's child
    video, audio = (str(path) for path in inputs)
    options = ["--video", video, "--audio", audio, "--output", str(output), "--overwrite", *words]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = subprocess.Popen(
        [sys.executable, "-m", "bootdub", "dub", *options],
        cwd=checkout,
        env={**os.environ, **more, "PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, own = os.wait4(command.pid, 0)
    seconds = time.perf_counter() - start
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise SystemExit(f"{checkout}: bootdub dub has ended with {command.returncode}")
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return CommandCost(cpu, seconds, own.ru_maxrss / 1024)


def print_costs(costs: dict[str, list[CommandCost]], length: float) -> None:
    """The least of each, and this checkout's over the baseline's."""
    print(f"{length:.1f} s of video, least of {len(costs['this'])} runs in turns")
    print(f"{'':24}{'baseline':>10}{'this':>10}{'ratio':>8}")
    for label, values in (
        ("CPU s", {w: min(c.cpu for c in runs) for w, runs in costs.items()}),
        ("CPU s per s of video", {w: min(c.cpu for c in runs) / length for w, runs in costs.items()}),
        ("s", {w: min(c.seconds for c in runs) for w, runs in costs.items()}),
        ("MB, largest process", {w: min(c.megabytes for c in runs) for w, runs in costs.items()}),
    ):
        ratio = values["this"] / values["baseline"]
        print(f"{label:24}{values['baseline']:10.2f}{values['this']:10.2f}{ratio:8.2f}")


def print_difference(first: Path, second: Path) -> None:
    """How much the frames of two videos differ."""
    sums, most, changed, count = 0.0, 0, 0, 0
    with VideoReader(first) as one, VideoReader(second) as other:
        for a, b in zip(one, other, strict=True):
            apart = np.abs(a.image.astype(np.int16) - b.image)
            sums, most = sums + float(apart.mean()), max(most, int(apart.max()))
            changed, count = changed + int(apart.any(axis=-1).sum()), count + 1
            pixels = apart.shape[0] * apart.shape[1]
    print(
        f"frames differ by {sums / count:.2g} levels on average, {most} at most, "
        f"in {changed / (count * pixels):.2g} of the pixels"
    )


if __name__ == "__main__":
    sys.exit(main())
