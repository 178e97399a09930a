"""Every measure of an evaluation, in the order of the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from evaluation.metrics.base import Measure, Metric, PooledMeasure
from evaluation.metrics.bilabials import Bilabials
from evaluation.metrics.colour import Colour
from evaluation.metrics.cycle import Cycle
from evaluation.metrics.flicker import Flicker
from evaluation.metrics.leak import LipLeak, lsd_metrics
from evaluation.metrics.lip_sync import LipSync
from evaluation.metrics.lmd import LandmarkDistance
from evaluation.metrics.mar import MouthAspectRatio
from evaluation.metrics.mouth_curve import MouthCurve
from evaluation.metrics.mouth_steadiness import MouthSteadiness
from evaluation.metrics.patch import PatchEdge
from evaluation.metrics.perception import PUBLISHED_NAMES, PerceptionWeights
from evaluation.metrics.perception import load_measures as load_perception
from evaluation.metrics.pooled_gain import PooledGain
from evaluation.metrics.pooled_lag import PooledLag
from evaluation.metrics.presence import Presence
from evaluation.metrics.quality import Quality
from evaluation.metrics.seams import SeamJump
from evaluation.metrics.sharpness import Sharpness
from evaluation.metrics.silence import Silence
from evaluation.metrics.straight_seams import StraightSeams
from evaluation.metrics.truth import Truth
from evaluation.networks.own_judge import OwnJudge
from evaluation.networks.syncnet import SyncNetJudge

SYNCNET = "syncnet_v2.model"


@dataclass(frozen=True)
class Measures:
    """What is measured.

    Attributes:
        clip: measures of single clips.
        pooled: measures of many clips at once.
        paired: columns that need two rows of one clip.
        facts: heading -> line: which judge networks are used, what is not measured and which file it needs.
    """

    clip: tuple[Measure, ...]
    pooled: tuple[PooledMeasure, ...] = ()
    paired: tuple[Metric, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every column."""
        taken = [metric for measure in self.clip for metric in measure.metrics]
        pooled = [metric for many in self.pooled for metric in many.metrics]
        return (*taken, *pooled, *self.paired)

    @property
    def fingerprints(self) -> list[str]:
        """Of every measure: they change with weights and versions."""
        return [one.fingerprint for one in self.clip] + [many.fingerprint for many in self.pooled]


def picture_measures() -> tuple[Measure, ...]:
    """Those that need no weights of anybody else."""
    return (
        MouthCurve(),
        Bilabials(),
        LandmarkDistance(),
        MouthAspectRatio(),
        LipLeak(),
        Silence(),
        Truth(),
        Cycle(),
        Sharpness(),
        Quality(),
        PatchEdge(),
        StraightSeams(),
        Colour(),
        Flicker(),
        MouthSteadiness(),
        SeamJump(),
        Presence(),
    )


def load_measures(weights: Path | None = None, judge: Path | None = None, device: str = "cpu") -> Measures:
    """Everything that can be measured here.

    Args:
        weights: folder with public weights under their published names; None: none are at hand.
        judge: sync expert that no loss used; None: the shipped one. SyncNet is used besides where
            ``weights`` holds it.

    Raises:
        UserError: a file is damaged or another network's, or the folder holds nothing known.
    """
    own = OwnJudge(judge, device=device)
    sync = [LipSync(own)]
    facts: dict[str, Any] = {"sync judge": own.name}
    known = _published(weights) if weights is not None else {}
    if SYNCNET in known:
        sync.insert(0, LipSync(SyncNetJudge(known.pop(SYNCNET), device)))
    else:
        facts["SyncNet"] = f"not measured: needs {SYNCNET}"
    taken: dict[str, Any] = known
    measures, pooled, more = load_perception(PerceptionWeights(**taken), device)
    paired = tuple(metric for one in sync for metric in lsd_metrics(one.metrics))
    many: tuple[PooledMeasure, ...] = (PooledLag(), PooledGain(), *pooled)
    return Measures((*sync, *picture_measures(), *measures), many, paired, {**facts, **more})


def _published(folder: Path) -> dict[str, Path]:
    """Fields of PerceptionWeights, and SyncNet, that a folder holds."""
    if not folder.is_dir():
        raise UserError(f"The folder '{folder}' of judge weights does not exist: check --weights.")
    wanted = {SYNCNET: SYNCNET, **PUBLISHED_NAMES}
    found = {key: folder / name for key, name in wanted.items() if (folder / name).exists()}
    if not found:
        raise UserError(
            f"The folder '{folder}' holds none of the judge weights ({', '.join(wanted.values())}): keep the "
            "names under which they are published."
        )
    return found
