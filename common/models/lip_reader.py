"""From sound to lips: a small network that says what shape a mouth takes when this is heard.

What it gives is what the dubbing transformer of a small model hears instead of spectra
(:class:`common.speech.lips.LipEncoder`): which sound belongs to which lips is learnt here from landmarks, at
a thousandth of the cost of a training step with pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.face.mouth import LIP_SHAPE
from common.files import PathLike, read_json
from common.models.frozen import Model, freeze
from common.models.phonetic_encoder import PhoneticEncoder

_KERNEL = 5


class LipReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Recurrent layers that hear both ways in time: lips round for a vowel that is still to come.

    Args:
        bands: channels B of a feature.
        width: hidden channels of each direction.
        layers: recurrent layers.
        dropout: while training.
        input_dropout: the same, of what the first layer hears.
        phonetics: configuration of the :class:`~common.models.phonetic_encoder.PhoneticEncoder` that it hears
            with beside the bands; none if empty. It comes frozen, and without dropout.

    Attributes:
        offset, gain: (K,) per shape value: what :meth:`calibrated` does to predictions.
    """

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
        super().__init__()
        self.phonetic_encoder: PhoneticEncoder | None = None
        heard = bands
        if phonetics:
            self.phonetic_encoder = freeze(PhoneticEncoder(**phonetics))
            heard += self.phonetic_encoder.channels
        self.drop_in = nn.Dropout(input_dropout)
        self.proj_in = nn.Conv1d(heard, width, _KERNEL, padding=_KERNEL // 2)
        self.drop = nn.Dropout(dropout)
        between = dropout if layers > 1 else 0.0
        self.rnn = nn.GRU(width, width, layers, batch_first=True, dropout=between, bidirectional=True)
        self.proj_out = nn.Linear(2 * width, len(LIP_SHAPE))
        self.register_buffer("offset", torch.zeros(len(LIP_SHAPE)))
        self.register_buffer("gain", torch.ones(len(LIP_SHAPE)))

    def train(self, mode: bool = True) -> LipReader:
        """As of any module; the phonetic encoder hears as it does later, whether it learns or not."""
        super().train(mode)
        if self.phonetic_encoder is not None:
            self.phonetic_encoder.eval()
        return self

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K): the likeliest shape, less lively than any mouth."""
        if self.phonetic_encoder is not None:
            features = torch.cat([features, self.phonetic_encoder.normalized(features)], dim=-1)
        hidden = functional.gelu(self.proj_in(self.drop_in(features).transpose(1, 2))).transpose(1, 2)
        hidden, _ = self.rnn(self.drop(hidden))
        return self.proj_out(self.drop(hidden))

    def calibrated(self, features: Tensor) -> Tensor:
        """(B, T, bands) -> (B, T, K) that moves as much as mouths do.

        A prediction that explains r^2 of a curve has r of its spread; mouths that follow it mumble.
        """
        return (self(features) - self.offset) * self.gain + self.offset


def load_lip_reader(folder: PathLike) -> LipReader:
    """The lip reader in a folder, frozen, in float32. Raises UserError where it cannot be loaded."""
    return _loaded(LipReader, folder, "lip reader")


def load_phonetics(path: PathLike) -> PhoneticEncoder:
    """The phonetic encoder in a folder: its own, or that of a lip reader which has one.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"There is no phonetic encoder in '{folder}': train one with "
            "`python -m stage1_generator.train_phonetics`."
        )
    if read_json(folder / "config.json").get("_class_name") != LipReader.__name__:
        return _loaded(PhoneticEncoder, folder, "phonetic encoder")
    encoder = load_lip_reader(folder).phonetic_encoder
    if encoder is None:
        raise UserError(f"The lip reader in '{folder}' has no phonetic encoder: name another folder.")
    return encoder


def _loaded(kind: type[Model], folder: PathLike, what: str) -> Model:
    loader: Any = kind
    try:
        model: Model = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the {what} cannot be loaded ({reason}); restore it.") from error
    return freeze(model.float())
