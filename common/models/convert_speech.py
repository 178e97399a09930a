"""wav2vec2 and HuBERT as their publishers store them to transformers' bare models.

R: wav2vec2-base-960h (X-Dub) and hubert-large-ll60k (TBDub).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import (
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from common.models.stored import Shaped
from common.models.tensor_names import check_tensors

# Weight normalisation has changed its names in torch.
_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_HEAD = "lm_head."  # of speech recognition; the features are taken before it

OPTIONAL = "masked_spec_embed"
"""Used in training only, and left out of some published files."""


@dataclass(frozen=True)
class SpeechModel:
    """A kind of network. name: also its ``model_type``, and the prefix of its tensors under a head."""

    name: str
    config: type[PretrainedConfig]
    model: type[PreTrainedModel]


WAV2VEC2 = SpeechModel("wav2vec2", Wav2Vec2Config, Wav2Vec2Model)
HUBERT = SpeechModel("hubert", HubertConfig, HubertModel)


def to_model_name(name: str, kind: SpeechModel = WAV2VEC2) -> str:
    """Name within the bare model of a tensor of a model with a head on it, in old or new naming."""
    name = name.removeprefix(f"{kind.name}.")
    return re.sub(r"(?<=pos_conv_embed\.conv\.)(weight_[gv])$", lambda match: _RENAMED[match[1]], name)


def map_speech_model(
    state: Mapping[str, Shaped], kind: SpeechModel, config: PretrainedConfig, source: str
) -> tuple[dict[str, torch.Size], dict[str, str]]:
    """(shape by name, name in ``state`` by name) of the bare model of ``config``.

    The second lacks :data:`OPTIONAL` where ``state`` does. Looks at shapes only; ``source`` names the file in
    errors.

    Raises:
        UserError: naming the first tensor that is missing, foreign or misshapen.
    """
    originals = {to_model_name(name, kind): name for name in state if not name.startswith(_HEAD)}
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in kind.model(config).state_dict().items()}
    check_tensors(
        state,
        originals,
        expected,
        source,
        lacks="; it is incomplete.",
        foreign=f"it is no {kind.name} model.",
        misshapen=(" by its config.json", "fetch both again."),
        optional=(OPTIONAL,),
    )
    return expected, originals
