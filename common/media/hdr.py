"""What HDR pictures say beside their colours: the display they were graded on, and their brightness.

It lies in the coded stream (H.264, HEVC, AV1), where an encoder has to be told to write it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.video.frame import VideoFrame

_MASTERING, _LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_DYNAMIC = ("DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID", "DOVI_RPU_BUFFER", "DOVI_METADATA")
_RATIONALS = 10  # red, green and blue, white: x and y each; least and greatest luminance
_COLOUR_STEPS, _LIGHT_STEPS = 50_000, 10_000  # per unit and per cd/m2, of H.264 and HEVC
CARRIES_HDR = ("libx264", "libx265", "libsvtav1")
"""FFmpeg's names of the encoders that write it."""


@dataclass(frozen=True)
class HdrMetadata:
    """Static HDR metadata (SMPTE ST 2086, CTA-861.3) of a stream's first picture.

    Attributes:
        mastering: chromaticities x, y of red, green, blue and white, then least and greatest luminance of the
            display, cd/m2; None where the picture does not say them all.
        light: greatest luminance of a pixel and of a picture's mean, cd/m2; None where it does not say.
        dynamic: whether there is metadata for each picture, too (HDR10+, Dolby Vision), which is not carried.
    """

    mastering: tuple[Fraction, ...] | None = None
    light: tuple[int, int] | None = None
    dynamic: bool = False

    @classmethod
    def of(cls, picture: VideoFrame) -> HdrMetadata | None:
        """Of a decoded picture; None where it says nothing of the kind."""
        mastering = None
        data: Any = picture.side_data.get(_MASTERING)
        if data is not None:
            *parts, colours, luminances = struct.unpack(f"={2 * _RATIONALS + 2}i", bytes(data)[:88])
            pairs = list(zip(parts[::2], parts[1::2], strict=True))
            if colours and luminances and all(below > 0 for _, below in pairs):
                mastering = tuple(Fraction(above, below) for above, below in pairs)
        data = picture.side_data.get(_LIGHT)
        light = None if data is None else struct.unpack("=2I", bytes(data)[:8])
        dynamic = any(picture.side_data.get(name) is not None for name in _DYNAMIC)
        found = cls(mastering, light, dynamic)
        return None if found == cls() else found

    def options(self, encoder: str) -> dict[str, str]:
        """Words for one of :data:`CARRIES_HDR`: option -> value, to be joined to others with colons."""
        words = []
        if encoder == "libsvtav1":
            if self.mastering is not None:
                words.append(f"mastering-display={self._display(lambda x, _: f'{float(x):.6g}')}")
            if self.light is not None:
                words.append("content-light={},{}".format(*self.light))
            return {"svtav1-params": ":".join(words)} if words else {}
        names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}
        if encoder not in names:
            return {}
        if self.mastering is not None:
            words.append(f"{names[encoder][0]}={self._display(lambda x, steps: str(round(x * steps)))}")
        if self.light is not None:
            words.append("{}={},{}".format(names[encoder][1], *self.light))
        return {f"{encoder.removeprefix('lib')}-params": ":".join(words)} if words else {}

    def _display(self, written: Any) -> str:
        assert self.mastering is not None
        red, green, blue, white = (self.mastering[i : i + 2] for i in (0, 2, 4, 6))
        least, greatest = self.mastering[8:]
        places = (("G", green), ("B", blue), ("R", red), ("WP", white))
        colours = "".join(
            f"{name}({written(x, _COLOUR_STEPS)},{written(y, _COLOUR_STEPS)})" for name, (x, y) in places
        )
        return f"{colours}L({written(greatest, _LIGHT_STEPS)},{written(least, _LIGHT_STEPS)})"
