"""Where the lips and the jaw of a frame shall be: a moment's mouth, bent to the wanted shape.

All in the face's axes (:class:`common.own_mouths.frame.FaceAxes`), so in eye-corner distances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.face.layout import CHIN, INNER_LIP_PAIRS, JAW, MOUTH
from common.face.mouth import LIP_GAPS, LIP_SHAPE, LIP_SHAPE_UNIT

Array = NDArray[np.float64]

CORNERS = (48, 54, 60, 64)
UPPER_LIP = (49, 50, 51, 52, 53, 61, 62, 63)
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)

# How far a shape may be bent, in eye-corner distances: beyond it skin is drawn thin.
_WIDTH_REACH, _LIP_REACH, _CHIN_REACH = 0.10, 0.10, 0.10
_UPPER_REACH = 0.05
# What lies between the lips can be drawn out to this many times what the moment shows and this much more.
_FILMED_GAIN, _FILMED_MORE = 1.6, 0.02
# Cosine of the yaw from which on a face is frontal, and at which it is a profile: there the far half of the
# mouth and the outline of the jaw are guessed by every detector, and are left as they are filmed.
_FRONTAL, _PROFILE = 0.92, 0.75
_PROFILE_CHANGE = 0.0
# The jaw moves mostly down; by at most this much.
_JAW_ASIDE, _JAW_REACH = 0.3, 0.2
# The widest gap that a bend makes.
_WIDEST = 0.35
# The middle of the inner lips goes up and down by this share of what that of the outer ones does, and the
# corners by this share of the inner ones: medians of slopes of 105 clips of training film.
_INNER_OF_OUTER, _CORNERS_OF_INNER = 0.9, 0.55
# What is predicted of the outer lips beyond what goes with the gap explains a fifth of what they do: so much
# of it is wanted.
_PREDICTED = 0.5
# The chin's movement fades out along the jaw line with this spread.
_JAW_SPREAD = 0.42
_BUMP = 0.7
# Lips that shall be closed are pressed together, the lower one over the upper one: by this much where no gap
# is wanted, by nothing from a gap on. Edges of lips are known to no better than that, and too little leaves a
# line of teeth or dark between them, which looks and measures open. More draws other parts of them out.
_PRESSED_BELOW, _PRESS = 0.03, 0.03

_WIDTH, _CHIN_DOWN, _UPPER_DOWN, _LOWER_DOWN = (
    LIP_SHAPE.index(name) for name in ("width", "chin", "upper_lip", "lower_lip")
)
_OUTER = [_UPPER_DOWN, _LOWER_DOWN]

WITH_GAP = np.array([0.14, 0.33, -0.15, 0.76])
"""What goes with a mean gap that is wider by one: the values of a lip shape after its gaps, medians of 95
speakers of training film."""


def mean_gap(shape: Array) -> float:
    """Mean gap of a lip shape (7,), eye-corner distances."""
    return float(shape[:LIP_GAPS].mean()) * LIP_SHAPE_UNIT


def filmed_gap(gap: float) -> float:
    """How far a mouth that shows this inner-lip gap can be opened before its inside must be drawn."""
    return _FILMED_GAIN * gap + _FILMED_MORE


def change_to_predicted(change: Array) -> Array:
    """A change (7,) to a predicted lip shape with outer lips that are wanted as film has them.

    What a predictor says of the upper and the lower outer lip, beyond what goes with the gap, is halved:
    otherwise lips that close are drawn up or down from where the moment shows them closed.
    """
    result = change.copy()
    with_gap = change[:LIP_GAPS].mean() * WITH_GAP[np.array(_OUTER) - LIP_GAPS]
    result[_OUTER] = with_gap + _PREDICTED * (change[_OUTER] - with_gap)
    return result


def bent_lips(mouth: Array, change: Array) -> Array:
    """The 68 points with their lips moved.

    The gap of each vertical pair of the inner lip grows by the change of the mean gap times a bump that is 1
    in the middle and 0 at the corners, (1 - x^2)^0.7, and shrinks in proportion. Closed lips are pressed
    together. The middle between the lips goes up and down by 0.9 of what the middle of the outer lips shall
    do, and the corners by 0.55 of that; the corners move apart by half of the width's change each.

    Args:
        mouth: (68, 2) face with the moment's lips.
        change: (7,) wanted less shown lip shape, in units of :data:`common.face.mouth.LIP_SHAPE_UNIT`.

    Returns:
        (68, 2); all but :data:`common.face.layout.MOUTH` as in ``mouth``.
    """
    change = change * LIP_SHAPE_UNIT
    upper, lower = (list(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
    centre = mouth[[48, 54], 0].mean()
    half = max(0.5 * abs(mouth[54, 0] - mouth[48, 0]), 1e-3)
    across = np.clip((mouth[:, 0] - centre) / half, -1, 1)

    gaps = np.maximum(mouth[lower, 1] - mouth[upper, 1], 0)
    gap = float(gaps.mean())
    wanted = float(np.clip(gap + change[:LIP_GAPS].mean(), 0, max(_WIDEST, gap)))
    bump = (1 - across[upper] ** 2).clip(0, 1) ** _BUMP
    if wanted <= gap:
        new = gaps * (wanted / max(gap, 1e-6))
    else:
        new = gaps + (wanted - gap) * bump / max(bump.mean(), 1e-3)
    new = new - _PRESS * max(0.0, 1 - wanted / _PRESSED_BELOW) * bump
    grown = new - gaps
    up = float(np.clip(change[_UPPER_DOWN], -_UPPER_REACH, _UPPER_REACH))
    low = float(np.clip(change[_LOWER_DOWN], -_LIP_REACH, _LIP_REACH))
    # A change of the gap moves it, too; what the outer lips shall do has that in it already.
    middle = _INNER_OF_OUTER * 0.5 * (up + low)
    aside = _CORNERS_OF_INNER * middle
    together = aside + (middle - aside) * bump
    moves_up, moves_low = together - 0.5 * grown, together + 0.5 * grown

    result = mouth.copy()
    corners = [centre - half, centre + half]
    order = np.argsort(mouth[upper, 0])
    knots = np.concatenate([corners[:1], mouth[upper, 0][order], corners[1:]])
    for part, moves in ((UPPER_LIP, moves_up), (LOWER_LIP, moves_low)):
        ids = list(part)
        result[ids, 1] += np.interp(mouth[ids, 0], knots, np.concatenate([[aside], moves[order], [aside]]))
    result[list(CORNERS), 1] += aside
    lips = list(MOUTH)
    wider = float(np.clip(change[_WIDTH], -_WIDTH_REACH, _WIDTH_REACH))
    result[lips, 0] += 0.5 * wider * across[lips]
    return result


def frontality(yaw: Array) -> Array:
    """1 for faces that look at the camera, 0 for profiles; ``yaw`` in radians, any shape."""
    return np.clip((np.cos(yaw) - _PROFILE) / (_FRONTAL - _PROFILE), 0, 1)


def goal_face(own: Array, turned: Array, change: Array | None, frontal: float = 1.0) -> Array:
    """The frame's face with the moment's lips and jaw, bent by ``change``.

    Args:
        own: (68, 2) the frame's own face.
        turned: (68, 2) the moment's face, held as the frame's head is.
        change: (7,) wanted less shown lip shape; None: as filmed.
        frontal: of the frame, :func:`frontality`: the less, the less is bent and moved.

    Returns:
        (68, 2): lips of the moment; a jaw that goes from the frame's own at its ends to the moment's at the
        chin, with weights exp(-((x - x_chin) / 0.42)^2).
    """
    goal = own.copy()
    lips, jaw = list(MOUTH), list(JAW)
    if change is not None:
        change = change * (_PROFILE_CHANGE + (1 - _PROFILE_CHANGE) * frontal)
        change[_WIDTH] *= frontal
    moved = turned if change is None else bent_lips(turned, change)
    goal[lips] = moved[lips]
    chin = 0.0 if change is None else change[_CHIN_DOWN] * LIP_SHAPE_UNIT
    weight = np.exp(-(((own[jaw, 0] - own[CHIN, 0]) / _JAW_SPREAD) ** 2))[:, None]
    down = np.array([0.0, float(np.clip(chin, -_CHIN_REACH, _CHIN_REACH))])
    moves = (turned[jaw] - own[jaw] + down) * [_JAW_ASIDE, 1.0]
    goal[jaw] = own[jaw] + frontal * weight * moves.clip(-_JAW_REACH, _JAW_REACH)
    return goal
