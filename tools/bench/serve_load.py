"""Queue many short jobs at a service and kill its workers at random: is anything lost, or done twice?

    python tools/bench/serve_load.py --work DIR [--jobs 200] [--seconds 1] [--workers 4] [--kill-every 5]

The service is the real one, on this machine's own address, with workers that wait instead of dubbing: a job
is ten steps, of which finished ones are kept as a dub keeps its pieces. The exit code is 1 where a job has
not ended well, or has been done more than once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

import uvicorn  # noqa: E402
from serve_steps import counted, steps  # noqa: E402

from bootdub.serve.app import create_app  # noqa: E402
from bootdub.serve.record import JobState  # noqa: E402
from bootdub.serve.service import Service  # noqa: E402
from bootdub.serve.settings import ServeSettings  # noqa: E402
from bootdub.serve.store import JobStore  # noqa: E402
from bootdub.serve.supervisor import Supervisor  # noqa: E402

_BODY = {"input": [{"type": "video", "path": "v.mp4"}, {"type": "audio", "path": "a.wav"}]}
_STEPS = 10


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each job")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=5.0, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    root = given.work / "root"
    root.mkdir(parents=True)
    for name in ("v.mp4", "a.wav"):
        (root / name).touch()
    settings = ServeSettings(
        work=given.work / "service", model=given.work, root=root, workers=given.workers, queue=given.jobs
    )
    settings.work.mkdir()
    (settings.work / "steps").write_text(f"{_STEPS} {given.seconds / _STEPS}")
    store = JobStore(settings.work)
    supervisor = Supervisor(settings, store, steps)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create_app(Service(settings, store, "secret", supervisor))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        begun = time.monotonic()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        asked = [_ask(address) for _ in range(given.jobs)]
        queued = time.monotonic() - begun
        kills = _kill_until_done(store, supervisor, random.Random(given.seed), given.kill_every)
        took = time.monotonic() - begun
        server.should_exit = True
        thread.join()
    return _tell(store, settings.work, asked, f"{queued:.1f} s to queue, {took:.1f} s in all, {kills} kills")


def _ask(address: str) -> str:
    body = json.dumps(_BODY).encode()
    request = urllib.request.Request(f"{address}/v2/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["id"])


def _kill_until_done(store: JobStore, supervisor: Supervisor, draw: random.Random, mean: float) -> int:
    kills, due = 0, time.monotonic() + draw.expovariate(1 / mean)
    while any(n for state, n in store.counts().items() if not state.ended):
        time.sleep(0.1)
        # A job whose workers die again and again is ended, rightly: none is killed in its last attempt.
        going = [job for job in store.jobs(states=[JobState.processing]) if job.attempts < store.attempts]
        busy = [job.pid for job in going if job.pid]
        if time.monotonic() > due and busy:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(busy), signal.SIGKILL)
                kills += 1
            due = time.monotonic() + draw.expovariate(1 / mean)
    return kills


def _tell(store: JobStore, work: Path, asked: list[str], times: str) -> int:
    states = Counter(store.get(id).state for id in asked)
    done, begun = Counter(counted(work / "done")), Counter(counted(work / "begun"))
    whole = sum(store.get(id).result == {"steps": [str(n) for n in range(_STEPS)]} for id in asked)
    once = sum(done[id] == 1 for id in asked)
    again = sum(begun.values()) - len(begun)
    print(
        f"{len(asked)} jobs: {states[JobState.completed]} completed, {once} done once, {whole} whole; {times}"
    )
    print(f"{again} went on after a kill, with at most {max(begun.values())} attempts")
    return int(not states[JobState.completed] == once == whole == len(asked))


if __name__ == "__main__":
    sys.exit(main())
