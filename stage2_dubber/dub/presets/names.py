"""The names of the quality presets, light to import."""

from __future__ import annotations

from enum import Enum

AUTO_PRESET = "auto"
"""Stands for the one that suits model and device."""


class Preset(str, Enum):
    """How much time a dub may take for its pictures."""

    draft = "draft"
    """To look at: fewer steps, some of them extrapolated."""
    standard = "standard"
    """As the package says, every step exactly."""
    best = "best"
    """More steps where the package can use them; small models in float32."""
