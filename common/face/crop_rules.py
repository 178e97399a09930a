"""The squares of a clip by the rule that a model's package names."""

from __future__ import annotations

from common.face.crops import CropTrack, frame_crops, plan_crops
from common.face.release_crops import TBDUB_SQUARES, release_crop_track
from common.face.track import FaceTrack
from common.models.conventions import CropRule


def crops_by_rule(
    rule: CropRule, track: FaceTrack, size: tuple[int, int], scale: float, fps: float
) -> CropTrack:
    """The squares that a model sees.

    Args:
        rule: of its package.
        track: face of the clip.
        size: width and height of the picture, pixels.
        scale, fps: of squares that follow the head, as :func:`common.face.crops.plan_crops` takes them.
    """
    if rule is CropRule.release:
        return release_crop_track(track, *size)
    if rule is CropRule.tbdub:
        return release_crop_track(track, *size, TBDUB_SQUARES)
    if rule is CropRule.frame:
        return frame_crops(track, *size)
    return plan_crops(track, scale=scale, fps=fps)
