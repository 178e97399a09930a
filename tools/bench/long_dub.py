"""Seams and drift of a long dub: does it jump where windows meet, and is its end what its beginning was?

    python tools/bench/long_dub.py --video talk.mp4 --audio speech.wav --dub dubbed.mp4 --first 25 --every 20

``--first`` is the frame where the second window begins, ``--every`` the frames from one window to the next,
both at 25 frames per second. All is measured against the source, on the crops of ``bootdub evaluate``, so
that the source's own jumps, light and sharpness count nothing. Printed as a row of a Markdown table:

- seam, of face (without the mouth) and mouth: how far window borders stand out, grey levels
  (evaluation/metrics/seams.py); 0: as any other frame. usual: the median jump of all frames, its scale;
- colour, of both: how far mean CIELAB of dub less source has come from the first to the last 10 s, delta E;
- sharpness: Laplacian variance around the lips, dub over source, the last 10 s over the first 10 s. 1: none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.command import exit_code_of  # noqa: E402
from common.errors import UserError  # noqa: E402
from evaluation.dubbed_clip import RATE, Curve, DubbedClip  # noqa: E402
from evaluation.loading import CaseLoader  # noqa: E402
from evaluation.manifest import Case, Kind  # noqa: E402
from evaluation.metrics.colour import mean_lab  # noqa: E402
from evaluation.metrics.quality import visible_regions  # noqa: E402
from evaluation.metrics.seams import jumps, seam_excess  # noqa: E402
from evaluation.metrics.sharpness import sharpness_ratio  # noqa: E402
from evaluation.native import SHARPNESS  # noqa: E402

END = round(10 * RATE)  # frames of the beginning and of the end
REGIONS = ("face", "mouth")


def measure(clip: DubbedClip, borders: Sequence[int], end: int = END) -> dict[str, float | None]:
    """The columns of the table; None where the clip does not tell. ``end``: frames of each end.

    Raises:
        UserError: the clip is too short to have both.
    """
    count = len(clip.source)
    if count < 2 * end:
        raise UserError(f"The clip has {count / RATE:.1f} s: give one of at least {2 * end / RATE:g} s.")
    found: dict[str, float | None] = {}
    regions = visible_regions(clip)
    for name in REGIONS:
        made, source = clip.made.crops, clip.source.crops
        found_jumps = jumps(made, source, regions[name])
        found[f"seam {name}"] = seam_excess(found_jumps, borders)
        found[f"usual {name}"] = _median(found_jumps)
        colour = mean_lab(made, regions[name]) - mean_lab(source, regions[name])
        found[f"colour {name}"] = colour_drift(colour, end)
    curves = [footage.native[SHARPNESS] for footage in (clip.made, clip.source)]
    found["sharpness"] = sharpness_drift(curves[0], curves[1], end)
    return found


def colour_drift(difference: NDArray[np.float64], end: int) -> float | None:
    """How far the median row of (N, 3) has come from the first to the last ``end``; NaN rows are left out."""
    first, last = (part[np.isfinite(part).all(axis=1)] for part in (difference[:end], difference[-end:]))
    if not len(first) or not len(last):
        return None
    return float(np.linalg.norm(np.median(last, axis=0) - np.median(first, axis=0)))


def sharpness_drift(made: Curve, source: Curve, end: int) -> float | None:
    """How much sharper, to the source, the last ``end`` frames are than the first; 1: alike."""
    first, last = sharpness_ratio(made[:end], source[:end]), sharpness_ratio(made[-end:], source[-end:])
    return last / first if first and last is not None else None


def _median(values: Curve) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--video", type=Path, required=True, help="the source")
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--dub", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True, help="frame where the second window begins")
    parser.add_argument("--every", type=int, required=True, help="frames from one window to the next")
    arguments = parser.parse_args(argv)

    def work() -> None:
        if min(arguments.first, arguments.every) < 1:
            raise UserError("--first and --every are frames: give numbers from 1 on.")
        loader = CaseLoader()
        prepared = loader.prepare(Case(arguments.dub.stem, arguments.video, arguments.audio, Kind.cross))
        clip, _ = loader.load_dub(prepared, arguments.dub)
        found = measure(clip, range(arguments.first, len(clip.source), arguments.every))
        print("| | " + " | ".join(found) + " |")
        values = ("-" if value is None else f"{value:.2f}" for value in found.values())
        print(f"| {arguments.dub.parent.name} {clip.name} | " + " | ".join(values) + " |")

    return exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main())
