"""Measure both stages on rendered characters, where the truth is known.

``python tools/evaluate_rendered.py --clips DIR --editor PACKAGE [--generator PACKAGE] --output DIR``

DIR holds what ``python -m common.rendered --pairs`` wrote. Each clip a is dubbed with the speech of
its clip b; clip b is the true answer. Nothing is composited: what is measured is the model's own crop. The
stage-1 generator is given the same task as a dubber would have it, without knowing the occluders.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from common.autoencoder.pixels import to_video
from common.diffusion.options import SamplingOptions
from common.errors import EXIT_CODE, UserError
from common.face import build_detector, lip_mask, plan_crops, track_face
from common.files import read_json, write_json
from common.geometry import ceil_clip_length
from common.media import contact_sheet, load_audio, read_frames
from common.psnr import psnr_of_mse
from common.rendered.measure import opening_curves
from common.rendered.scene import Scene, sample_scene
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from common.speech.windows import clip_features
from common.sync_expert.model import SyncExpert, SyncScore, load_expert, offset_scores
from evaluation.systems.generator import Inpainter
from stage1_generator.companions.masks import clip_masks, grow_mask
from stage1_generator.companions.scores import sharpness_ratio
from stage2_dubber.dub.pipeline import DubPipeline

Frames = NDArray[np.uint8]
FEWEST_OCCLUDED_PIXELS = 200


@dataclass(frozen=True)
class HeldOutCharacter:
    """One held-back character. Frames are crops (N, S, S, 3); masks (N, S, S) bool."""

    name: str
    scene: Scene
    source: Frames
    truth: Frames
    matrices: list[NDArray[np.float64]]
    landmarks: NDArray[np.float32]
    mouth: NDArray[np.bool_]
    occluder: NDArray[np.bool_]
    opening_source: NDArray[np.float32]
    opening_truth: NDArray[np.float32]
    speech: NDArray[np.float32]
    own_speech: NDArray[np.float32]


@dataclass
class Scores:
    """One system on one clip. PSNR in dB against the true video; r: Pearson, of mouth-opening curves.

    sharpness: Laplacian variance of the mouth over the true one's. sync: mean cosine of a sync expert at no
    shift, and the shift in frames that it likes best; None without an expert.
    """

    mouth_r: float
    psnr_outside_db: float
    psnr_mouth_db: float
    occluder_psnr_db: float | None
    sharpness: float
    sync: float | None
    sync_offset: int | None
    seconds: float


def load_case(folder: Path, name: str, size: int, scale: float) -> HeldOutCharacter:
    side = read_json(folder / f"{name}.json")
    videos = {letter: folder / side["clips"][letter]["video"] for letter in "ab"}
    tracks = {letter: load_file(folder / f"{name}_{letter}.track.safetensors") for letter in "ab"}
    frames = {letter: read_frames(path) for letter, path in videos.items()}
    detector = build_detector("box", track_file=folder / f"{name}_a.track.safetensors")
    crops = plan_crops(track_face(frames["a"], detector), scale=scale)
    count = len(frames["a"])
    cut = {k: np.stack([crops.extract(v[i], i, size) for i in range(count)]) for k, v in frames.items()}
    points = {
        k: np.stack([crops.landmarks(tracks[k]["landmarks"][i], i, size) for i in range(count)]) for k in "ab"
    }
    lips = np.asarray(lip_mask(points["a"], size)) | np.asarray(lip_mask(points["b"], size))
    alpha = tracks["a"]["occluder"]
    covered = np.stack(
        [crops.extract(np.repeat(alpha[i, ..., None], 3, axis=2), i, size)[..., 0] for i in range(count)]
    )
    return HeldOutCharacter(
        name=name,
        scene=sample_scene(
            side["scene_seed"], style=side["style"], occluder=side["occluder"], size=frames["a"].shape[1]
        ),
        source=cut["a"],
        truth=cut["b"],
        matrices=[crops.matrix(i, size) for i in range(count)],
        landmarks=points["a"].astype(np.float32),
        mouth=grow_mask(lips, max(1, round(0.02 * size))),
        occluder=covered > 240,
        opening_source=tracks["a"]["opening"],
        opening_truth=tracks["b"]["opening"],
        speech=load_audio(videos["b"]),
        own_speech=load_audio(videos["a"]),
    )


def masked_psnr(made: Frames, truth: Frames, where: NDArray[np.bool_]) -> float:
    """PSNR in dB over the pixels of a mask (N, S, S)."""
    error = (made[where].astype(np.float64) - truth[where]) ** 2
    return psnr_of_mse(max(float(error.mean()), 1e-9))


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    if len(a) < 2 or np.std(a) < 1e-6 or np.std(b) < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


class CaseSync:
    """Sync of a case by a sync expert. Never the one that a training's loss used."""

    REACH = 5

    def __init__(self, expert: SyncExpert, speech: SpeechEncoder) -> None:
        """Raises UserError where the expert hears other features than ``speech`` makes."""
        if expert.speech and expert.speech != speech.fingerprint:
            raise UserError("--expert was trained on another speech encoder's features: name another expert.")
        self.expert, self.speech = expert.eval(), speech

    def __call__(self, case: HeldOutCharacter, made: Frames) -> tuple[float, int]:
        """(cosine at no shift, best shift in frames)."""
        features = clip_features(self.speech.encode(case.speech), 0, len(made), self.REACH)
        video = to_video(made[None])[0]
        scores = offset_scores(self.expert, video, torch.as_tensor(features), self.REACH, self.REACH)
        found = SyncScore.of(scores)
        return found.score, found.offset


def score(case: HeldOutCharacter, made: Frames, seconds: float, sync_of: CaseSync | None = None) -> Scores:
    (curve,) = opening_curves(case.scene, [list(made)], case.matrices)
    seen = np.isfinite(curve)  # where an occluder hides the mouth nobody can know
    # Only where the generator paints: every system keeps occluders elsewhere.
    inside = case.occluder & clip_masks(case.landmarks, made.shape[1]).lower_face
    enough = int(inside.sum()) >= FEWEST_OCCLUDED_PIXELS
    sync, offset = sync_of(case, made) if sync_of is not None else (None, None)
    return Scores(
        mouth_r=correlation(curve[seen], case.opening_truth[seen]),
        psnr_outside_db=masked_psnr(made, case.truth, ~case.mouth),
        psnr_mouth_db=masked_psnr(made, case.truth, case.mouth),
        occluder_psnr_db=masked_psnr(made, case.truth, inside) if enough else None,
        sharpness=sharpness_ratio(case.truth, made, case.mouth),
        sync=sync,
        sync_offset=offset,
        seconds=seconds,
    )


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over clips: of the editor under plain names, of the generator beside them."""

    def column(system: str, name: str) -> list[float]:
        return [row[system][name] for row in rows if row.get(system) and row[system][name] is not None]

    clear = [row for row in rows if row["occluder"] == "none"]
    return {
        "clips": len(rows),
        "mouth_r": mean(column("stage2", "mouth_r")),
        "mouth_r_unoccluded": mean([row["stage2"]["mouth_r"] for row in clear]),
        "mouth_r_input": mean([row["mouth_r_input"] for row in rows]),
        "mouth_r_stage1": mean(column("stage1", "mouth_r")),
        "psnr_outside_db": mean(column("stage2", "psnr_outside_db")),
        "psnr_outside_stage1_db": mean(column("stage1", "psnr_outside_db")),
        "psnr_outside_autoencoder_db": mean([row["autoencoder_psnr_outside_db"] for row in rows]),
        "psnr_mouth_db": mean(column("stage2", "psnr_mouth_db")),
        "psnr_mouth_input_db": mean([row["psnr_mouth_input_db"] for row in rows]),
        "occluder_psnr_stage1_db": mean(column("stage1", "occluder_psnr_db")),
        "occluder_psnr_stage2_db": mean(column("stage2", "occluder_psnr_db")),
        "occluded_clips": len(column("stage2", "occluder_psnr_db")),
        "sharpness": mean(column("stage2", "sharpness")),
        "sharpness_autoencoder": mean([row["autoencoder_sharpness"] for row in rows]),
        "sync": mean(column("stage2", "sync")),
        "sync_truth": mean([row["sync_truth"] for row in rows if row["sync_truth"] is not None]),
        "sync_input": mean([row["sync_input"] for row in rows if row["sync_input"] is not None]),
        "sync_at_0": mean([float(abs(x) <= 1) for x in column("stage2", "sync_offset")]),
        "seconds": mean(column("stage2", "seconds")),
    }


def evaluate(
    clips: Path,
    editor: Path,
    generator: Path | None,
    output: Path,
    limit: int = 0,
    expert: Path | None = None,
    sampling: SamplingOptions | None = None,
) -> dict[str, Any]:
    """Dub every pair of ``clips``; writes evaluation.json and sheet.png, returns the summary.

    Raises:
        UserError: there is no pair, or a package does not load.
    """
    pipeline = DubPipeline.from_pretrained(editor)
    geometry = pipeline.package.info.geometry
    first = Inpainter(generator) if generator else None
    sync_of = None
    if expert is not None:
        sync_of = CaseSync(load_expert(expert), build_speech_encoder(pipeline.package.info.speech))
    names = sorted(p.stem for p in clips.glob("*.json") if "b" in read_json(p).get("clips", {}))
    if not names:
        raise UserError(f"{clips}: holds no rendered pair; make some with common.rendered --pairs.")
    names = names[: limit or None]
    rows: list[dict[str, Any]] = []
    sheet: list[tuple[str, Frames]] = []
    for number, name in enumerate(names):
        case = load_case(clips, name, geometry.crop_size, geometry.crop_scale)
        started = time.monotonic()
        edited = pipeline.edit_crops(case.source, case.speech, sampling=sampling, own_audio=case.own_speech)
        scores = score(case, edited, time.monotonic() - started, sync_of)
        ceiling = reconstruct(pipeline, case.truth)
        row: dict[str, Any] = {
            "name": name,
            "style": case.scene.style.name,
            "occluder": case.scene.occluder.kind if case.scene.occluder else "none",
            "mouth_r_input": correlation(case.opening_source, case.opening_truth),
            "psnr_mouth_input_db": masked_psnr(case.source, case.truth, case.mouth),
            "autoencoder_psnr_outside_db": masked_psnr(ceiling, case.truth, ~case.mouth),
            "autoencoder_sharpness": sharpness_ratio(case.truth, ceiling, case.mouth),
            "sync_truth": sync_of(case, case.truth)[0] if sync_of is not None else None,
            "sync_input": sync_of(case, case.source)[0] if sync_of is not None else None,
            "stage2": asdict(scores),
        }
        lines = [("source", case.source), ("truth", case.truth)]
        if first is not None:
            started = time.monotonic()
            features = first.speech.encode(case.speech)
            painted = first(case.name, case.source, case.landmarks, features)
            row["stage1"] = asdict(score(case, painted, time.monotonic() - started, sync_of))
            lines.append(("stage 1", painted))
        lines.append(("stage 2", edited))
        sheet += [(f"{name} {label}", frames) for label, frames in lines]
        rows.append(row)
        print(
            f"[{number + 1}/{len(names)}] {name} {row['style']} {row['occluder']}: r {scores.mouth_r:.2f} "
            f"(input {row['mouth_r_input']:.2f}), outside {scores.psnr_outside_db:.1f} dB",
            file=sys.stderr,
            flush=True,
        )
    result = summary(rows)
    write_json(output / "evaluation.json", {"summary": result, "clips": rows})
    contact_sheet(sheet, output / "sheet.png", columns=14)
    return result


def reconstruct(pipeline: DubPipeline, frames: Frames) -> Frames:
    """What the autoencoder alone makes of the truth: the ceiling of every score in crop pixels."""
    count = len(frames)
    padded = frames[np.minimum(np.arange(ceil_clip_length(count, pipeline.info.frame_stride)), count - 1)]
    codec = pipeline.package.codec
    return np.asarray(codec.decode_frames(codec.encode_frames(padded[None]))[0][:count])


def read_options(words: list[str]) -> SamplingOptions:
    """Options of the sampler from NAME=VALUE. Raises UserError for one that there is not, or a bad value."""
    kinds, values = SamplingOptions.types(), {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            values[name] = kinds[name](value)
        except (KeyError, ValueError) as error:
            raise UserError(f"--option {word} cannot be read; known are {', '.join(kinds)}.") from error
    return SamplingOptions(**values)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure both stages on rendered characters.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--editor", type=Path, required=True)
    parser.add_argument("--generator", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--expert", type=Path, help="sync expert that no training's loss used")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the sampler, such as num_steps=4 or start_from=inversion; once per option",
    )
    arguments = parser.parse_args(argv)
    try:
        result = evaluate(
            arguments.clips,
            arguments.editor,
            arguments.generator,
            arguments.output,
            arguments.limit,
            arguments.expert,
            read_options(arguments.option),
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    for key, value in result.items():
        print(f"{key:28s} {value if value is None or isinstance(value, int) else round(value, 3)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
