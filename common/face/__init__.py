"""Faces: detection, tracking, crops, masks and measures of the mouth, all in the 68-point iBUG layout."""

from common.face.crops import CropTrack, plan_crops
from common.face.detectors import build_detector
from common.face.masks import face_mask, lip_mask, lower_face_mask, pool_mask_to_latents
from common.face.mouth import lip_distance, mouth_opening
from common.face.track import FaceTrack, require_face, track_face
from common.face.types import FaceDetector, FaceObservation

__all__ = [
    "CropTrack",
    "FaceDetector",
    "FaceObservation",
    "FaceTrack",
    "build_detector",
    "face_mask",
    "lip_distance",
    "lip_mask",
    "lower_face_mask",
    "mouth_opening",
    "plan_crops",
    "pool_mask_to_latents",
    "require_face",
    "track_face",
]
