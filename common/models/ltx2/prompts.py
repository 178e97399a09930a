"""The prompt's states: computed once by text encoder and connectors, stored, and read again.

A file holds ``video`` and ``audio``, (1, L, channels), and where there is a negative prompt
``negative_video`` and ``negative_audio``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.files import require_file
from common.models.load import load_strictly
from common.models.ltx2.roles import PromptStates

MAX_TOKENS = 1024
TEXT_PARTS = ("text_encoder", "tokenizer")


@dataclass(frozen=True)
class StoredPrompts:
    """The prompt, and what guidance leads away from."""

    positive: PromptStates
    negative: PromptStates | None = None

    def to(self, device: torch.device) -> StoredPrompts:
        """On another device."""
        negative = None if self.negative is None else self.negative.to(device)
        return StoredPrompts(self.positive.to(device), negative)

    def save(self, path: Path) -> None:
        """Write them to a safetensors file."""
        tensors: dict[str, torch.Tensor] = {}
        for prefix, states in zip(("", "negative_"), (self.positive, self.negative), strict=True):
            if states is not None:
                tensors |= {f"{prefix}video": states.video, f"{prefix}audio": states.audio}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)


def read_prompts(path: Path, config: Any) -> StoredPrompts:
    """The states in a file, checked against the transformer's ``config``.

    Raises:
        UserError: the file is missing, damaged, lacks states, or they are of another model.
    """
    require_file(path, "prompt states")
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as a safetensors file ({error}); make it again.") from error
    widths = dict(zip(("video", "audio"), prompt_widths(config), strict=True))
    negative = "negative_video" in found or "negative_audio" in found
    for name, width in widths.items():
        for key in (name, f"negative_{name}") if negative else (name,):
            shape = tuple(found[key].shape) if key in found else ()
            if len(shape) != 3 or shape[0] != 1 or shape[2] != width:
                raise UserError(
                    f"{path}: the prompt states {key!r} must be (1, length, {width}) for this version of "
                    f"LTX-2, found {shape or 'none'}; compute them with its text encoder and connectors."
                )
    return StoredPrompts(
        PromptStates(found["video"], found["audio"]),
        PromptStates(found["negative_video"], found["negative_audio"]) if negative else None,
    )


def prompt_widths(config: Any) -> tuple[int, int]:
    """Channels of the states that a transformer of ``config`` takes, for video and for audio."""
    if config.use_prompt_embeddings:
        return config.caption_channels, config.caption_channels
    return config.cross_attention_dim, config.audio_cross_attention_dim


def require_text_parts(folder: Path) -> None:
    """Raises UserError where the text encoder or its tokenizer is not in a folder of LTX-2."""
    missing = [name for name in TEXT_PARTS if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder}: lacks {', '.join(missing)}, which compute the states of prompts; fetch them, or give "
            "--prompt-states with a file that was made where they are."
        )


def encode_prompts(folder: Path, texts: Iterable[str]) -> Iterator[PromptStates]:
    """States of ``texts``, float32, one after the other, by text encoder and connectors in ``folder``.

    Both are loaded once, and let go of after the last. All hidden states of the text encoder, padded on the
    left to 1024 tokens, go through the connectors, which put learned registers in the place of the padding.

    Raises:
        UserError: a part is missing or damaged.
    """
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    require_text_parts(folder)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        encoder: Any = Gemma3ForConditionalGeneration.from_pretrained(
            folder / "text_encoder", dtype="auto", local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the text encoder cannot be loaded ({reason}); fetch it again.") from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    connectors: Any = load_strictly(LTX2TextConnectors, folder / "connectors").eval()
    for text in texts:
        read = tokenizer(
            text.strip(),
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            seen = encoder.eval()(
                input_ids=read.input_ids, attention_mask=read.attention_mask, output_hidden_states=True
            )
            hidden = torch.stack(seen.hidden_states, dim=-1).flatten(2).float()
            video, audio, _ = connectors(hidden, read.attention_mask, padding_side="left")
        yield PromptStates(video, audio)
