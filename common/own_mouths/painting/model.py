"""The painter as it is trained and written."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from common.own_mouths.painting.network import PainterNetwork
from common.own_mouths.painting.patch import COLOURS


class MouthPainter(PainterNetwork, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A :class:`~common.own_mouths.painting.network.PainterNetwork` with its file format."""

    @register_to_config
    def __init__(self, widths: Sequence[int] = (48, 96, 128), colours: str = COLOURS) -> None:
        super().__init__(widths, colours)
