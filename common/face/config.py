"""The ``face`` section: which face detector is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FaceConfig:
    """Face backend: "mediapipe", "insightface" or "box", and that backend's own options."""

    detector: str = "mediapipe"
    options: dict[str, Any] = field(default_factory=dict)
