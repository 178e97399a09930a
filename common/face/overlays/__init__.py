"""Subtitles, captions and logos that lie over a face: found, filled in below, and laid back."""

from common.face.overlays.cover import Cover
from common.face.overlays.overlay import Overlays
from common.face.overlays.watch import OverlayWatch

__all__ = ["Cover", "OverlayWatch", "Overlays"]
