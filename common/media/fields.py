"""Interlaced pictures: which field is shown first, found in a source and told to encoders."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

TOP_FIRST, BOTTOM_FIRST = 2, 3
"""FFmpeg's numbers of field orders; 4 and 5 are for fields that are shown in the other order than stored."""
_SETTINGS = {TOP_FIRST: "tff", BOTTOM_FIRST: "bff"}


def field_order(context: VideoCodecContext, first: VideoFrame) -> int:
    """0 for whole pictures, else which field is shown first.

    Args:
        context: of the decoder that gave ``first``.
        first: picture of the stream.
    """
    said = context.field_order
    if said in (TOP_FIRST, 5):
        return TOP_FIRST
    if said in (BOTTOM_FIRST, 4):
        return BOTTOM_FIRST
    if not first.interlaced_frame:
        return 0
    # Nothing says which: DV has always begun with the lower field, all else here is made upper first.
    return BOTTOM_FIRST if context.name == "dvvideo" else TOP_FIRST


class FieldMarker:
    """Marks pictures as interlaced, which encoders want to be told of every one.

    Args:
        width, height: pixels.
        pix_fmt: FFmpeg's name of the pictures' format.
        order: :data:`TOP_FIRST` or :data:`BOTTOM_FIRST`.
    """

    def __init__(self, width: int, height: int, pix_fmt: str, order: int) -> None:
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=width, height=height, format=VideoFormat(pix_fmt, width, height), time_base=Fraction(1, 25)
        )
        mark = self._graph.add("setfield", _SETTINGS[order])
        self._graph.link_nodes(source, mark, self._graph.add("buffersink")).configure()

    def __call__(self, picture: VideoFrame) -> VideoFrame:
        """The same samples, marked; without a time stamp."""
        picture.pts = None
        self._graph.vpush(picture)
        return self._graph.vpull()
