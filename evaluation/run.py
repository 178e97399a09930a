"""An evaluation from start to end: dub, measure, keep, report. Runs that were cut off go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import require_writable_dir
from common.progress import ProgressCallback
from evaluation.dubbed_clip import SIZE, DubbedClip
from evaluation.loading import CaseLoader, PreparedCase
from evaluation.manifest import Case
from evaluation.metrics.base import Features, Kind, Values
from evaluation.metrics.leak import lsd
from evaluation.metrics.sound import heard_speech
from evaluation.previews import write_preview, write_strip
from evaluation.registry import Measures
from evaluation.results import ALL, Results, Row
from evaluation.store import Contents, Store, key_of
from evaluation.success import rule_sentences, success_of
from evaluation.systems.base import DubbedFile, System

log = logging.getLogger("bootdub.evaluation")

MAIN = (
    "mouth_r",
    "silence_closed",
    "truth_psnr_mouth",
    "truth_psnr_occluder",
    "psnr_occluder",
    "sharpness_mouth",
    "patch_edge",
)
"""Metrics that the report draws."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        title: of the report.
        cases: rows of the manifest, probes included; a probe stands after its row.
        systems: in the order of the tables; others are compared with the first.
        pictures: write previews and strips for the report.
    """

    title: str
    cases: tuple[Case, ...]
    systems: tuple[System, ...]
    pictures: bool = True


class Evaluation:
    """Runs a plan into a folder."""

    def __init__(
        self, plan: Plan, measures: Measures, folder: Path, progress: ProgressCallback | None = None
    ) -> None:
        """``progress``: is told the rows done after each row."""
        self.plan, self.measures = plan, measures
        self.store = Store(require_writable_dir(folder))
        self._contents = Contents()
        self._progress = progress or (lambda what, done, total: None)
        self._loader: CaseLoader | None = None
        self._dubs: dict[tuple[str, str], DubbedFile] = {}

    def run(self) -> Results:
        """Every system on every row, then what needs several rows.

        A row that fails becomes a row with an error; the others go on.
        """
        rows: list[Row] = []
        total = len(self.plan.cases) * len(self.plan.systems)
        for case in self.plan.cases:
            prepared: PreparedCase | None = None
            for system in self.plan.systems:
                row, prepared = self._row(case, system, prepared)
                rows.append(row)
                self._progress("evaluating", len(rows), total)
        rows = _with_lsd(rows, self.plan.cases)
        rows = [self._with_success(row) for row in rows]
        groups = tuple(dict.fromkeys(case.group for case in self.plan.cases))
        return Results(
            self.plan.title,
            tuple(system.name for system in self.plan.systems),
            groups,
            self.measures.metrics,
            tuple(rows),
            self._pooled(rows, groups),
            {**self.measures.facts, "rules": rule_sentences(), "main": list(MAIN)},
        )

    def _row(
        self, case: Case, system: System, prepared: PreparedCase | None
    ) -> tuple[Row, PreparedCase | None]:
        """One row, kept or new, and what was read of the case, for the next system."""
        empty = Row(case.name, case.group, case.kind.value, system.name, {})
        try:
            dubbed = self._dub(case, system)
            first = self._first_dub(case, system)
        except UserError as error:
            log.warning("%s, %s: %s", case.name, system.name, error)
            return replace(empty, error=str(error)), prepared
        key = key_of(
            case=self._contents.of_case(case),
            group=case.group,
            sound_delay=case.sound_delay,
            dub=self._contents.of(dubbed.path),
            first=self._contents.of(first) if first is not None else None,
            seams=dubbed.seams,
            measures=self.measures.fingerprints,
            pictures=self.plan.pictures,
        )
        kept = self.store.load(system.name, case.name, key)
        if kept is not None:
            return kept, prepared
        try:
            self._loader = self._loader or CaseLoader()
            prepared = prepared or self._loader.prepare(case)
            clip, notes = self._loader.load_dub(prepared, dubbed.path, dubbed.seams, first)
        except UserError as error:
            log.warning("%s, %s: %s", case.name, system.name, error)
            return replace(empty, error=str(error)), prepared
        row = replace(
            empty,
            values=self._values(clip),
            curves=_curves(clip),
            seconds=dubbed.seconds,
            frames=len(clip),
            notes=notes,
            video=self.store.relative(dubbed.path),
        )
        if self.plan.pictures:
            row = self._pictured(row, clip)
        features = {m.fingerprint: found for m in self.measures.pooled if (found := m.features(clip))}
        self.store.save(row, key, features)
        return row, prepared

    def _dub(self, case: Case, system: System) -> DubbedFile:
        """The dub, made or found."""
        video = self._first_dub(case, system) or case.video
        output = self.store.dub(system.name, case)
        key = key_of(case=self._contents.of_case(case), video=self._contents.of(video), by=system.fingerprint)
        note = self.store.known_dub(system.name, case, key)
        if note is not None:
            dubbed = DubbedFile(output, note["seconds"], tuple(note["seams"]))
        else:
            dubbed = system.dub(case, video, output)
            if dubbed.path == output:
                facts = {"seconds": dubbed.seconds, "seams": dubbed.seams}
                self.store.remember_dub(system.name, case, key, facts)
        self._dubs[system.name, case.name] = dubbed
        return dubbed

    def _first_dub(self, case: Case, system: System) -> Path | None:
        """Of a cycle row: the dub that is taken back.

        Raises:
            UserError: that dub failed.
        """
        if case.kind is not Kind.cycle or case.base is None:
            return None
        first = self._dubs.get((system.name, case.base))
        if first is None:
            raise UserError(f"There is no dub of '{case.base}' to take back.")
        return first.path

    def _values(self, clip: DubbedClip) -> Values:
        kind = Kind(clip.kind)
        values: Values = {}
        for measure in self.measures.clip:
            if any(kind in metric.kinds for metric in measure.metrics):
                values.update(measure(clip))
        for name, value in values.items():
            if not np.isfinite(value):
                raise ValueError(f"the metric {name} of {clip.name} is {value}")
        return values

    def _pictured(self, row: Row, clip: DubbedClip) -> Row:
        versions = [("source", clip.source.crops), (row.system, clip.made.crops)]
        if clip.truth is not None and clip.truth is not clip.source:
            versions.append(("truth", clip.truth.crops))
        preview = self.store.media(row.system, row.name, ".mp4")
        write_preview(preview, versions, heard_speech(clip))
        strip = self.store.media(row.system, row.name, ".jpg")
        low = slice(SIZE * 7 // 16, SIZE)
        side = slice(SIZE // 8, SIZE * 7 // 8)
        write_strip(strip, [(label, crops[:, low, side]) for label, crops in versions])
        return replace(row, preview=self.store.relative(preview), strip=self.store.relative(strip))

    def _with_success(self, row: Row) -> Row:
        if row.error is not None:
            return replace(row, success=False, reasons=(row.error,))
        success, reasons = success_of(row.values, row.kind)
        return replace(row, success=success, reasons=reasons)

    def _pooled(self, rows: Sequence[Row], groups: Sequence[str]) -> dict[str, dict[str, Values]]:
        found: dict[str, dict[str, Values]] = {}
        if not self.measures.pooled:
            return found
        for system in self.plan.systems:
            mine = [row for row in rows if row.system == system.name and row.error is None]
            kept = {row.name: self.store.features(row) for row in mine}
            for group in (ALL, *groups):
                chosen = [kept[row.name] for row in mine if group in (ALL, row.group)]
                values = self._pool(chosen)
                if values:
                    found.setdefault(system.name, {})[group] = values
        return found

    def _pool(self, clips: Sequence[dict[str, Features]]) -> Values:
        values: Values = {}
        for measure in self.measures.pooled:
            values.update(measure.pool([c[measure.fingerprint] for c in clips if measure.fingerprint in c]))
        return values


def _curves(clip: DubbedClip) -> dict[str, list[float | None]]:
    curves: dict[str, Any] = {"made": clip.made.opening, "source": clip.source.opening}
    if clip.driver_opening is not None:
        curves["driver"] = clip.driver_opening
    if clip.truth is not None:
        curves["truth"] = clip.truth.opening
    return {
        name: [round(float(v), 4) if np.isfinite(v) else None for v in curve]
        for name, curve in curves.items()
        if np.isfinite(curve).any()
    }


def _with_lsd(rows: Sequence[Row], cases: Sequence[Case]) -> list[Row]:
    """Matched against mismatched speech, where a system dubbed one video with both."""
    videos = {case.name: case.video.resolve() for case in cases}
    matched = {(r.system, videos[r.name]): r for r in rows if r.kind == Kind.self.value and r.error is None}
    found = []
    for row in rows:
        own = matched.get((row.system, videos[row.name])) if row.kind == Kind.cross.value else None
        if own is not None and row.error is None:
            row = replace(row, values={**row.values, **lsd(own.values, row.values)})
        found.append(row)
    return found
