"""Where each command of stage 1 puts its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.data.prepared import PREPARED
from stage1_generator.config import Stage1Config


@dataclass(frozen=True)
class WorkPaths:
    """Where each command puts its results, under `Stage1Config.work`."""

    root: Path

    @property
    def prepared(self) -> Path:
        return self.root / PREPARED

    @property
    def encoded(self) -> Path:
        """Training shards of the generator (index.json inside)."""
        return self.root / "encoded"

    @property
    def companions(self) -> Path:
        return self.root / "companions"

    @property
    def blended(self) -> Path:
        return self.root / "blended"

    @property
    def filtered(self) -> Path:
        return self.root / "filter"

    @property
    def pairs(self) -> Path:
        """Pair shards for stage 2 (index.json inside)."""
        return self.root / "pairs"

    @property
    def retimed(self) -> Path:
        return self.root / "retimed"

    @property
    def retimed_pairs(self) -> Path:
        return self.root / "pairs_retimed"

    @property
    def own_mouths(self) -> Path:
        return self.root / "own_mouths"

    @property
    def own_mouths_pairs(self) -> Path:
        return self.root / "pairs_own_mouths"

    @property
    def reference_pairs(self) -> Path:
        return self.root / "pairs_reference_frames"

    @property
    def rendered_pairs(self) -> Path:
        return self.root / "pairs_rendered"


def work_paths(config: Stage1Config) -> WorkPaths:
    return WorkPaths(Path(config.work))
