"""Render the benchmark into a folder: clips, tracks, the manifest and a sheet of pictures per group."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.files import PathLike, atomic_path, read_json, require_writable_dir, write_json
from common.media import contact_sheet, read_frames
from common.progress import CountCallback
from common.rendered.clips import render_clip, write_clip
from common.rendered.speech import Speech, sample_voice, silence, speak
from evaluation.bench.checksums import clip_checksums, compare
from evaluation.bench.items import VERSION, BenchItem, bench_items
from evaluation.bench.scenes import build_scene
from evaluation.bench.sidecar import item_fingerprint
from evaluation.bench.singing import sing
from evaluation.manifest import SILENCE

_SHEET_COLUMNS = 8
_CANDIDATES = 4


@dataclass(frozen=True)
class BenchRow:
    """One row of the manifest; paths are relative to it.

    Attributes:
        name, group: of the item.
        video: clip a, the source. audio, truth: clip b, whose speech is to be said and which is the answer.
        track, audio_track: landmarks, boxes, occluder and opening of a and of b.
        scene: JSON for evaluation.bench.scene_of.
        warning: how the clip differs from the benchmark's, None if it does not; not in the manifest.
    """

    name: str
    video: str
    audio: str
    truth: str
    group: str
    track: str
    audio_track: str
    scene: str
    warning: str | None = None


COLUMNS = tuple(entry.name for entry in fields(BenchRow) if entry.name != "warning")


def speech_of(item: BenchItem, letter: str) -> Speech:
    """What clip "a" or "b" of an item says; b is silent or sung where the group wants it."""
    voice = sample_voice(item.seed)
    if letter == "b" and item.group == "silence":
        return silence(item.seconds)
    if letter == "b" and item.group == "singing":
        return sing(2 * item.seed + 1, item.seconds, voice)
    first = speak(2 * item.seed, item.seconds, voice)
    if letter == "a":
        return first
    # In short clips pauses may fall together by chance; a dubber that copies must not look good by luck.
    others = [speak(2 * (item.seed + 100 * k) + 1, item.seconds, voice) for k in range(_CANDIDATES)]
    return min(others, key=lambda speech: abs(_likeness(first, speech)))


def _likeness(first: Speech, second: Speech) -> float:
    """Correlation of two mouths, to one decimal: the choice must not hang on the last bit of a number."""
    a, b = (np.array([shape.open for shape in speech.mouth]) for speech in (first, second))
    if min(a.std(), b.std()) < 1e-6:
        return 1.0
    return round(float(np.corrcoef(a, b)[0, 1]), 1)


def make_item(item: BenchItem, folder: Path) -> bool:
    """Render one item; False where exactly it lies in the folder already (the JSON is written last)."""
    about = folder / f"{item.name}.json"
    parts = [
        folder / f"{item.name}_{letter}{end}" for letter in "ab" for end in (".mp4", ".track.safetensors")
    ]
    whole = about.is_file() and all(part.is_file() for part in parts)
    if whole and read_json(about).get("fingerprint") == item_fingerprint(item):
        return False
    scene = build_scene(item)
    clips: dict[str, Any] = {}
    for letter in "ab":
        clip = render_clip(scene, speech_of(item, letter))
        write_clip(clip, folder, f"{item.name}_{letter}")
        said = {"video": f"{item.name}_{letter}.mp4", "text": clip.speech.text}
        clips[letter] = {**said, "checksums": clip_checksums(clip)}
    write_json(
        about,
        {
            "bench": VERSION,
            "fingerprint": item_fingerprint(item),
            "item": asdict(item),
            "speaker": scene.speaker,
            "style": scene.style.name,
            "occluder": scene.occluder.kind if scene.occluder else "none",
            "creature": scene.creature,
            "clips": clips,
        },
    )
    return True


def made_checksums(folder: Path, name: str) -> dict[str, dict[str, str]]:
    """Letter -> checksums, as they were when the item in this folder was rendered."""
    clips = read_json(folder / f"{name}.json")["clips"]
    return {letter: clips[letter]["checksums"] for letter in "ab"}


def render_bench(
    folder: PathLike,
    size: str = "quick",
    groups: Sequence[str] | None = None,
    workers: int = 2,
    progress: CountCallback | None = None,
) -> list[BenchRow]:
    """Render the benchmark: clips <id>_a and <id>_b with tracks, <id>.json, manifest.csv, sheets/<group>.png.

    Items that lie there already are kept, so a broken run goes on where it stopped. The manifest holds the
    chosen groups.

    Args:
        folder: made if it does not exist.
        size: a key of SIZES.
        groups: keys of GROUPS; None = all.
        workers: processes.
        progress: called with (items done, items in all).

    Raises:
        UserError: unknown size or group, or a folder that cannot be written.
    """
    items = bench_items(size, groups)
    target = require_writable_dir(folder)
    fresh: set[str] = set()
    for done, (item, made) in enumerate(_rendered(items, target, workers), 1):
        if made:
            fresh.add(item.group)
        if progress is not None:
            progress(done, len(items))
    for group in dict.fromkeys(item.group for item in items):
        sheet = target / "sheets" / f"{group}.png"
        if group in fresh or not sheet.is_file():
            _draw_sheet([item for item in items if item.group == group], target, sheet)
    rows = [_row(item, compare(size, item.name, made_checksums(target, item.name))) for item in items]
    write_manifest(target / "manifest.csv", rows)
    return rows


def _rendered(items: list[BenchItem], folder: Path, workers: int) -> Iterator[tuple[BenchItem, bool]]:
    if workers <= 1:
        yield from ((item, make_item(item, folder)) for item in items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share locks that other threads may hold
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        # The longest first, so that no worker is left alone with it at the end.
        order = sorted(items, key=lambda item: -item.seconds * item.pixels)
        tasks = {pool.submit(partial(make_item, item, folder)): item for item in order}
        try:
            for task in as_completed(tasks):
                yield tasks[task], task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _row(item: BenchItem, warning: str | None) -> BenchRow:
    a, b = f"{item.name}_a", f"{item.name}_b"
    tracks = f"{a}.track.safetensors", f"{b}.track.safetensors"
    # Of silence there is no recording: the word tells that the lips are to be shut, not to follow something.
    spoken = SILENCE if item.group == "silence" else f"{b}.mp4"
    return BenchRow(
        item.name, f"{a}.mp4", spoken, f"{b}.mp4", item.group, *tracks, f"{item.name}.json", warning
    )


def write_manifest(path: Path, rows: Sequence[BenchRow]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _draw_sheet(items: list[BenchItem], folder: Path, path: Path) -> None:
    strips = []
    for item in items:
        for letter in "ab":
            frames = read_frames(folder / f"{item.name}_{letter}.mp4")
            strips.append((f"{item.name} {letter}", frames))
    contact_sheet(strips, path, columns=_SHEET_COLUMNS, height=160)
