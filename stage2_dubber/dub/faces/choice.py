"""What ``--face`` says; read before any library that finds faces is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

AUTO, LARGEST = "auto", "largest"


@dataclass(frozen=True)
class FaceChoice:
    """What ``--face`` says.

    Attributes:
        way: "auto" (who speaks), "largest", "person", "point" or "file".
        person: the number, for "person".
        point: x, y in pixels, for "point".
        file: of :mod:`common.face.faces_file`, for "file".
    """

    way: str = AUTO
    person: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> FaceChoice:
        """``auto``, ``largest``, a number, ``x,y``, or the name of a .json file.

        Raises:
            UserError: something else.
        """
        if text in (AUTO, LARGEST):
            return cls(text)
        if text.lower().endswith(".json"):
            return cls("file", file=Path(text))
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not all(map(math.isfinite, numbers)):
            numbers = []
        if len(numbers) == 1 and numbers[0] == int(numbers[0]) > 0:
            return cls("person", person=int(numbers[0]))
        if len(numbers) == 2:
            return cls("point", point=(numbers[0], numbers[1]))
        raise UserError(
            f"The face '{text}' is none: give auto, largest, a number of 'bootdub faces', a place x,y in "
            "pixels, or the .json file that 'bootdub faces' has written."
        )

    def check(self, width: int, height: int) -> None:
        """Compare a place with the picture's size in pixels, before any work.

        Raises:
            UserError: it lies outside.
        """
        x, y = self.point
        if self.way == "point" and not (0 <= x <= width and 0 <= y <= height):
            raise UserError(
                f"The place {x:g},{y:g} of a face lies outside the picture of {width}x{height} pixels: give "
                "x,y in pixels of the upright picture."
            )
