"""The verdict on one companion: every score, its threshold, and whether it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.prepared import PreparedClip
from common.data.summary import spread
from common.errors import UserError
from common.face.config import FaceConfig
from common.face.identity import IdentityEncoder
from common.files import fingerprint, write_json
from common.media import read_frames
from stage1_generator.companions.masks import ClipMasks, clip_masks
from stage1_generator.companions.plan import PairPlan
from stage1_generator.companions.records import BLENDED, load_meta, made_by
from stage1_generator.companions.scores import (
    identity_cosine,
    lip_change,
    lip_landmark_distance,
    region_psnr,
    sharpness_ratio,
)
from stage1_generator.config import FilterConfig, Stage1Config
from stage1_generator.footage.detection import DetectorPool

_VERSION = 1


class Lips(Enum):
    """What the lips of a companion shall be, compared with the clip's."""

    different = "different"
    same = "same"


def identity_encoder(limits: FilterConfig) -> tuple[IdentityEncoder | None, str]:
    """The identity model, or why there is none."""
    try:
        return IdentityEncoder(root=limits.identity_root), ""
    except UserError as error:
        return None, str(error)


class CompanionScorer:
    """Scores companions against thresholds; calls may run at once.

    Args:
        limits: the thresholds.
        face: the detector that looks at companions.
        lips: what their lips shall be.
    """

    def __init__(self, limits: FilterConfig, face: FaceConfig, lips: Lips) -> None:
        self._limits, self._lips = limits, lips
        self.identity, self.why_no_identity = identity_encoder(limits)
        self._detectors = DetectorPool(face)

    def scores(
        self,
        original: NDArray[np.uint8],
        companion: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        masks: ClipMasks,
        detects: bool,
    ) -> dict[str, dict[str, Any]]:
        """Each score with its verdict.

        Args:
            original, companion: (N, S, S, 3).
            landmarks: (N, 68, 3) of the original.
            masks: of the original.
            detects: whether a detector can look at the companion.
        """
        limits = self._limits
        scores = {
            "sharpness": _between(
                sharpness_ratio(original, companion, masks.inpaint),
                limits.sharpness_min,
                limits.sharpness_max,
            ),
            "identity": self._identity_score(original, companion, landmarks),
        }
        if self._lips is Lips.same:
            scores["lips_psnr"] = _score(region_psnr(original, companion, masks.lips), True, "")
        if not detects:
            scores["lip_distance"] = _not_measured("the face came from a track file, no detector is used")
            if self._lips is Lips.different:
                scores["lip_change"] = self._lip_change(original, companion, masks)
        else:
            scores["lip_distance"] = self._lip_distance(landmarks, companion)
        return scores

    def _lip_distance(self, landmarks: Any, companion: Any) -> dict[str, Any]:
        limits = self._limits
        distance = lip_landmark_distance(landmarks, companion, self._detectors.get())
        if distance is None:
            return _score(None, False, "cannot be measured: no face is found in the companion")
        if self._lips is Lips.same:
            return _between(distance, 0.0, limits.rebuilt_lip_distance_max)
        return _between(distance, limits.lip_distance_min)

    def _lip_change(self, original: Any, companion: Any, masks: ClipMasks) -> dict[str, Any]:
        visible = masks.lips & ~masks.occluder
        return _between(lip_change(original, companion, visible), self._limits.lip_change_min)

    def _identity_score(self, original: Any, companion: Any, landmarks: Any) -> dict[str, Any]:
        if self.identity is None:
            return _not_measured(self.why_no_identity)
        frames = spread(len(original), self._limits.frames_per_clip)
        cosine = identity_cosine(original[frames], companion[frames], landmarks[frames], self.identity)
        return _between(cosine, self._limits.identity_min)


def reasons(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why a companion is rejected; empty where it is kept."""
    return [f"{name} {score['why']}" for name, score in scores.items() if score["passed"] is False]


class QualityFilter:
    """Scores companions against the thresholds of ``filters``; calls may run at once.

    Args:
        lips: what they shall be.
        command: the one that makes the companions.
    """

    def __init__(self, config: Stage1Config, lips: Lips, command: str) -> None:
        self._config, self._lips, self._command = config, lips, command
        self._scorer = CompanionScorer(config.filters, config.face, lips)
        self.why_no_identity = self._scorer.why_no_identity

    def check(
        self, plan: PairPlan, entry: PreparedClip, folder: Path, verdict_path: Path
    ) -> tuple[bool, bool]:
        """Score the companion in ``folder`` and write the verdict.

        Returns:
            Whether it is kept, and whether it was scored now: a verdict of the same settings stays.
        """
        made = load_meta(folder / "meta.json", self._command)
        mark = self._mark(made)
        if made_by(verdict_path) == mark:
            return bool(load_meta(verdict_path, self._command)["accepted"]), False
        scores: dict[str, dict[str, Any]] = {}
        if "failed" in made:
            why = [str(made["failed"])]
        else:
            scores = self._score(plan, entry, folder / BLENDED)
            why = reasons(scores)
        verdict = {
            "key": plan.key,
            "fingerprint": mark,
            "accepted": not why,
            "reasons": why,
            "scores": scores,
        }
        write_json(verdict_path, verdict)
        return not why, True

    def _mark(self, made: dict[str, Any]) -> str:
        limits = asdict(self._config.filters)
        most = limits.pop("rebuilt_lip_distance_max")
        settings = [_VERSION, made["fingerprint"], limits, self._config.face]
        settings.append(self._scorer.identity is not None)
        # Verdicts on generated companions keep the mark that they had before there were others.
        return fingerprint(settings if self._lips is Lips.different else [*settings, most])

    def _score(self, plan: PairPlan, entry: PreparedClip, companion_path: Path) -> dict[str, dict[str, Any]]:
        original = entry.crops(plan.start, plan.length)
        track = entry.track(plan.start, plan.length)
        masks = clip_masks(
            track.landmarks, original.shape[1], track.occluder, self._config.masks.occluder_grow
        )
        detects = entry.meta["detector"] != "box"
        companion = read_frames(companion_path)
        return self._scorer.scores(original, companion, track.landmarks, masks, detects)


def _score(value: float | None, passed: bool | None, why: str) -> dict[str, Any]:
    return {"value": value, "passed": passed, "why": why}


def _not_measured(reason: str) -> dict[str, Any]:
    return _score(None, None, f"not measured: {reason}")


def _between(value: float, least: float, most: float | None = None) -> dict[str, Any]:
    if not value >= least:  # NaN fails, too
        return _score(value, False, f"is {value:.3f}, below {least}")
    if most is not None and value > most:
        return _score(value, False, f"is {value:.3f}, above {most}")
    return _score(value, True, "")
