"""What a dubbing job gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stage2_dubber.dub.report import DubReport


@dataclass(frozen=True)
class DubResult:
    """What a job has made.

    Attributes:
        output: the dubbed video.
        frames: frames in it (those of the source).
        dubbed_frames: how many of them show an edited face; the others are the source's.
        seconds: wall-clock time of each part of the work.
        warnings: sentences for the user.
        seams: seconds on the source's clock at which the model's second and later windows begin.
        own_mouth_frames: how many of the dubbed frames are drawn with the clip's own mouths.
        covered: share of the dubbed frames in which the clip itself shows what is to be said; None where
            that was not measured.
        report: which frames were left alone and why, who drew the others, what the output lost.
    """

    output: Path
    frames: int
    dubbed_frames: int
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    seams: tuple[float, ...] = ()
    own_mouth_frames: int = 0
    covered: float | None = None
    report: DubReport | None = None
