"""Show which metric sees which failure, on rendered characters, where the perfect dub is known.

``python tools/metric_matrix.py --clips DIR [--output FILE.md]``

DIR holds what ``python -m common.rendered --pairs`` wrote. The clip b of a pair is the perfect dub
of its clip a. Every metric is taken from it as it is and with each failure of evaluation.corruptions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from common.errors import EXIT_CODE, UserError
from common.face import CropTrack, build_detector, plan_crops, track_face
from common.files import atomic_path, read_json
from common.media import load_audio, read_frames, write_video
from common.rendered.measure import opening_curves
from common.rendered.scene import sample_scene
from evaluation.dubbed_clip import RATE, SIZE, Curve, DubbedClip, Footage, Frames
from evaluation.metrics.base import Measure
from evaluation.native import as_curves, measure_frame, square_of
from evaluation.regions import COVERED, face_regions
from evaluation.sensitivity import build_sensitivity, markdown


def perfect_dub(folder: Path, name: str, size: int = SIZE) -> DubbedClip:
    """The dub that answers a rendered pair: source a, truth b, speech b; made is b, encoded once more.

    Every dub that is measured has been through an encoder; without, it would be infinitely near the truth.
    Openings of source and made are measured in the pictures, those of truth and driver are drawn.
    """
    side = read_json(folder / f"{name}.json")
    videos = {letter: folder / side["clips"][letter]["video"] for letter in "ab"}
    tracks = {letter: load_file(folder / f"{name}_{letter}.track.safetensors") for letter in "ab"}
    frames = {letter: read_frames(path) for letter, path in videos.items()}
    with tempfile.TemporaryDirectory() as work:
        write_video(Path(work) / "made.mp4", frames["b"], rate=RATE)
        frames["made"] = read_frames(Path(work) / "made.mp4")
    detector = build_detector("box", track_file=folder / f"{name}_a.track.safetensors")
    crops = plan_crops(track_face(frames["a"], detector))
    count = len(frames["a"])
    cut = {k: np.stack([crops.extract(v[i], i, size) for i in range(count)]) for k, v in frames.items()}
    landmarks = {
        k: np.stack([crops.landmarks(tracks[k]["landmarks"][i], i, size) for i in range(count)]) for k in "ab"
    }
    scene = sample_scene(
        side["scene_seed"], style=side["style"], occluder=side["occluder"], size=frames["a"].shape[1]
    )
    matrices = [crops.matrix(i, size) for i in range(count)]
    seen = opening_curves(scene, [list(cut["a"]), list(cut["made"])], matrices)
    speech = load_audio(videos["b"])
    drawn = tracks["b"]["opening"].astype(np.float64)

    def footage(version: str, opening: NDArray[np.float64], sound: NDArray[np.float32]) -> Footage:
        native = _native(
            frames[version], None if version == "a" else frames["a"], crops, tracks["a"]["landmarks"]
        )
        points = landmarks["a" if version == "a" else "b"]
        return Footage(cut[version], points.astype(np.float32), opening, native, sound)

    alpha = tracks["a"]["occluder"]
    covered = [
        crops.extract(np.repeat(alpha[i, ..., None], 3, axis=2), i, size)[..., 0] for i in range(count)
    ]
    occluder = np.stack(covered) > COVERED
    return DubbedClip(
        name=name,
        kind="cross",
        source=footage("a", seen[0], load_audio(videos["a"])),
        made=footage("made", seen[1], speech),
        regions=face_regions(landmarks["a"], landmarks["b"], size, occluder if occluder.any() else None),
        speech=speech,
        truth=footage("b", drawn, speech),
        driver_opening=drawn,
    )


def _native(
    frames: Frames, reference: Frames | None, crops: CropTrack, landmarks: NDArray[np.float32]
) -> dict[str, Curve]:
    """Numbers at the video's own size, against the source; those of the source itself without reference."""
    return as_curves(
        [
            measure_frame(
                image, square_of(crops, i), landmarks[i], None if reference is None else reference[i]
            )
            for i, image in enumerate(frames)
        ]
    )


def rendered_dubs(folder: Path, limit: int = 0, size: int = SIZE) -> list[DubbedClip]:
    """All pairs of a folder as perfect dubs.

    Raises:
        UserError: fewer than two pairs.
    """
    names = sorted(p.stem for p in folder.glob("*.json") if "b" in read_json(p).get("clips", {}))
    chosen = names[: limit or None]
    if len(chosen) < 2:
        raise UserError(
            f"{folder}: {len(chosen)} of its {len(names)} rendered pairs are to be used, but at least two "
            "are needed: raise --limit or make more with python -m common.rendered --pairs."
        )
    return [perfect_dub(folder, name, size) for name in chosen]


def usual_measures() -> Sequence[Measure]:
    """All measures that need no weights but the repository's own."""
    # Not at the top: the tool's parts serve without all metrics' libraries.
    from evaluation.registry import load_measures

    return load_measures().clip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show which metric sees which failure.")
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered pairs")
    parser.add_argument("--output", type=Path, help="Markdown file; default: print")
    parser.add_argument("--limit", type=int, default=0, help="so many pairs at most, two or more")
    parser.add_argument("--size", type=int, default=SIZE, help=f"side of the crops (default {SIZE})")
    arguments = parser.parse_args(argv)
    try:
        clips = rendered_dubs(arguments.clips, arguments.limit, arguments.size)
        text = markdown(build_sensitivity(clips, usual_measures()))
        if arguments.output is None:
            print(text, end="")
        else:
            with atomic_path(arguments.output) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
