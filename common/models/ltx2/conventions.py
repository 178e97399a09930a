"""What the weights of LTX-2 and of its in-context LoRAs were made with, and which no tensor tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CrossModulation(str, Enum):
    """Which noise level modulates attention between video and audio.

    The three differ wherever a token's noise level is not that of the other modality: at references, given
    frames and frozen modalities.
    """

    own_token = "own_token"
    """Scale, shift and gate follow the token's own timestep: LTX-2.0 as released, JUST-DUB-IT."""
    other_modality = "other_modality"
    """Scale, shift and gate follow the other modality's noise level: LTX-2.3 as released."""
    other_gate = "other_gate"
    """Scale and shift follow the token's own timestep, the gate the other modality's noise level:
    Lightricks' code since the end of May 2026, Dub-It."""


class ReferenceTime(str, Enum):
    """When reference audio is said to sound."""

    before = "before"
    """Before the clip: it ends 0.04 s before second 0 (Dub-It)."""
    same = "same"
    """Together with the target (JUST-DUB-IT)."""


class CrossMask(str, Enum):
    """Which tokens see the other modality, and are seen by it (``roles.ROLES``)."""

    none = "none"
    """All."""
    targets = "targets"
    """Those of the target that are not given (JUST-DUB-IT's inference)."""
    targets_and_given = "targets_and_given"
    """Those of the target, a given first frame among them (JUST-DUB-IT's training)."""


@dataclass(frozen=True)
class JointConventions:
    """Attributes: modulation, reference_time, mask: see there.

    reference_downscale: sides of the target over sides of the reference video, in pixels.
    """

    modulation: CrossModulation = CrossModulation.own_token
    reference_time: ReferenceTime = ReferenceTime.same
    mask: CrossMask = CrossMask.none
    reference_downscale: int = 1
