"""Sound that runs ahead of the lips or behind them is moved before anything is learnt from it.

What is measured is the lag at which a sync expert finds lips and sound to fit
(``common/sync_expert/measure.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import read_json, require_file
from common.media import SAMPLE_RATE
from stage1_generator.config import PrepareConfig


@dataclass(frozen=True)
class SoundOffset:
    """frames: the lips of frame i fit the sound of frame i + frames. trusted: measured well enough."""

    frames: int
    trusted: bool
    reason: str


class SoundOffsets:
    """Offsets by video name; empty where ``prepare.offsets`` names no file."""

    def __init__(self, found: Mapping[str, SoundOffset]) -> None:
        self._found = dict(found)

    @classmethod
    def read(cls, config: PrepareConfig) -> SoundOffsets:
        """Raises UserError where the file is missing or is none of measure_sync's."""
        if not config.offsets:
            return cls({})
        path = require_file(config.offsets, "table of sound offsets")
        try:
            rows = read_json(path)["videos"]
            found = {
                str(name): SoundOffset(
                    int(row["offset_frames"]),
                    float(row["confidence"]) >= config.offset_confidence,
                    f"confidence {row['confidence']:.3f}",
                )
                for name, row in rows.items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: is no table of common/sync_expert/measure.py ({error!r}): measure again."
            ) from error
        return cls(found)

    def find(self, name: str) -> SoundOffset | None:
        """The offset of a video, None where none was measured."""
        return self._found.get(name)


def shift_sound(audio: NDArray[np.float32], frames: int, fps: float) -> NDArray[np.float32]:
    """(samples,) moved earlier by ``frames`` video frames (later where negative), of the same length."""
    samples = round(frames * SAMPLE_RATE / fps)
    if samples == 0:
        return audio
    silence = np.zeros(min(abs(samples), len(audio)), audio.dtype)
    if samples > 0:
        return np.concatenate([audio[samples:], silence])
    return np.concatenate([silence, audio[: len(audio) - len(silence)]])
