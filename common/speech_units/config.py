"""Speech units: which features are quantised, with how many clusters, fitted on which speech."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import at_least, one_of

HUBERT, PHONETICS = SOURCES = ("hubert", "phonetics")
"""What is quantised: a hidden layer of HuBERT, or the features of a phonetic encoder."""


@dataclass
class UnitsConfig:
    """The ``units`` section."""

    source: str = HUBERT
    """ "hubert" or "phonetics"."""
    path: str = ""
    """HuBERT as transformers saves it (config.json, model.safetensors); or the folder of a phonetic encoder,
    or of a lip-shape predictor that has one."""
    layer: int = -1
    """Of HuBERT: 0 is what enters the first block, -1 the output (EdiDub)."""
    folders: list[str] = field(default_factory=list)
    """The speech: audio files at any depth. One voice alone, so that voices are nothing that units tell
    apart (EdiDub: LJ Speech)."""
    clusters: int = 200
    """Units (EdiDub, appendix B.1)."""
    vectors: int = 1_000_000
    """Features that are fitted to, at most: 20 ms each (EdiDub)."""
    batch: int = 10_000
    """Vectors of one step of k-means; the first ones also give the starting points."""
    seed: int = 0
    """Of the order of the recordings and of the starting points."""

    def __post_init__(self) -> None:
        one_of("units.source", self.source, SOURCES)
        at_least("units.clusters", self.clusters, 2)
        at_least("units.batch", self.batch, self.clusters)
        at_least("units.vectors", self.vectors, self.clusters)


@dataclass
class UnitFittingConfig:
    """Root of ``python -m common.speech_units.fit``."""

    output: str = ""
    """Folder to write: what ``speech.path`` names with ``speech.encoder=units``."""
    units: UnitsConfig = field(default_factory=UnitsConfig)
