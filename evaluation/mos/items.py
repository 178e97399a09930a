"""What raters are to compare: one item per clip, with every system's answer to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.media import probe
from evaluation.metrics.base import Kind
from evaluation.results import Results, Row

# Silence has no words to be in time with, and a dub back into the own speech is no task of its own.
RATED_KINDS = (Kind.cross, Kind.self)


@dataclass(frozen=True)
class ListeningItem:
    """One clip of a listening test.

    Attributes:
        name: of the row; raters do not see it.
        group: heading under which its scores are also reported.
        videos: system -> its dub. The order of systems is that of the tables; the first is the one that
            others are compared with.
        speech: what all these dubs should say; every one of them is heard with this file.
        original: the true answer, or else the source; it is heard with its own sound.
    """

    name: str
    group: str
    videos: Mapping[str, Path]
    speech: Path
    original: Path


def items_from_results(
    results: Results,
    folder: Path,
    speech: Mapping[str, Path],
    originals: Mapping[str, Path],
    systems: Collection[str] | None = None,
) -> tuple[list[ListeningItem], list[str]]:
    """The rows of an evaluation that can be rated.

    Args:
        results: of the evaluation.
        folder: its output folder; ``Row.video`` is relative to it.
        speech: row -> audio file of the manifest.
        originals: row -> true answer where the manifest has one, else the source video.
        systems: names to be rated; None: all of the evaluation.

    Returns:
        (items, left out): the second list says in a sentence each which rows are not rated and why.
    """
    wanted = [name for name in results.systems if systems is None or name in systems]
    rows: dict[str, dict[str, Row]] = {}
    for row in results.rows:
        if row.kind in RATED_KINDS:
            rows.setdefault(row.name, {})[row.system] = row
    items, left_out = [], []
    for name, answers in rows.items():
        videos = {s: folder / v for s in wanted if s in answers and (v := answers[s].video) is not None}
        reason = _unfit(name, wanted, videos, speech, originals)
        if reason is not None:
            left_out.append(f"Row '{name}' is not rated: {reason}.")
            continue
        group = next(iter(answers.values())).group
        items.append(ListeningItem(name, group, videos, speech[name], originals[name]))
    return items, left_out


def _unfit(
    name: str,
    wanted: list[str],
    videos: dict[str, Path],
    speech: Mapping[str, Path],
    originals: Mapping[str, Path],
) -> str | None:
    """Why a row cannot be rated."""
    missing = [s for s in wanted if s not in videos or not videos[s].is_file()]
    if missing:
        return f"there is no dub by {', '.join(missing)}"
    if name not in speech:
        return "its speech is not known"
    if name not in originals:
        return "its true or source video is not known"
    if not probe(originals[name]).has_audio:
        return f"'{originals[name]}' has no sound of its own, and so cannot be the real video"
    return None
