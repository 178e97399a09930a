"""How far companions that LTX-2 makes are from the truth, on rendered characters; and pairs to train on.

``python tools/pairs_ltx2.py --clips DIR --model PACKAGE --output DIR [--reference] [--pairs] [--limit N]``.
DIR holds what ``python -m common.rendered --pairs`` wrote: clip a gets the speech of clip b, window by
window, and clip b is the truth. ``--pairs`` writes shards of pairs whose source is the companion and whose
target is clip a.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluate_rendered import HeldOutCharacter, correlation, load_case, masked_psnr
from numpy.typing import NDArray

from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import EXIT_CODE, UserError
from common.files import fingerprint, read_json, write_json
from common.media import SAMPLE_RATE
from common.models.ltx2.package import JointPackage, load_joint_package
from common.rendered.measure import opening_curves
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.paste import put_back
from stage1_generator.language_switch.masks import face_rectangle, fine_cells, touched_cells
from stage1_generator.language_switch.model import Anew, JointClipMaker

Frames = NDArray[np.uint8]
FEATHER, THRESHOLD = 0.05, 0.1


@dataclass(frozen=True)
class CompanionKind:
    """Of companions.

    region: "whole" (all of the picture is made), "rectangle" or "lower-face" (the rest is the clip's own).
    audio_scale: guidance by the sound; None: there is no model, the companion is the truth.
    """

    name: str
    region: str
    audio_scale: float | None


KINDS = (
    CompanionKind("exact", "whole", None),
    CompanionKind("whole", "whole", 1.0),
    CompanionKind("coarse", "rectangle", 1.0),
    CompanionKind("fine", "lower-face", 1.0),
    CompanionKind("fine-lips", "lower-face", 3.0),
    CompanionKind("whole-lips", "whole", 3.0),
)


@dataclass(frozen=True)
class Companion:
    """Of one character. r: Pearson, of mouth openings.

    r_truth, r_source: with the truth's and with the source's. opening_bias: mean opening less the truth's.
    articulation: standard deviation of the opening over the truth's. psnr: against the truth, in dB.
    """

    name: str
    kind: str
    r_truth: float
    r_source: float
    opening_bias: float
    articulation: float
    psnr_outside_db: float
    psnr_mouth_db: float


class CompanionStudy:
    """Makes companions of rendered characters and compares them with the truth."""

    def __init__(self, package: JointPackage, clips: Path, reference: bool) -> None:
        self._maker, self._clips, self._reference = JointClipMaker(package, 0), clips, reference
        self._geometry = package.info.geometry
        self._codec = package.codec

    def case(self, name: str) -> HeldOutCharacter:
        return load_case(self._clips, name, self._geometry.crop_size, self._geometry.crop_scale)

    def windows(self, case: HeldOutCharacter) -> list[slice]:
        """Neighbours share a frame."""
        length = self._geometry.clip_frames
        return [slice(i, i + length) for i in range(0, len(case.source) - length + 1, length - 1)]

    def samples(self, sound: NDArray[np.float32], span: slice) -> NDArray[np.float32]:
        first, last = (round(at / self._geometry.fps * SAMPLE_RATE) for at in (span.start, span.stop))
        found = sound[first:last]
        return np.pad(found, (0, last - first - len(found)))

    def companion(self, case: HeldOutCharacter, span: slice, kind: CompanionKind) -> Frames:
        """One window of clip a as it says what clip b does."""
        if kind.audio_scale is None:
            return case.truth[span]
        frames, landmarks = case.source[span], case.landmarks[span]
        size, whole = frames.shape[1], slice(0, len(frames))
        region = np.ones(frames.shape[:3], bool)
        if kind.region == "rectangle":
            region = face_rectangle(landmarks, size, whole)
        elif kind.region == "lower-face":
            region = clip_masks(landmarks, size).inpaint
        cells = touched_cells(region, self._codec.stride)
        if kind.region == "lower-face":
            cells = fine_cells(self._codec, frames, region, THRESHOLD)
        tokens = torch.zeros(self._maker.clip.audio_tokens, dtype=torch.bool)
        prompt = self._maker.package.prompts.positive
        anew = Anew(cells, tokens, prompt, kind.audio_scale)
        sound = self.samples(case.speech, span)
        made = self._maker.remake(f"{case.name}-{span.start}", frames, sound, anew, self._reference)
        if kind.region == "whole":
            return made.frames
        return put_back(frames, made.frames, region, FEATHER * size)

    def compare(self, case: HeldOutCharacter, windows: Iterable[Frames], kind: CompanionKind) -> Companion:
        """All windows of a character, made in order, with the truth."""
        parts = [part if number == 0 else part[1:] for number, part in enumerate(windows)]
        made = np.concatenate(parts)
        count = len(made)
        (curve,) = opening_curves(case.scene, [list(made)], case.matrices[:count])
        (real,) = opening_curves(case.scene, [list(case.truth[:count])], case.matrices[:count])
        seen = np.isfinite(curve) & np.isfinite(real)
        return Companion(
            case.name,
            kind.name,
            correlation(curve[seen], real[seen]),
            correlation(curve[seen], case.opening_source[:count][seen]),
            float(np.mean(curve[seen] - real[seen])),
            float(np.std(curve[seen]) / max(np.std(real[seen]), 1e-6)),
            masked_psnr(made, case.truth[:count], ~case.mouth[:count]),
            masked_psnr(made, case.truth[:count], case.mouth[:count]),
        )

    def sample(
        self, case: HeldOutCharacter, span: slice, companion: Frames, kind: CompanionKind
    ) -> dict[str, bytes]:
        """A pair: clip a is the target, and its companion the source."""
        meta = {
            "kind": kind.name,
            "frames": span.stop - span.start,
            "fps": self._geometry.fps,
            "crop_size": self._geometry.crop_size,
            "speaker": case.name,
        }
        return encode_sample(
            meta,
            target=case.source[span],
            source=companion,
            audio=self.samples(case.own_speech, span),
            source_audio=self.samples(case.speech, span),
            arrays={"landmarks": torch.from_numpy(case.landmarks[span])},
        )


def study(
    model: Path, clips: Path, output: Path, kinds: tuple[CompanionKind, ...], words: argparse.Namespace
) -> None:
    """Measure companions of all ``kinds``, or write pairs of them.

    Raises:
        UserError: the package does not load, or there is no pair.
    """
    package = load_joint_package(model)
    info = replace(package.info, diffusion=replace(package.info.diffusion, num_steps=words.num_steps))
    made_by = CompanionStudy(replace(package, info=info), clips, words.reference)
    names = sorted(p.stem for p in clips.glob("*.json") if "b" in read_json(p).get("clips", {}))
    names = names[: words.limit or None]
    if not names:
        raise UserError(f"{clips}: holds no rendered pair; make some with common.rendered --pairs.")
    for kind in kinds:
        if words.pairs:
            write_pairs(made_by, names, kind, output / kind.name)
            continue
        rows: list[dict[str, Any]] = []
        for name in names:
            case = made_by.case(name)
            windows = [made_by.companion(case, span, kind) for span in made_by.windows(case)]
            rows.append(asdict(made_by.compare(case, windows, kind)))
        write_json(output / f"{kind.name}.json", rows)
        means = {key: np.mean([row[key] for row in rows]) for key in rows[0] if key not in ("name", "kind")}
        print(kind.name, "  ".join(f"{key} {value:.3f}" for key, value in means.items()), flush=True)


def write_pairs(made_by: CompanionStudy, names: list[str], kind: CompanionKind, folder: Path) -> None:
    """Shards of a kind's pairs."""
    meta = {"step": "pairs_ltx2", "content": fingerprint([kind.name, names])}
    with ShardWriter(folder, "pairs", 128, meta) as writer:
        for name in names:
            case = made_by.case(name)
            for span in made_by.windows(case):
                frames = made_by.companion(case, span, kind)
                key = f"{name}-{kind.name}-{span.start:03d}"
                writer.add(key, made_by.sample(case, span, frames, kind))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare companions that LTX-2 makes with the truth.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=[kind.name for kind in KINDS])
    parser.add_argument("--reference", action="store_true", help="the clip itself is a reference, too")
    parser.add_argument("--pairs", action="store_true", help="write shards of pairs, and measure nothing")
    parser.add_argument("--num-steps", type=int, default=12)
    parser.add_argument("--limit", type=int, default=0)
    words = parser.parse_args(argv)
    kinds = tuple(kind for kind in KINDS if kind.name in words.kinds)
    try:
        study(words.model, words.clips, words.output, kinds, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
