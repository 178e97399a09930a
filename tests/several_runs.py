"""Several trainings one after the other in the processes that torchrun started, whose start takes longest.

``several_runs.py JOBS.json``: a list of {"words": [...], "code": exit code, "limit": bytes}. ``limit`` is the
largest file that the last process may write.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from accelerate import Accelerator

from stage2_dubber.train import main


def run_all(jobs: Path) -> int:
    # The next run needs the processes to stay connected.
    Accelerator.end_training = lambda self: None  # type: ignore[method-assign]
    last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
    free, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for job in json.loads(jobs.read_text()):
        limit = job.get("limit", free) if last else free
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        code = main(job["words"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
        if code != job.get("code", 0):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_all(Path(sys.argv[1])))
