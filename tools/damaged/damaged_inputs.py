"""Try damaged and hostile media on all that a dub does around its model, and tell what became of each.

    python tools/damaged/damaged_inputs.py --work DIR [--count 200] [--seed 0] [--json FILE]

A video is dubbed with a whole sound, a sound onto a whole video. A try is good where the output is written
with the video's frames, or one sentence refuses the job. It is a fault where it ends otherwise, takes longer
than a minute, where the caller dies, or where the caller or a decoding process holds more memory than the
bounds that are given. Prints a table; the exit code is 1 where there was a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from damaged_attempt import Attempt, attempt  # noqa: E402
from damaged_material import damaged_files  # noqa: E402
from hostile_files import hostile_files  # noqa: E402

_SOUND = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus", ".mka")
_SECONDS = 60.0
_GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Result(Attempt):
    """An attempt, what it was on, and the peak memory (GB, resident) of the caller and its decoders."""

    kind: str
    file: str
    caller: float
    decoder: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the files; it is kept")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--caller-memory", type=float, default=1.0, help="GB that the caller may hold")
    parser.add_argument("--decoder-memory", type=float, default=1.0, help="GB that a decoder may hold")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        return _work()
    chosen.work.mkdir(parents=True, exist_ok=True)
    files = damaged_files(chosen.work, chosen.count, chosen.seed) + hostile_files(chosen.work)
    bounds = (chosen.caller_memory, chosen.decoder_memory)
    results = [_judged(item, *bounds) for item in _tried(files, chosen.work, chosen.decoder_memory)]
    _print_table(results)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(item) for item in results], indent=1))
    return int(any(item.state == "fault" for item in results))


def _work() -> int:
    """Attempts for the lines of standard input, one JSON line for each."""
    for line in sys.stdin:
        video, audio, output = (Path(part) for part in json.loads(line))
        print(json.dumps(asdict(attempt(video, audio, output))), flush=True)
    return 0


class _Caller:
    """The process that makes attempts; a new one takes the place of one that died or hung."""

    def __init__(self, memory: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work", ".", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "BOOTDUB_LIMITS": f"memory={memory:g} seconds=30"},
        )
        self._watched = psutil.Process(self._process.pid)
        self.peaks = [0.0, 0.0]

    def ask(self, words: list[str]) -> Attempt | None:
        """One attempt; None where the process ended or gave no answer in time."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self.peaks = [0.0, 0.0]
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        until = time.monotonic() + _SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < until:
                self._look()
                if selector.select(0.02):
                    line = self._process.stdout.readline()
                    return Attempt(**json.loads(line)) if line else None
        return None

    def _look(self) -> None:
        try:
            own = self._watched.memory_info().rss
            others = [process.memory_info().rss for process in self._watched.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for place, size in enumerate((own, max(others, default=0))):
            self.peaks[place] = max(self.peaks[place], size / _GIGABYTE)

    def end(self) -> int | None:
        """End the process; its exit code, where it had ended by itself."""
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        return code


def _tried(files: list[tuple[str, Path]], work: Path, memory: float) -> list[Result]:
    caller, results = _Caller(memory), []
    whole_video, whole_sound = work / "whole" / "h264.mp4", work / "whole" / "speech.wav"
    for number, (kind, path) in enumerate(files):
        is_sound = path.suffix in _SOUND
        words = (whole_video, path) if is_sound else (path, whole_sound)
        start = time.monotonic()
        found = caller.ask([*map(str, words), str(work / "out" / f"{number}.mkv")])
        peaks = caller.peaks
        if found is None:
            code = caller.end()
            said = "hung" if code is None else f"the caller died ({code})"
            found, caller = Attempt("fault", said, time.monotonic() - start), _Caller(memory)
        results.append(Result(**asdict(found), kind=kind, file=path.name, caller=peaks[0], decoder=peaks[1]))
    caller.end()
    return results


def _judged(result: Result, caller: float, decoder: float) -> Result:
    """A try that held too much memory is a fault, however it ended."""
    if result.caller <= caller and result.decoder <= decoder:
        return result
    said = f"{result.caller:.2f} GB in the caller, {result.decoder:.2f} GB in a decoder; {result.said}"
    return Result(**{**asdict(result), "state": "fault", "said": said})


def _print_table(results: list[Result]) -> None:
    print(f"{'kind':70} {'files':>5} {'written':>8} {'refused':>8} {'faults':>7} {'longest s':>10}")
    kinds = dict.fromkeys(item.kind for item in results)
    for kind in kinds:
        those = [item for item in results if item.kind == kind]
        states = Counter(item.state for item in those)
        longest = max(item.seconds for item in those)
        print(
            f"{kind[:70]:70} {len(those):5} {states['written']:8} {states['refused']:8} "
            f"{states['fault']:7} {longest:10.1f}"
        )
    states = Counter(item.state for item in results)
    print(
        f"{len(results)} files: {states['written']} written, {states['refused']} refused, "
        f"{states['fault']} faults; peak memory {max(item.caller for item in results):.2f} GB in the caller, "
        f"{max(item.decoder for item in results):.2f} GB in a decoder"
    )
    for item in results:
        if item.state == "fault":
            print(f"fault: {item.file} ({item.kind}): {item.said}")


if __name__ == "__main__":
    sys.exit(main())
