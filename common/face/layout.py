"""The 68-point iBUG layout: which index is what.

Left and right are those of the image. Points: 0-16 jaw line from the left temple over the chin (8) to the
right temple, 17-26 brows, 27-30 nose bridge, 31-35 nostrils, 36-41 left eye, 42-47 right eye, 48-59 outer
lip, 60-67 inner lip.
"""

from __future__ import annotations

NUM_POINTS = 68

MOUTH = tuple(range(48, 68))
OUTER_LIP = tuple(range(48, 60))
CHIN = 8
# The jaw line less the temples: these move when the mouth opens.
JAW = tuple(range(2, 15))
# Eye corners, nose bridge and temples do not move with the mouth: whatever must say nothing about the lips
# (pose, crops, the mask of the lower face) is computed from these alone.
RIGID_UPPER = (0, 1, 15, 16, 27, 28, 29, 30, 36, 39, 42, 45)
OUTER_EYE_CORNERS = (36, 45)
# Vertical partners of the inner lip.
INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
# Which point each point is in the mirrored picture.
MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
)
# The five points that ArcFace aligns by: mean of each eye, nose tip, mouth corners.
ARCFACE_POINTS = (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,))
