"""The facts of a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from common.media.colour import ColourTags
from common.media.hdr import HdrMetadata


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video's first video stream.

    Attributes:
        path: as given (or ``"<memory>"``).
        width, height: pixels of the upright picture (rotation applied).
        frame_count: frames that will be shown, counted.
        time_base: seconds per tick of ``Frame.pts``.
        average_rate: frames per second; constant-rate files give exactly their rate.
        duration: seconds from the first frame's start to the last one's end.
        has_audio: whether there is an audio stream.
        rotation: degrees clockwise by which the stored picture is turned: 0, 90, 180 or 270.
        start: seconds of the first frame on the file's clock.
        clock_start: ticks at which the file's clock begins, that of its earliest stream: live recordings
            count from the time of day, or for how long the sender has run.
        pixel_aspect: width of a pixel over its height, upright.
        colour: tags of the stream.
        pix_fmt: FFmpeg's name of the decoded pictures' format.
        chroma_left: whether chroma samples are said to lie at the left edge of their pixels, as in H.264, and
            not in their middle.
        codec: FFmpeg's name of the stream's codec.
        profile: of the codec, as FFmpeg calls it.
        field_order: 0 for whole pictures, else which field is the first (:mod:`common.media.fields`).
        hdr: what HDR pictures say of their mastering; None for others.
        grain: the most of four pictures (:mod:`common.media.grain`).
    """

    path: str
    width: int
    height: int
    frame_count: int
    time_base: Fraction
    average_rate: Fraction
    duration: float
    has_audio: bool
    rotation: int
    start: float = 0.0
    pixel_aspect: Fraction = Fraction(1)
    colour: ColourTags = field(default_factory=ColourTags)
    clock_start: int = 0
    pix_fmt: str = ""
    chroma_left: bool = False
    codec: str = ""
    profile: str | None = None
    field_order: int = 0
    hdr: HdrMetadata | None = None
    grain: float = 0.0

    @property
    def interlaced(self) -> bool:
        """Whether a picture holds two moments in its odd and even lines."""
        return self.field_order != 0
