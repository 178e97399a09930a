"""From sound to lips: the networks, as plain modules, and how they are read from their files.

A dub needs them before anything else of the model: here is nothing of the libraries that take
seconds to import. How they are made and written is in :mod:`common.lip_shapes.model` and
:mod:`common.phonetics.model`, whose classes have the same tensors by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.face.mouth import LIP_SHAPE
from common.files import PathLike
from common.lip_shapes.phonetics import PhoneticNetwork, phonetic_network
from common.models.frozen import freeze
from common.models.plain_network import CONFIG_FILE, load_network, read_network_config

_KERNEL = 5
_ENCODERS = ("PhoneticEncoder", "PhoneticTransformerEncoder")  # what their configurations call them


class CalibratedNetwork(nn.Module):
    """What predicts lip shapes, and how far they are to be stretched.

    Attributes:
        bands: channels B of a feature.
        offset, gain: (K,) per shape value: what :meth:`calibrated` does to predictions.
    """

    bands: int
    offset: Tensor
    gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(len(LIP_SHAPE)))
        self.register_buffer("gain", torch.ones(len(LIP_SHAPE)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K): the likeliest shape, less lively than any mouth."""
        raise NotImplementedError

    def calibrated(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K) that moves as much as mouths do.

        A prediction that explains r^2 of a curve has r of its spread; mouths that follow it mumble.
        """
        return (self(features) - self.offset) * self.gain + self.offset


class LipShapeNetwork(CalibratedNetwork):
    """Recurrent layers that look both ways in time: lips round for a vowel that is still to come.

    Args:
        bands: channels B of a feature.
        width: hidden channels of each direction.
        layers: recurrent layers.
        dropout: while training.
        input_dropout: the same, of the input.
        phonetics: settings of the :class:`~common.lip_shapes.phonetics.PhoneticNetwork` whose features it
            gets beside the bands; none if empty. It comes frozen, and without dropout.
    """

    def __init__(
        self,
        bands: int = 80,
        width: int = 128,
        layers: int = 2,
        dropout: float = 0.2,
        input_dropout: float = 0.0,
        phonetics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.bands = bands
        self.phonetic_encoder: PhoneticNetwork | None = None
        inputs = bands
        if phonetics:
            self.phonetic_encoder = freeze(phonetic_network(**phonetics))
            inputs += self.phonetic_encoder.channels
        self.drop_in = nn.Dropout(input_dropout)
        self.proj_in = nn.Conv1d(inputs, width, _KERNEL, padding=_KERNEL // 2)
        self.drop = nn.Dropout(dropout)
        between = dropout if layers > 1 else 0.0
        self.rnn = nn.GRU(width, width, layers, batch_first=True, dropout=between, bidirectional=True)
        self.proj_out = nn.Linear(2 * width, len(LIP_SHAPE))

    def train(self, mode: bool = True) -> LipShapeNetwork:
        """As of any module; the phonetic encoder computes as it does later, whether it learns or not."""
        super().train(mode)
        if self.phonetic_encoder is not None:
            self.phonetic_encoder.eval()
        return self

    def forward(self, features: Tensor) -> Tensor:
        if self.phonetic_encoder is not None:
            features = torch.cat([features, self.phonetic_encoder.normalized(features)], dim=-1)
        hidden = functional.gelu(self.proj_in(self.drop_in(features).transpose(1, 2))).transpose(1, 2)
        hidden, _ = self.rnn(self.drop(hidden))
        return self.proj_out(self.drop(hidden))


class LipShapeMean(CalibratedNetwork):
    """The mean of what several predictors say: unlike ones err in unlike ways.

    Args:
        members: arguments of each :class:`LipShapeNetwork`. Its own calibration is not asked for.

    Raises:
        ValueError: there are none, or they take features of unlike channels.
    """

    def __init__(self, members: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        networks = [LipShapeNetwork(**settings) for settings in members]
        bands = {network.bands for network in networks}
        if len(bands) != 1:
            raise ValueError(f"members that take {sorted(bands)} channels")
        (self.bands,) = bands
        self.networks = nn.ModuleList(networks)

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([network(features) for network in self.networks]).mean(dim=0)


def load_lip_shape_predictor(folder: PathLike) -> CalibratedNetwork:
    """The lip-shape predictor in a folder, frozen, in float32. Raises UserError where it cannot be loaded."""
    return load_network(_predictor, Path(folder), "lip-shape predictor")


def _predictor(**settings: Any) -> CalibratedNetwork:
    return LipShapeMean(**settings) if "members" in settings else LipShapeNetwork(**settings)


def load_phonetics(path: PathLike) -> PhoneticNetwork:
    """The phonetic encoder in a folder: its own, or the first that a lip-shape predictor has.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    folder = Path(path)
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"There is no phonetic encoder in '{folder}': train one with `python -m common.phonetics.train`."
        )
    if read_network_config(folder, "phonetic encoder").get("_class_name") in _ENCODERS:
        return load_network(phonetic_network, folder, "phonetic encoder")
    for module in load_lip_shape_predictor(folder).modules():
        if isinstance(module, PhoneticNetwork):
            return module
    raise UserError(f"The lip-shape predictor in '{folder}' has no phonetic encoder: name another folder.")
