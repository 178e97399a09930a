"""A small network that predicts what a large speech encoder computes, as far as log-mel bands tell it.

Which sounds are the same sound in other voices and rooms, an hour of speech does not teach. Whisper and its
like know; this network is trained to predict their features (`common.phonetics.train`) and then
stands in their place, without them and at a fraction of their size.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from common.lip_shapes.phonetics import DILATIONS, PhoneticConvolutions, PhoneticTransformer
from common.phonetics.config import PhoneticEncoderConfig
from common.phonetics.kinds import TRANSFORMER


class PhoneticEncoder(PhoneticConvolutions, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """:class:`~common.lip_shapes.phonetics.PhoneticConvolutions` that are trained and written; arguments as
    there.
    """

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 256,
        channels: int = 96,
        dilations: Sequence[int] = DILATIONS,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(bands, width, channels, dilations, dropout)


class PhoneticTransformerEncoder(PhoneticTransformer, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A :class:`~common.lip_shapes.phonetics.PhoneticTransformer` that is trained and written.

    Args:
        kind: says in the written configuration which network this is.
        bands, width, channels, depth, heads: as there.
    """

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 384,
        channels: int = 384,
        depth: int = 2,
        heads: int = 6,
        kind: str = TRANSFORMER,
    ) -> None:
        super().__init__(bands, width, channels, depth, heads)


def build_encoder(config: PhoneticEncoderConfig, bands: int) -> PhoneticEncoder | PhoneticTransformerEncoder:
    """A new encoder of that configuration, with numbers that are drawn.

    Args:
        bands: channels of an input feature.
    """
    if config.kind == TRANSFORMER:
        return PhoneticTransformerEncoder(bands, config.width, config.channels, config.depth, config.heads)
    return PhoneticEncoder(bands, config.width, config.channels)
