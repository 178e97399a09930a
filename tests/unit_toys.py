"""Speech units, fitted on little sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.media import save_wav
from common.speech_units.config import UnitFittingConfig, UnitsConfig
from common.speech_units.fit import run

UNITS = 5


def write_units(folder: Path, source: str, weights: Path) -> Path:
    """Units of noise whose loudness changes; ``source`` and ``weights``: units.source and units.path."""
    recordings = folder.with_name(f"{folder.name}-recordings")
    recordings.mkdir()
    random = np.random.default_rng(0)
    for number in range(2):
        sound = random.normal(0, 0.1, 12000) * np.repeat(random.random(8), 1500)
        save_wav(recordings / f"{number}.wav", sound.astype(np.float32), 16000)
    units = UnitsConfig(source, str(weights), folders=[str(recordings)], clusters=UNITS, batch=20)
    run(UnitFittingConfig(str(folder), units))
    return folder
