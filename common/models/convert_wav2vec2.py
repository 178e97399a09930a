"""wav2vec2 as its publisher stores it (R: wav2vec2-base-960h) to transformers' bare Wav2Vec2Model."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from common.models.stored import Shaped
from common.models.tensor_names import check_tensors

# Weight normalisation has changed its names in torch.
_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_HEAD = "lm_head."  # of speech recognition; the features are taken before it

OPTIONAL = "masked_spec_embed"
"""Used in training only, and left out of the published file."""


def to_model_name(name: str) -> str:
    """Name within Wav2Vec2Model of a tensor of a model with a head on it, in old or new naming."""
    name = name.removeprefix("wav2vec2.")
    return re.sub(r"(?<=pos_conv_embed\.conv\.)(weight_[gv])$", lambda match: _RENAMED[match[1]], name)


def map_wav2vec2(
    state: Mapping[str, Shaped], config: Wav2Vec2Config, source: str = "The wav2vec2 file"
) -> tuple[dict[str, torch.Size], dict[str, str]]:
    """(shape by name, name in ``state`` by name) of the bare model of ``config``.

    The second lacks :data:`OPTIONAL` where ``state`` does. Looks at shapes only. Raises UserError that names
    the first tensor that is missing, foreign or misshapen.
    """
    originals = {to_model_name(name): name for name in state if not name.startswith(_HEAD)}
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in Wav2Vec2Model(config).state_dict().items()}
    check_tensors(
        state,
        originals,
        expected,
        source,
        lacks="; it is incomplete.",
        foreign="it is no wav2vec2 model.",
        misshapen=(" by its config.json", "fetch both again."),
        optional=(OPTIONAL,),
    )
    return expected, originals
