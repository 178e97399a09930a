"""The options of own mouths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import cast

from common.errors import UserError

VERSION = 18
"""Part of the fingerprint of what is made with own mouths; to be raised when the pictures change."""


class Renderer(str, Enum):
    """What draws the new mouths of a dub."""

    auto = "auto"
    """The clip's own mouths where it shows the head as it is held, the model's edits elsewhere."""
    own_mouths = "own-mouths"
    """The clip's own mouths alone."""
    editor = "editor"
    """The model's edits alone."""


@dataclass
class OwnMouthsConfig:
    """How a clip's own mouths are chosen and laid in.

    Attributes:
        max_moments: most moments that the bank holds; longer clips keep the most different ones.
        max_megabytes: most memory that the bank's pictures take; large faces get fewer moments.
        lead_frames: how much earlier than the predictor says the lips move, in frames of 40 ms.
        calibrate: bring predicted shapes into the range of the clip's own mouth; not for measured ones.
        warp: bend the moment's lips to exactly the wanted shape; without it they stay as they were filmed.
        inside: keep rows of teeth whole when a mouth opens or closes; without it they are stretched.
        paint: let a small network paint what lies between lips that part further than film can show; without
            it that is drawn plainly.
        occluders: keep hands and other things before the mouth.
        overlays: keep subtitles and logos over the face where they are.
    """

    max_moments: int = 750
    max_megabytes: int = 400
    lead_frames: float = 0.0
    calibrate: bool = True
    warp: bool = True
    inside: bool = True
    paint: bool = True
    occluders: bool = True
    overlays: bool = True

    @classmethod
    def read(cls, values: Mapping[str, str]) -> OwnMouthsConfig:
        """From words, such as ``{"warp": "false", "max_moments": "50"}``.

        Raises:
            UserError: an unknown name, or a value of the wrong kind.
        """
        # `bootdub --help` names the renderers: it should not wait for what only this needs.
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            read = OmegaConf.from_dotlist([f"{name}={value}" for name, value in values.items()])
            return cast(
                OwnMouthsConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), read))
            )
        except OmegaConfBaseException as error:
            known = ", ".join(field.name for field in fields(cls))
            raise UserError(f"own_mouths: {str(error).splitlines()[0]}; there are {known}.") from error

    def __post_init__(self) -> None:
        if self.max_moments < 1 or self.max_megabytes < 1:
            raise UserError(
                f"own_mouths.max_moments={self.max_moments} and "
                f"own_mouths.max_megabytes={self.max_megabytes} must be at least 1."
            )
