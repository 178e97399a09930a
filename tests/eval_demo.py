"""A made-up evaluation with numbers like real ones, for tests of what reads results and for looking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from evaluation.metrics.base import ALL_KINDS, Better, Kind, Metric, Values
from evaluation.previews import write_preview, write_strip
from evaluation.results import Results, Row

SYSTEMS = ("editor", "generator", "copy-input")
GROUPS = ("frontal", "profile", "occluded", "silent & still")
DRIVEN = (Kind.cross, Kind.self, Kind.cycle)


def _metric(key: str, title: str, unit: str, better: Better, group: str, kinds: tuple[Kind, ...]) -> Metric:
    return Metric(
        key,
        title,
        unit,
        better,
        f"{title} = f(made), in {unit or 'pure numbers'}",
        "ours: a demo",
        group,
        kinds,
    )


METRICS = (
    _metric("sync_score", "Sync-C", "", Better.higher, "sync", DRIVEN),
    _metric("sync_distance", "Sync-D", "", Better.lower, "sync", DRIVEN),
    _metric("sync_offset", "Offset", "frames", Better.zero, "sync", DRIVEN),
    _metric("mouth_r", "Mouth r", "", Better.higher, "sync", DRIVEN),
    _metric("source_leak", "Leak r", "", Better.zero, "leak", (Kind.cross,)),
    _metric("silence_motion", "Silent motion", "", Better.lower, "leak", (Kind.silence,)),
    _metric("csim", "CSIM", "", Better.higher, "identity", ALL_KINDS),
    _metric("csim_worst", "CSIM, worst frame", "", Better.higher, "identity", ALL_KINDS),
    _metric("sharpness", "Sharpness", "", Better.one, "looks", ALL_KINDS),
    _metric("psnr_outside", "PSNR outside", "dB", Better.higher, "looks", ALL_KINDS),
    _metric("flicker", "Flicker", "%", Better.one, "looks", ALL_KINDS),
    _metric("fid", "FID", "", Better.lower, "looks", ALL_KINDS),
    _metric("psnr_mouth", "PSNR mouth", "dB", Better.higher, "truth", (Kind.cross,)),
    _metric("lmd", "LMD", "px", Better.lower, "truth", (Kind.cross,)),
    _metric("wer", "WER", "%", Better.lower, "speech", DRIVEN),
    _metric("loudness", "Loudness", "LUFS", Better.none, "speech", ALL_KINDS),
)
# Of the best system, how far each further one lies behind, and how much clips differ.
_LEVELS = {
    "sync_score": (7.3, -0.8, 0.9),
    "sync_distance": (7.1, 0.6, 0.6),
    "sync_offset": (0.1, 0.9, 0.8),
    "mouth_r": (0.81, -0.24, 0.06),
    "source_leak": (0.05, 0.21, 0.08),
    "silence_motion": (0.011, 0.02, 0.004),
    "csim": (0.883, -0.02, 0.02),
    "csim_worst": (0.79, -0.05, 0.04),
    "sharpness": (0.97, -0.11, 0.05),
    "psnr_outside": (41.2, 1.1, 1.6),
    "flicker": (1.04, 0.16, 0.05),
    "psnr_mouth": (29.4, -2.0, 1.0),
    "lmd": (0.63, 0.17, 0.1),
    "wer": (21.0, 11.0, 6.0),
    "loudness": (-23.0, 0.0, 1.5),
}


def _values(kind: Kind, place: int, rng: np.random.Generator) -> Values:
    found = {}
    for metric in METRICS:
        if metric.key not in _LEVELS or kind not in metric.kinds:
            continue
        level, behind, spread = _LEVELS[metric.key]
        found[metric.key] = float(level + place * behind + spread * rng.standard_normal())
    return found


def _curves(frames: int, place: int, rng: np.random.Generator) -> dict[str, list[float | None]]:
    t = np.arange(frames) / 25

    def mouth(phase: float) -> np.ndarray:
        return np.asarray(
            0.22 + 0.12 * np.sin(9 * t + phase) * np.sin(2.1 * t + phase) + 0.05 * np.sin(23 * t)
        )

    truth = mouth(0.3)
    made: list[float | None] = list(map(float, truth + (0.01 + 0.03 * place) * rng.standard_normal(frames)))
    made[frames // 2 : frames // 2 + 3] = [None] * 3
    return {
        "made": made,
        "source": list(map(float, mouth(2.0))),
        "driver": list(map(float, truth * 0.9 + 0.02)),
        "truth": list(map(float, truth)),
    }


def _face(mouth: float, shade: int, size: int) -> np.ndarray:
    image = np.full((size, size, 3), (40, 60, shade), np.uint8)
    middle = size // 2
    cv2.ellipse(
        image, (middle, middle), (size // 3, size * 2 // 5), 0, 0, 360, (214, 170, 140), -1, cv2.LINE_AA
    )
    for side in (-1, 1):
        cv2.circle(
            image, (middle + side * size // 8, size * 2 // 5), size // 28, (30, 30, 40), -1, cv2.LINE_AA
        )
    axes = (size // 9, max(1, round(size * mouth / 4)))
    cv2.ellipse(image, (middle, size * 7 // 10), axes, 0, 0, 360, (120, 30, 40), -1, cv2.LINE_AA)
    return image


def write_media(
    folder: Path, stem: str, curves: dict[str, list[float | None]], shade: int, size: int
) -> None:
    """A preview ``stem.mp4`` and a strip ``stem.jpg`` of drawn faces."""
    videos = [
        (label, np.stack([_face(mouth or 0.0, shade, size) for mouth in curves[name]]))
        for label, name in (("source", "source"), ("dub", "made"), ("truth", "truth"))
    ]
    count = len(videos[0][1])
    sound = 0.2 * np.sin(2 * np.pi * 220 * np.arange(round(count * 640)) / 16000)
    write_preview(folder / f"{stem}.mp4", videos, sound.astype(np.float32))
    mouths = [
        (label, frames[:, size // 2 : size * 9 // 10, size // 4 : size * 3 // 4]) for label, frames in videos
    ]
    write_strip(folder / f"{stem}.jpg", mouths)


def demo_results(folder: Path | None = None, *, clips: int = 3, frames: int = 75, size: int = 160) -> Results:
    """Three systems on four groups; media are written where a folder is given.

    The last clip of the second system has no dub; the silent group has rows of kind "silence", the third
    one rows of kind "self".
    """
    rng = np.random.default_rng(0)
    kinds = dict(zip(GROUPS, (Kind.cross, Kind.cross, Kind.self, Kind.silence), strict=True))
    rows = []
    for g, group in enumerate(GROUPS):
        for k in range(clips):
            for place, system in enumerate(SYSTEMS):
                kind = kinds[group]
                curves = _curves(frames, place, rng)
                success = bool(rng.random() > 0.12 + 0.3 * place)
                row = Row(
                    name=f"{group.split()[0]}_{k + 1:02d}",
                    group=group,
                    kind=kind.value,
                    system=system,
                    values=_values(kind, place, rng),
                    curves=curves,
                    seconds=None if system == "copy-input" else 3.0 + 2.5 * place + float(rng.random()),
                    frames=frames,
                    success=success,
                    reasons=() if success else ("Sync-C 3.1 is below 4",),
                    notes=("The dub is 2 frames shorter than the source.",) if k == 1 and place == 1 else (),
                )
                if folder is not None:
                    stem = f"media/{g}_{k}_{place}"
                    write_media(folder, stem, curves, 90 + 40 * g, size)
                    row = replace(row, preview=f"{stem}.mp4", strip=f"{stem}.jpg")
                rows.append(row)
    lost = next(i for i in reversed(range(len(rows))) if rows[i].system == SYSTEMS[1])
    rows[lost] = replace(
        rows[lost],
        values={},
        curves={},
        success=None,
        reasons=(),
        seconds=None,
        error="No face in 40 % of the frames.",
        preview=None,
        strip=None,
    )
    fids = {"editor": 9.35, "generator": 10.82, "copy-input": 2.1}
    return Results(
        title="Held-out characters, both stages",
        systems=SYSTEMS,
        groups=GROUPS,
        metrics=METRICS,
        rows=tuple(rows),
        pooled={system: {"all": {"fid": value}} for system, value in fids.items()},
        facts={
            "rules": [
                "The mouth follows the speech: Sync-C is at least 4.",
                "The face stays: CSIM is at least .8.",
            ],
            "missing": {"fid": "Needs ten clips; a group has fewer."},
            "judges": {
                "sync": "syncnet_v2 (sha256 3f2a…)",
                "identity": "buffalo_l",
                "speech": "whisper-base",
            },
            "versions": "bootdub 0.1.0, torch 2.10",
            "not measured": ["LPIPS: no weights were given (--lpips)."],
            "clips": 12,
        },
    )
