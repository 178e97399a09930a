"""How long everything around the model takes, part by part, beside the usual way of dubbers in the same run.

    python tools/bench/media_bench.py VIDEO [--frames 100] [--json FILE]

The video is enlarged to 1920x1080 first; a blurred copy fills the sides of one of another shape. Parts are
timed one after the other in this process: seconds of CPU time of all threads, and of the clock; the model is
a constant change of the crop. "whole" is a dub without a model as users run it: parts beside each other,
decoding in processes of its own, pieces joined; clock only.
A last table says what face landmarks on every k-th frame, with straight lines between, would cost in
steadiness.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent.parent):  # also runs from a checkout that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from bench_arguments import positive  # noqa: E402
from peers_media import frames_to_png, put_back, read_pngs, warp  # noqa: E402

from common.face import CropTrack, FaceTrack, build_detector, plan_crops  # noqa: E402
from common.face.people import track_faces  # noqa: E402
from common.media import Frame, VideoReader, VideoWriter, save_wav  # noqa: E402
from common.media.following import following  # noqa: E402
from common.media.samples import with_change  # noqa: E402
from stage2_dubber.dub.compositing.blending import border_alpha  # noqa: E402
from stage2_dubber.dub.editing.edit import Edit  # noqa: E402
from stage2_dubber.dub.faces.follow import follow_face  # noqa: E402
from stage2_dubber.dub.inputs import check_request  # noqa: E402
from stage2_dubber.dub.job import composited_frames, plan_followed  # noqa: E402
from stage2_dubber.dub.outputs import write_outputs  # noqa: E402
from stage2_dubber.dub.request import DubRequest  # noqa: E402

SIZE = (1920, 1080)
CROP = 256
CHANGE = 20
PARTS = ("decode", "track", "crop", "composite", "encode")
SKIPS = (2, 3, 5)


class PartTimes:
    """(CPU seconds, seconds) by name of the part."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time(), time.perf_counter()
        found = work()
        self.parts[name] = (time.process_time() - start[0], time.perf_counter() - start[1])
        return found


class ConstantEditor:
    """In the place of the model."""

    crop_size = CROP
    fps = 25.0

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        for crop in crops:
            yield Edit(np.clip(crop.astype(np.int16) + CHANGE, 0, 255).astype(np.uint8))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=positive, default=100)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        report = bench(chosen.video, chosen.frames, Path(name))
    print_report(report)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def bench(video: Path, frames: int, work: Path) -> dict[str, Any]:
    """All measurements; seconds."""
    clip, count, seconds = _scaled(video, work, frames)
    ours, track, pictures = _ours(clip, work)
    peers = _peers(clip, work, count, pictures, plan_crops(track))
    start = time.perf_counter()
    _whole(clip, work)
    return {
        "frames": count,
        "seconds": seconds,
        "square": float(np.nanmedian(plan_crops(track).sizes)),
        "ours": ours.parts,
        "peers": peers.parts,
        "whole": time.perf_counter() - start,
        "skips": {every: _unsteadiness(track, every) for every in SKIPS},
    }


def _scaled(video: Path, work: Path, frames: int) -> tuple[Path, int, float]:
    path = work / "clip.mp4"
    with VideoReader(video) as reader, VideoWriter(path, *SIZE, rate=25) as writer:
        for frame in reader.frames(0, frames):
            writer.write(fitted(frame.image))
        count = min(frames, len(reader))
    return path, count, float(count / Fraction(25))


def fitted(image: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) of any shape in one of 1080 lines, faces in their own proportions.

    The whole of it, as large as fits, before a blurred copy that fills the rest, as television shows them.
    """
    (width, height), (own_width, own_height) = SIZE, image.shape[1::-1]
    scale = min(width / own_width, height / own_height)
    whole = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:height, :width]
    if whole.shape[:2] == (height, width):
        return np.asarray(whole)
    filled = cv2.GaussianBlur(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), (0, 0), 20)
    top, left = (height - whole.shape[0]) // 2, (width - whole.shape[1]) // 2
    filled[top : top + whole.shape[0], left : left + whole.shape[1]] = whole
    return np.asarray(filled)


def _ours(clip: Path, work: Path) -> tuple[PartTimes, FaceTrack, list[Frame]]:
    clock = PartTimes()

    def decoded() -> Iterator[Frame]:
        # An open file is decoded in this process, whose time is taken.
        with clip.open("rb") as file:
            yield from VideoReader(file, samples=True)

    clock.time("decode", lambda: _dropped(decoded()))
    frames = list(decoded())
    with VideoReader(clip) as reader:
        info = reader.info
    detector = build_detector("mediapipe")
    found = clock.time("track", lambda: track_faces((frame.image for frame in frames), detector))
    track = found.track(range(len(found.stretches)))
    seen = np.flatnonzero(track.present).tolist()

    def cut() -> tuple[CropTrack, dict[int, np.ndarray]]:
        crops = plan_crops(track)
        return crops, {i: crops.extract(frames[i].image, i, CROP) for i in seen}

    crops, before = clock.time("crop", cut)
    alpha, change = border_alpha(CROP), np.full((CROP, CROP, 3), CHANGE, np.float32)

    def composited() -> Iterator[Any]:
        for i in before:
            image = crops.add(frames[i].image, change, alpha, i)
            yield with_change(frames[i].samples, frames[i].image, image, info.colour)

    clock.time("composite", lambda: _dropped(composited()))
    edited = list(composited())
    encoding, _ = following(info, ".mp4")

    def encode() -> None:
        with VideoWriter(work / "ours.mp4", *SIZE, rate=25, like=info, encoding=encoding) as writer:
            for picture in edited:
                writer.write(picture)

    clock.time("encode", encode)
    return clock, track, frames


def _dropped(items: Iterator[Any]) -> None:
    """Make them all, and let go of each at once, as a dub does: new memory takes as long as a picture."""
    deque(items, maxlen=0)


def _peers(clip: Path, work: Path, count: int, frames: list[Frame], crops: CropTrack) -> PartTimes:
    clock = PartTimes()
    sources, results = work / "png", work / "done"
    for folder in (sources, results):
        folder.mkdir()
    files = clock.time("decode", lambda: frames_to_png(clip, sources, count))
    detector = build_detector("mediapipe")
    clock.time("track", lambda: [detector.detect(picture) for picture in read_pngs(files)])
    seen = np.flatnonzero(np.isfinite(crops.sizes)).tolist()
    forward = {i: crops.matrix(i, CROP) for i in seen}

    def cut() -> dict[int, np.ndarray]:
        pictures = list(read_pngs([files[i] for i in seen]))
        backward = [np.asarray(cv2.invertAffineTransform(forward[i]), np.float64) for i in seen]
        return {
            i: warp(picture, matrix, (CROP, CROP))
            for i, picture, matrix in zip(seen, pictures, backward, strict=True)
        }

    before = clock.time("crop", cut)
    alpha = border_alpha(CROP)

    def composite() -> None:
        for i, picture in zip(seen, read_pngs([files[i] for i in seen]), strict=True):
            done = put_back(picture, before[i] + CHANGE, alpha, forward[i])
            cv2.imwrite(str(results / files[i].name), done[..., ::-1])

    clock.time("composite", composite)

    def encode() -> None:
        with VideoWriter(work / "peers.mp4", *SIZE, rate=25) as writer:
            for picture in read_pngs([results / files[i].name for i in seen]):
                writer.write(picture)

    clock.time("encode", encode)
    return clock


def _whole(clip: Path, work: Path) -> None:
    save_wav(work / "speech.wav", np.zeros(16000, np.float32))
    request = DubRequest(clip, work / "speech.wav", work / "whole.mp4", face="largest")
    inputs = check_request(request)
    followed = follow_face(request, lambda *_: None)
    plan = plan_followed(request.video, followed, 1.45, 25.0)
    features = np.zeros((1, 4), np.float32)
    write_outputs(request, inputs, plan, composited_frames(clip, plan, ConstantEditor(), features))


def _unsteadiness(track: FaceTrack, every: int) -> dict[str, float]:
    """How far landmarks on straight lines between every k-th frame are from those of all frames, % of the
    face's width: all points, the lips, and the middle of the crop.
    """
    seen = np.flatnonzero(track.present)
    points = track.landmarks[seen].astype(np.float64)
    known = np.unique(np.append(np.arange(0, len(seen), every), len(seen) - 1))
    flat = points.reshape(len(points), -1)
    lines = np.stack([np.interp(np.arange(len(points)), known, row[known]) for row in flat.T], axis=1)
    guessed = lines.reshape(points.shape)
    width = float(np.median(np.ptp(points[:, :, 0], axis=1)))
    off = np.linalg.norm(guessed[..., :2] - points[..., :2], axis=-1) / width * 100
    every_landmark = track.landmarks.copy()
    every_landmark[seen] = guessed
    other = replace(track, landmarks=every_landmark)
    moved = np.linalg.norm(plan_crops(other).centers[seen] - plan_crops(track).centers[seen], axis=-1)
    rms = {"all": off, "lips": off[:, 48:], "crop": moved / width * 100}
    return {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in rms.items()}


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    length = report["seconds"]
    print(
        f"{report['frames']} frames of {SIZE[0]}x{SIZE[1]}, {length:.2f} s at 25 frames/s; "
        f"the crop's square has {report['square']:.0f} pixels"
    )
    print(f"{'':10} {'ours: CPU s':>12} {'clock s':>9} {'peers: CPU s':>13} {'clock s':>9} {'ratio CPU':>10}")
    sides = {
        side: {**report[side], "all": [sum(report[side][part][kind] for part in PARTS) for kind in (0, 1)]}
        for side in ("ours", "peers")
    }
    for part in (*PARTS, "all"):
        ours, peers = sides["ours"][part], sides["peers"][part]
        print(
            f"{part:10} {ours[0]:12.2f} {ours[1]:9.2f} {peers[0]:13.2f} {peers[1]:9.2f} "
            f"{peers[0] / max(ours[0], 1e-9):10.1f}"
        )
    print(
        f"CPU time of all parts on two cores: {2 * length / ours[0]:.2f} x real time, peers "
        f"{2 * length / peers[0]:.2f} x"
    )
    print(f"whole, by the clock: {report['whole']:.2f} s, {length / report['whole']:.2f} x real time")
    for every, off in report["skips"].items():
        print(
            f"landmarks on every {every}. frame: off by {off['all']:.2f} % of the face's width, lips "
            f"{off['lips']:.2f} %, middle of the crop {off['crop']:.3f} % (RMS)"
        )


if __name__ == "__main__":
    sys.exit(main())
