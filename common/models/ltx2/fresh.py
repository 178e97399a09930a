"""A transformer of LTX-2 with fresh weights, to be trained from nothing."""

from __future__ import annotations

from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import nn

from common.models.ltx2.config import JointModelConfig


def fresh_transformer(config: JointModelConfig) -> LTX2VideoTransformer3DModel:
    """Its two output layers start at zero: the first prediction is no velocity at all."""
    model = LTX2VideoTransformer3DModel(**config.arguments())
    for layer in (model.proj_out, model.audio_proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model
