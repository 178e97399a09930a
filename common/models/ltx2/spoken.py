"""Prompts that say what is spoken, one for each window of a clip, and the file that holds their states.

The file is of safetensors: ``video`` and ``audio``, (P, L, channels) for P prompts, whose texts are in the
metadata (``prompts``, a list in JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.files import atomic_path, require_file
from common.languages import UNSPACED, language_name
from common.models.ltx2.prompts import encode_prompts, prompt_widths
from common.models.ltx2.roles import PromptStates

SPEECH = 'A person is speaking {language}, saying: "{text}"'
SILENCE = "A person is looking on in silence."
"""Where no word is left for a window."""


@dataclass(frozen=True)
class SpokenPrompts:
    """Texts of prompts, and the states of each, (1, L, channels)."""

    texts: tuple[str, ...]
    states: tuple[PromptStates, ...]

    @classmethod
    def encode(cls, folder: Path, texts: Sequence[str]) -> SpokenPrompts:
        """By the text encoder in a folder of LTX-2, which is loaded once and let go of.

        Raises:
            UserError: a part is missing or damaged.
        """
        different = list(dict.fromkeys(texts))
        states = dict(zip(different, encode_prompts(folder, different), strict=True))
        return cls(tuple(texts), tuple(states[text] for text in texts))

    @classmethod
    def read(cls, path: Path, config: Any) -> SpokenPrompts:
        """From a file, checked against the transformer's ``config``.

        Raises:
            UserError: the file is missing or damaged, or its states are of another model.
        """
        require_file(path, "prompt states")
        try:
            with safe_open(path, "pt") as file:
                texts = json.loads((file.metadata() or {}).get("prompts", "[]"))
            found = load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(f"{path}: not readable as prompt states ({error}); make it again.") from error
        for name, width in zip(("video", "audio"), prompt_widths(config), strict=True):
            shape = tuple(found[name].shape) if name in found else ()
            if len(shape) != 3 or shape[0] != len(texts) or shape[2] != width or not texts:
                raise UserError(
                    f"{path}: the prompt states {name!r} must be ({len(texts) or 'prompts'}, length, "
                    f"{width}) for this model, found {shape or 'none'}; make them with `bootdub prompts`."
                )
        pairs = zip(found["video"].split(1), found["audio"].split(1), strict=True)
        return cls(tuple(texts), tuple(PromptStates(video, audio) for video, audio in pairs))

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        tensors = {
            "video": torch.cat([states.video for states in self.states]).cpu(),
            "audio": torch.cat([states.audio for states in self.states]).cpu(),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"prompts": json.dumps(list(self.texts))})


def spoken_prompts(text: str, language: str, lengths: Sequence[float]) -> list[str]:
    """The prompts of consecutive windows that together say ``text``.

    Args:
        text: what is said.
        language: its code.
        lengths: of what is new in each window, in any unit; each gets its share of the letters, and no word
            is cut.

    Raises:
        UserError: there is no text, or no such language.
    """
    name = language_name(language)
    words = list("".join(text.split())) if language in UNSPACED else text.split()
    if not words:
        raise UserError("The text is empty: write what shall be said.")
    sizes = np.array([len(word) + 1 for word in words])
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    ends = np.cumsum(lengths) / np.sum(lengths)
    where = np.minimum(np.searchsorted(ends, middles), len(ends) - 1)
    between = "" if language in UNSPACED else " "
    parts = [
        between.join(w for w, place in zip(words, where, strict=True) if place == i) for i in range(len(ends))
    ]
    return [SPEECH.format(language=name, text=part) if part else SILENCE for part in parts]
