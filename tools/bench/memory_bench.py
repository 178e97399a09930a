"""How much memory does a dub take over the length of a video?

    python tools/bench/memory_bench.py --video V --audio A --minutes 1 10 -- [options of bootdub dub]

The video and the speech are repeated until they last so long, and dubbed by ``bootdub dub`` in a process of
its own. Printed are the peaks of the memory that this process and those that decode for it hold (RSS).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from common.media import SAMPLE_RATE, VideoReader, VideoWriter, load_audio, save_wav

_EVERY_SECONDS = 0.1


def _repeated(video: Path, audio: Path, seconds: float, folder: Path) -> tuple[Path, Path]:
    """A video and speech that last so long, in ``folder``."""
    clip, speech = folder / f"{seconds:g}.mp4", folder / f"{seconds:g}.wav"
    said = load_audio(audio)
    save_wav(speech, np.resize(said, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    with VideoReader(video) as reader:
        info = reader.info
        wanted = round(seconds * info.average_rate)
        with VideoWriter(clip, info.width, info.height, rate=info.average_rate, like=info) as writer:
            done = 0
            while done < wanted:
                for frame in reader.frames(0, wanted - done):
                    writer.write(frame.image)
                    done += 1
    return clip, speech


def _peak(command: Sequence[str]) -> tuple[float, float, float]:
    """(MB of the process alone, MB with its children, seconds)."""
    begun, alone, together = time.monotonic(), 0, 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            own = process.memory_info().rss
            children = sum(child.memory_info().rss for child in process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
        alone, together = max(alone, own), max(together, own + children)
        time.sleep(_EVERY_SECONDS)
    if process.returncode:
        raise SystemExit(f"the command failed with {process.returncode}: {' '.join(command)}")
    return alone / 1e6, together / 1e6, time.monotonic() - begun


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of bootdub dub, after --")
    given = parser.parse_args(argv)
    options = [word for word in given.options if word != "--"]
    with tempfile.TemporaryDirectory() as scratch:
        for minutes in given.minutes:
            video, audio = _repeated(given.video, given.audio, 60 * minutes, Path(scratch))
            paths = ["--video", str(video), "--audio", str(audio), "--output", f"{scratch}/o{minutes:g}.mp4"]
            alone, together, seconds = _peak([sys.executable, "-m", "bootdub", "dub", *paths, *options])
            print(
                f"{minutes:g} min: {alone:.0f} MB, with decoders {together:.0f} MB, {seconds:.0f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
