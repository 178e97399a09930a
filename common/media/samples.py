"""Edits carried over into the source's own samples, so that what no edit touches stays as it was coded.

A trip through 8-bit RGB costs what lies beyond black and white, more than 8 bits, full-resolution colour and
transparency. Here a frame keeps its samples, in planes, and an edit, made in 8-bit RGB, adds its difference
to them: where that RGB picture did not change, not one sample does.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from common.media.colour import TO_RGB, ColourTags, matrix_of
from common.media.formats import carried_format, is_grey
from common.media.orientation import Orientation
from common.media.planes import assembled, planes_of

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


def carried(picture: VideoFrame, orientation: Orientation) -> VideoFrame | None:
    """A decoded picture, upright, in its :func:`common.media.formats.carried_format`; None without one."""
    name = picture.format.name
    wanted, planar = carried_format(name, not orientation.transpose), carried_format(name, True)
    if wanted is None or planar is None:
        return None
    if planar != name.replace("yuvj", "yuv"):
        # With one range on both sides samples are put in another order, and stay what they are: libswscale
        # takes all grey for full range.
        one = ColorRange.JPEG
        picture = VideoReformatter().reformat(
            picture, format=planar, src_color_range=one, dst_color_range=one, threads=1
        )
    if picture.format.name == wanted and orientation == Orientation():
        return picture
    return assembled(wanted, [orientation.apply(plane) for plane in planes_of(picture)])


def chroma_is_placed(picture: VideoFrame) -> bool:
    """Whether a decoded picture says that its chroma samples do not lie in the middle of their pixels.

    PyAV does not show that property. It changes how the picture becomes RGB, and a copy of the samples does
    not have it.
    """
    name = picture.format.name
    halved = not picture.format.is_rgb and carried_format(name, True) == name.replace("yuvj", "yuv")
    if not halved or is_grey(name) or "444" in name:
        return False
    copy = assembled(name, planes_of(picture))
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
        picture: upright, of a format in which samples are carried; it stays as it is.
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
    if picture.format.is_rgb:
        steps = _of_rgb(depth)
    else:
        matrix = matrix_of(tags.matrix, before.shape[1], before.shape[0])
        steps = _from_rgb(matrix, bool(tags.full_range) or is_grey(picture.format.name), depth)
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


def _of_rgb(depth: int) -> NDArray[np.float32]:
    """(3, 3): what a step of 8-bit red, green, blue adds to planes of green, blue and red."""
    return np.eye(3, dtype=np.float32)[[1, 2, 0]] * np.float32(((1 << depth) - 1) / 255)


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
