"""Choose clips of a user's folder for the benchmark's real part, after EdiDub (appendix C).

"front": heads that hardly turn. "occluded": hands in front of faces. Each chosen clip is to be dubbed with
the speech of another one of the same folder.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from common.errors import UserError
from common.files import PathLike, atomic_path
from common.progress import CountCallback
from evaluation.bench.make import COLUMNS
from evaluation.bench.verdicts import RULES, Verdict, look_at

EXTENSIONS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


@dataclass(frozen=True)
class Curation:
    """The rows that were written, in order, and all verdicts."""

    rows: list[dict[str, str]]
    verdicts: list[Verdict]


def cross_audio(videos: Sequence[Path], drivers: Sequence[Path], seed: int = 0) -> list[Path]:
    """For each video the file whose speech it gets: never its own, each used as seldom as can be; seeded.

    Raises:
        UserError: a video has no other file with sound.
    """
    if any(not set(drivers) - {video} for video in videos):
        raise UserError("Cross-audio rows need another video with sound in the folder: add one.")
    often = -(-len(videos) // len(drivers)) if drivers else 0
    # One round more, so that a video whose own file is left over finds another.
    pool = [driver for _ in range(often + 1) for driver in drivers]
    rounds = np.repeat(np.arange(often + 1), len(drivers))
    cost = np.random.default_rng([seed, 0xC0DE]).uniform(0, 1, (len(videos), len(pool)))
    cost += 1e3 * rounds[None]
    cost[[[video == driver for driver in pool] for video in videos]] = 1e9
    _, chosen = linear_sum_assignment(cost)
    return [pool[i] for i in chosen]


def curate(
    folder: PathLike,
    output: PathLike,
    rule: str,
    threshold: float | None = None,
    limit: int = 0,
    seed: int = 0,
    workers: int = 2,
    progress: CountCallback | None = None,
) -> Curation:
    """Choose videos under `folder` by a rule and write a manifest of them, with their scores.

    The manifest has the benchmark's columns (paths relative to it) and `score`; `occluded` rows also have
    `most` and `frames` (see Verdict). Front rows come with the calmest first, occluded ones with the most
    covered first.

    Args:
        folder: searched with its subfolders.
        output: CSV to write.
        rule: a key of RULES.
        threshold: of the rule; None = its default.
        limit: at most so many, drawn at random from those that fit (EdiDub: 50); 0 = all.
        seed: of that draw and of who speaks for whom.
        workers: processes.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: unknown rule, no videos, none that fits, or no other speech to give them.
    """
    if rule not in RULES:
        raise UserError(f"There is no rule '{rule}' of curation: choose one of {', '.join(RULES)}.")
    root = Path(folder)
    videos = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not videos:
        raise UserError(f"No video ({', '.join(EXTENSIONS)}) lies under '{root}': check the folder.")
    level = RULES[rule] if threshold is None else threshold
    found = {}
    for done, verdict in enumerate(_looked_at(videos, rule, level, workers), 1):
        found[verdict.video] = verdict
        if progress is not None:
            progress(done, len(videos))
    verdicts = [found[video] for video in videos]
    chosen = [verdict for verdict in verdicts if verdict.reason is None]
    if not chosen:
        raise UserError(_none_fits(root, rule, level, verdicts))
    if 0 < limit < len(chosen):
        picks = np.random.default_rng([seed, 0xF0]).choice(len(chosen), limit, replace=False)
        chosen = [chosen[i] for i in sorted(picks)]
    sign = 1.0 if rule == "front" else -1.0
    chosen.sort(key=lambda verdict: (sign * (verdict.score or 0.0), verdict.video))
    # The chosen ones speak for one another; where some are silent or alone, the rest of the folder helps.
    speakers = [verdict.video for verdict in chosen if verdict.has_audio]
    if len(speakers) < max(len(chosen), 2):
        speakers = [verdict.video for verdict in verdicts if verdict.has_audio]
    spoken = cross_audio([verdict.video for verdict in chosen], speakers, seed)
    rows = [_row(v, driver, rule, root, Path(output)) for v, driver in zip(chosen, spoken, strict=True)]
    with atomic_path(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Curation(rows, verdicts)


_MOST_REASONS, _MOST_NAMES = 10, 5


def _none_fits(root: Path, rule: str, level: float, verdicts: Sequence[Verdict]) -> str:
    """One sentence with the reason of every video, the commonest first."""
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        reasons.setdefault(verdict.reason or "", []).append(str(verdict.video.relative_to(root)))
    said = [f"{_some(names)} ({reason})" for reason, names in sorted(reasons.items(), key=_commonest)]
    said[_MOST_REASONS:] = [] if len(said) <= _MOST_REASONS else ["..."]
    advice = "loosen the threshold" if any(v.measured for v in verdicts) else "give other videos"
    what = f"No video under '{root}' fits the rule '{rule}' with threshold {level:g}"
    return f"{what}: {'; '.join(said)}; {advice}."


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _commonest(item: tuple[str, list[str]]) -> int:
    return -len(item[1])


def _row(verdict: Verdict, driver: Path, rule: str, root: Path, output: Path) -> dict[str, str]:
    def relative(path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix()

    row = dict.fromkeys(COLUMNS, "")
    row["name"] = verdict.video.relative_to(root).with_suffix("").as_posix().replace("/", "-")
    row |= {"video": relative(verdict.video), "audio": relative(driver), "group": f"real-{rule}"}
    row["score"] = f"{verdict.score:g}"
    covered = {"most": str(verdict.most), "frames": str(verdict.frames)}
    return row | (covered if rule == "occluded" else {})


def _looked_at(videos: list[Path], rule: str, threshold: float, workers: int) -> Iterator[Verdict]:
    if workers <= 1:
        yield from (look_at(video, rule, threshold) for video in videos)
        return
    context = multiprocessing.get_context("spawn")  # MediaPipe's threads do not survive a fork
    with ProcessPoolExecutor(
        min(workers, len(videos)), mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        tasks = [pool.submit(look_at, video, rule, threshold) for video in videos]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)
