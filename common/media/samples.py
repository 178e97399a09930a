"""Edits carried over into the source's own samples, so that what no edit touches stays as it was coded.

A trip through 8-bit RGB costs what lies beyond black and white, more than 8 bits, full-resolution colour and
transparency. Here a frame keeps its planes, and an edit, made in RGB, adds its difference to them: where the
RGB picture did not change, not one sample does.
"""

from __future__ import annotations

import re
from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from common.media.colour import TO_RGB, ColourTags, matrix_of
from common.media.orientation import Orientation
from common.media.planes import assembled, planes_of

_PLANAR = re.compile(r"yuva?(420|422|444|440|411)p(9|10|12|14|16)?(le)?")
# Semi-planar formats of hardware decoders; the samples are the same, their order is not.
_SAME = {"nv12": "yuv420p", "nv16": "yuv422p", "p010le": "yuv420p10le", "p210le": "yuv422p10le"}
_BLOCK = 4
"""Pixels per chroma sample, at most, in either direction."""
_BAND = 64
"""Rows that are changed at once, whole blocks: what they need stays in the cache."""
_EXACT = int(
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INP
)


def carried_format(name: str, upright: bool) -> str | None:
    """The planar YUV format in which pictures of the format ``name`` are carried.

    Args:
        name: FFmpeg's name of the decoded format.
        upright: whether the stored picture need not be turned by 90 degrees.

    Returns:
        None for RGB, palettes and what cannot be turned (colour that is halved in one direction only).
    """
    name = _SAME.get(name, name).replace("yuvj", "yuv")
    if not _PLANAR.fullmatch(name):
        return None
    square = any(kind in name for kind in ("420", "444"))
    return name if upright or square else None


def carried(picture: VideoFrame, orientation: Orientation) -> VideoFrame | None:
    """A decoded picture, upright, in its :func:`carried_format`; None where it has none."""
    wanted = carried_format(picture.format.name, not orientation.transpose)
    if wanted is None:
        return None
    if picture.format.name in _SAME:
        planar = VideoReformatter().reformat(picture, format=wanted)
    elif picture.format.name == wanted and orientation == Orientation():
        return picture
    else:
        planar = picture
    return assembled(wanted, [orientation.apply(plane) for plane in planes_of(planar)])


def chroma_is_placed(picture: VideoFrame) -> bool:
    """Whether a decoded picture says that its chroma samples do not lie in the middle of their pixels.

    PyAV does not show that property. It changes how the picture becomes RGB, and a copy of the samples does
    not have it.
    """
    if picture.format.is_rgb or not _PLANAR.fullmatch(picture.format.name) or "444" in picture.format.name:
        return False
    copy = assembled(picture.format.name, planes_of(picture))
    copy.colorspace, copy.color_range = picture.colorspace, picture.color_range
    said, unsaid = (
        VideoReformatter().reformat(item, format="rgb24", interpolation=TO_RGB).to_ndarray()
        for item in (picture, copy)
    )
    return not np.array_equal(said, unsaid)


def with_change(
    picture: VideoFrame, before: NDArray[np.uint8], after: NDArray[np.uint8], tags: ColourTags
) -> VideoFrame:
    """``picture`` with the difference of two RGB pictures added to it.

    Args:
        picture: upright, of a planar YUV format; it stays as it is.
        before, after: (H, W, 3) uint8, what the picture looks like and what it is to look like.
        tags: matrix and range of the picture.

    Returns:
        The picture itself where nothing changed; its transparency is kept.
    """
    changed_rows = (_words(before) != _words(after)).any(axis=1)
    if not changed_rows.any():
        return picture
    rows = _span(changed_rows)
    columns = _span(np.bitwise_or.reduce(before[rows] ^ after[rows], axis=0).any(axis=-1))
    depth = picture.format.components[0].bits
    kind, most = (cv2.CV_8U if depth == 8 else cv2.CV_16U), (1 << depth) - 1
    matrix = matrix_of(tags.matrix, before.shape[1], before.shape[0])
    steps = _from_rgb(matrix, bool(tags.full_range), depth)
    result = assembled(picture.format.name, planes_of(picture, copy=False))
    planes = planes_of(result, copy=False)
    for band in (slice(y, min(y + _BAND, rows.stop)) for y in range(rows.start, rows.stop, _BAND)):
        change = cv2.subtract(after[band, columns], before[band, columns], dtype=cv2.CV_32F)
        # Transparency, a fourth plane, stays as it is.
        for plane, weights in zip(planes, steps, strict=False):
            down, across = (round(before.shape[axis] / plane.shape[axis]) for axis in (0, 1))
            part = plane[
                band.start // down : -(-band.stop // down),
                columns.start // across : -(-columns.stop // across),
            ]
            added = _averaged(cv2.transform(change, weights[None]), down, across, part.shape)
            part[...] = np.minimum(cv2.add(part, added, dtype=kind), most)
    return result


def _words(image: NDArray[np.uint8]) -> NDArray:
    """The rows of a picture in steps of eight bytes, which are compared in an eighth of the time."""
    rows = np.ascontiguousarray(image).reshape(len(image), -1)
    return rows.view(np.uint64) if rows.shape[1] % 8 == 0 else rows


def _span(changed: NDArray[np.bool_]) -> slice:
    """The changed stretch of an axis, grown to whole chroma samples."""
    first, last = np.flatnonzero(changed)[[0, -1]]
    return slice(int(first) // _BLOCK * _BLOCK, min(-(-int(last + 1) // _BLOCK) * _BLOCK, len(changed)))


def _averaged(change: NDArray, down: int, across: int, shape: tuple[int, ...]) -> NDArray:
    """Means over blocks; a last block that is cut by the picture's edge repeats its last pixel."""
    if down == across == 1:
        return change
    height, width = shape[0] * down, shape[1] * across
    if (height, width) != change.shape:
        below, beside = height - change.shape[0], width - change.shape[1]
        change = cv2.copyMakeBorder(change, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    return cv2.resize(change, shape[::-1], interpolation=cv2.INTER_AREA)


@lru_cache
def _from_rgb(matrix: int, full_range: bool, depth: int) -> NDArray[np.float32]:
    """(3, 3): what a step of 8-bit red, green, blue adds to luma and both colours of ``depth`` bits.

    Measured, so that libswscale's matrices are the only ones.
    """
    colours = np.zeros((4, 16, 16, 3), np.uint8)
    colours[1:] = 255 * np.eye(3, dtype=np.uint8)[:, None, None]
    convert = VideoReformatter()
    made = []
    for colour in colours:
        fine = convert.reformat(
            VideoFrame.from_ndarray(colour, format="rgb24"),
            format="yuv444p16le",
            dst_colorspace=matrix,
            dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            interpolation=_EXACT,
            threads=1,
        )
        made.append([plane[0, 0] for plane in planes_of(fine)])
    black, *others = np.array(made, np.float32)
    # White is the last code of a full range, and of all depths at the same share of a limited one.
    scale = ((1 << depth) - 1) / 0xFFFF if full_range else (1 << depth) / (1 << 16)
    return np.stack([colour - black for colour in others], axis=1) / 255 * np.float32(scale)
