"""From sound to lips: a small network that predicts the shape of the mouth from log-mel features.

What it gives are the speech features of a small dubbing transformer, instead of spectra
(:class:`common.lip_shapes.encoder.LipEncoder`): which sound belongs to which lips is learnt here from
landmarks, at a thousandth of the cost of a training step with pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from common.lip_shapes.network import LipShapeMean, LipShapeNetwork


class LipShapePredictor(LipShapeNetwork, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A :class:`~common.lip_shapes.network.LipShapeNetwork` that is trained and written, arguments alike."""

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 128,
        layers: int = 2,
        dropout: float = 0.2,
        input_dropout: float = 0.0,
        phonetics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(bands, width, layers, dropout, input_dropout, phonetics)


class LipShapePredictorMean(LipShapeMean, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A :class:`~common.lip_shapes.network.LipShapeMean` that is written, arguments alike."""

    @register_to_config
    def __init__(self, members: Sequence[dict[str, Any]]) -> None:
        super().__init__(members)
