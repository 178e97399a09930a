"""`python -m common.mouth_painter.label`: prepared clips -> shards of open mouths.

They are what `common.mouth_painter.train` learns from. Every sample holds patches of a stretch of one
clip in the face's axes, larger than what the painter sees by a margin, with their landmarks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.command import alone_in_work_folder, run_configured
from common.data.clips import TrainingClip, training_clips
from common.data.labelled import LabelledSample, write_labelled
from common.data.prepared import PREPARED, LoadedClips, PreparedClip, load_prepared
from common.face.layout import INNER_LIP_PAIRS
from common.files import fingerprint, remove_partial
from common.mouth_painter.config import MouthLabelingConfig, MouthLabelsConfig
from common.own_mouths.frame import FaceAxes
from common.own_mouths.heads import Heads
from common.own_mouths.painting.patch import HEIGHT, WIDTH, InsidePatch

STEP = "open_mouths"
"""What the index of these shards calls this command."""
MARGIN = 8
"""Pixels on each side by which patches are larger than what the painter sees."""
_VERSION = 2
_SIZE = (WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN)


@dataclass(frozen=True)
class _Faces:
    """Of an entry's N frames.

    Attributes:
        heads: in crop pixels.
        axes, faces: of each face, and (N, 68, 2) its points in them.
        units: (N,) pixels of the film per eye-corner distance, whatever size the crops have.
        gaps: (N,) between the inner lips, eye-corner distances.
        chosen: (N,) frames that are labelled.
    """

    heads: Heads
    axes: list[FaceAxes]
    faces: NDArray[np.float64]
    units: NDArray[np.float64]
    gaps: NDArray[np.float64]
    chosen: NDArray[np.bool_]


def main(argv: list[str] | None = None) -> int:
    return run_configured(
        MouthLabelingConfig,
        alone_in_work_folder(run, dry_run),
        prog="python -m common.mouth_painter.label",
        description=__doc__ or "",
        argv=argv,
    )


def dry_run(config: MouthLabelingConfig) -> None:
    entries = load_prepared(Path(config.work) / PREPARED)
    print(f"mouth_painter.label: {len(entries)} prepared clips, into {Path(config.work) / config.folder}")


def run(config: MouthLabelingConfig) -> None:
    work, length = Path(config.work), config.geometry.clip_frames
    folder = work / config.folder
    remove_partial(folder)
    faces = lru_cache(maxsize=1)(lambda entry: _faces(entry, config.labels))
    clips = [
        clip
        for clip in training_clips(load_prepared(work / PREPARED), length, 0)
        if faces(clip.entry).chosen[clip.start : clip.start + length].any()
    ]
    loaded = LoadedClips()
    made_by = {"step": STEP, "config": fingerprint([_VERSION, length, MARGIN, config.labels])}

    def label(clip: TrainingClip) -> LabelledSample:
        entry, found = clip.entry, faces(clip.entry)
        frames = clip.start + np.flatnonzero(found.chosen[clip.start : clip.start + length])
        crops = loaded.get(entry).crops
        patches = [InsidePatch.of(found.axes[i], found.faces[i], _SIZE) for i in frames]
        meta = {"kind": STEP, "frames": length, "fps": config.geometry.fps, "speaker": entry.speaker}
        return LabelledSample(
            {**meta, "entry": entry.id, "start": clip.start},
            {
                "patches": np.stack([patch.cut(crops[i]) for patch, i in zip(patches, frames, strict=True)]),
                "faces": found.faces[frames].astype(np.float32),
                "centres": np.stack([patch.centre for patch in patches]).astype(np.float32),
                "angles": found.heads.angles[frames, :2].astype(np.float32),
                "units": found.units[frames].astype(np.float32),
                "gaps": found.gaps[frames].astype(np.float32),
            },
        )

    write_labelled(work, folder, config.samples_per_shard, made_by, clips, attrgetter("key"), label)
    print(f"mouth_painter.label: {len(clips)} clips -> {folder}", file=sys.stderr)


def _faces(entry: PreparedClip, labels: MouthLabelsConfig) -> _Faces:
    track = entry.track()
    heads = Heads.of(track.landmarks)
    axes = [FaceAxes.of(heads.points(i), float(heads.pose.scale[i])) for i in range(len(heads))]
    faces = np.stack([one.to_face(heads.points(i)[:, :2]) for i, one in enumerate(axes)])
    units = heads.pose.scale * (track.boxes[:, 2] - track.boxes[:, 0]) / int(entry.meta["crop_size"])
    upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
    gaps = (faces[:, lower, 1] - faces[:, upper, 1]).mean(axis=1)
    chosen = (gaps >= labels.least_gap) & (units >= labels.least_unit)
    chosen[np.flatnonzero(chosen)[np.arange(chosen.sum()) % labels.every != 0]] = False
    return _Faces(heads, axes, faces, units, gaps, chosen)


if __name__ == "__main__":
    sys.exit(main())
