"""What has to be known of a filmed face before something is drawn in front of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import FaceTrack
from common.face.canonical import cheek_points, face_points
from common.face.layout import OUTER_LIP
from common.face.pose import fit_pose, smooth_in_time
from common.rendered.overlay import FacePlace
from common.rendered.overlay_look import FilmLook
from evaluation.clip_frames import frames_at

# A thing before the mouth keeps up with a nod, and its size with a zoom; neither trembles.
_PLACE_SECONDS, _SIZE_SECONDS = 0.1, 0.5
_EYES = slice(36, 48)
_PICTURES = 8
# Of the canonical face: a patch of cheek around each of its inner four points.
_PATCH = 0.05
# Whites of a well exposed picture, and how much lighter than skin its highlights are drawn: they must not be
# cut off at white, which would change their colour.
_WHITE, _HIGHLIGHT = 235.0, 1.1
_LEAST_EXPOSURE = 0.25


def face_places(track: FaceTrack, fps: float) -> list[FacePlace]:
    """Where the face is in each frame, from points that the mouth does not move.

    Frames without a face have the place between their neighbours'.

    Args:
        track: with a face in at least one frame.
    """
    middle, height = _mouth_of_the_canonical_face()
    mouths, heights = np.full((len(track), 2), np.nan), np.full(len(track), np.nan)
    for segment in track.segments():
        pose = fit_pose(track.landmarks[segment])
        mouths[segment] = smooth_in_time(pose.project(middle[None])[:, 0], _PLACE_SECONDS, fps)
        heights[segment] = smooth_in_time(pose.scale * height, _SIZE_SECONDS, fps)
    at, known = np.arange(len(track)), np.flatnonzero(track.present)
    x, y, size = (np.interp(at, known, values[known]) for values in (mouths[:, 0], mouths[:, 1], heights))
    return [FacePlace(np.array([x[i], y[i]]), float(size[i])) for i in at]


def _mouth_of_the_canonical_face() -> tuple[NDArray[np.float64], float]:
    """The mouth's middle (3,), and how far it lies below the line of the eyes."""
    face = face_points()
    middle = face[list(OUTER_LIP)].mean(axis=0)
    return middle, float(middle[1] - face[_EYES, 1].mean())


def film_look(path: Path, track: FaceTrack) -> FilmLook:
    """Skin of the cheeks (median over pixels of several frames) and exposure of a clip.

    Args:
        path: the clip.
        track: of it, with a face in at least one frame.
    """
    known = np.flatnonzero(track.present)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, _PICTURES).astype(int))]
    pose = fit_pose(track.landmarks[chosen])
    cheeks = pose.project(cheek_points()[1:-1])
    skins, whites = [], []
    for place, image in enumerate(frames_at(path, chosen)):
        reach = max(1, round(_PATCH * float(pose.scale[place])))
        limit = np.array([image.shape[1], image.shape[0]]) - 1
        for x, y in np.clip(np.rint(cheeks[place]), 0, limit).astype(int):
            part = image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            skins.append(part.reshape(-1, 3))
        whites.append(np.percentile(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 95))
    red, green, blue = np.median(np.concatenate(skins), axis=0).tolist()
    exposure = max(float(np.median(whites)) / _WHITE, _HIGHLIGHT * max(red, green, blue) / 255)
    return FilmLook((red, green, blue), min(max(exposure, _LEAST_EXPOSURE), 1.0))
