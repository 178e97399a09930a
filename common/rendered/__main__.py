"""Command: render talking heads with exact ground truth into a folder."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from common.errors import EXIT_CODE, UserError
from common.files import require_writable_dir
from common.rendered.clips import ClipRequest, check_seeds, make_clips
from common.rendered.scene import OCCLUDERS, STYLES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m common.rendered",
        description="Render talking heads: <id>_a.mp4, its truth in <id>_a.track.safetensors, and <id>.json. "
        "Clip i has the seed SEED + i; seeds under 1000000 are for training, those above for testing.",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder; clips that are there are not made again"
    )
    parser.add_argument("--count", type=int, required=True, help="number of characters")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first character (default 0)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each clip (default 3)")
    parser.add_argument("--size", type=int, default=256, help="width and height in pixels (default 256)")
    parser.add_argument("--pairs", action="store_true", help="also <id>_b: the same scene, other words")
    parser.add_argument(
        "--occluder", choices=("auto", *OCCLUDERS), default="auto", help="what crosses the mouth"
    )
    parser.add_argument("--style", choices=("auto", *STYLES), default="auto", help="how it is drawn")
    parser.add_argument(
        "--languages", nargs="+", default=[], metavar="CODE", help="espeak languages (default: many)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    return parser


def _run(requests: list[ClipRequest], folder: Path, workers: int) -> Iterator[bool]:
    if workers <= 1:
        yield from (make_clips(request, folder) for request in requests)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share locks that other threads may hold
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        tasks = [pool.submit(make_clips, request, folder) for request in requests]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        check_seeds(options.seed, options.count)
        folder = require_writable_dir(options.output)
        requests = [
            ClipRequest(
                seed=options.seed + i,
                seconds=options.seconds,
                size=options.size,
                style=None if options.style == "auto" else options.style,
                occluder=None if options.occluder == "auto" else options.occluder,
                pair=options.pairs,
                languages=tuple(options.languages),
            )
            for i in range(options.count)
        ]
        open_requests = [request for request in requests if not request.done(folder)]
        columns = (
            TextColumn("rendering"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            bar = progress.add_task("clips", total=len(open_requests))
            for _ in _run(open_requests, folder, min(options.workers, len(open_requests))):
                progress.advance(bar)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    print(f"{len(open_requests)} rendered, {len(requests) - len(open_requests)} were there already: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
