"""How an edit goes back into its frame, as choices; apart from the code that does it, so that the command
line starts quickly."""

from __future__ import annotations

from enum import Enum


class Compositing(str, Enum):
    """How an edited crop goes back into its frame."""

    residual = "residual"
    """What the edit adds is added to the source's own pixels, faded to nothing where it is small."""
    fused = "fused"
    """A residual, but where the lips are new the edited crop itself: fine edges of the old lips go."""
    blend = "blend"
    """The edited crop takes the source's place, softly, near what it changed."""
    whole_crop = "whole-crop"
    """The whole square but its border takes the source's place; squares of the release as it does (R)."""


TELL_CHANGES = frozenset({Compositing.residual, Compositing.fused})
"""Those that want to know what the edit adds, for which every window is decoded a second time, unedited."""

DEFAULT_COMPOSITING = Compositing.fused
