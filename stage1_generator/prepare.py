"""`python -m stage1_generator.prepare`: a folder of videos -> face crops, analysis audio and tracks.

Each stretch with one face in one shot becomes an entry (see `entries.py`); what is left out is listed
with its reason. Videos whose content and settings did not change since the last run are passed over.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from common.data.prepared import pack_mask
from common.errors import UserError
from common.face import CropTrack, FaceDetector, FaceTrack, build_detector, track_face
from common.face.crop_rules import crops_by_rule
from common.files import atomic_dir, fingerprint, read_json, remove_partial, sha256_file, write_json
from common.media import (
    LOSSLESS,
    SAMPLE_RATE,
    Frame,
    VideoReader,
    VideoWriter,
    frame_times,
    load_audio,
    probe,
    resample_indices,
    save_flac,
)
from common.models.conventions import CropRule
from common.parallel import run_parallel
from common.progress import StepProgress
from stage1_generator.config import ReferenceFrames, Stage1Config
from stage1_generator.footage.detection import DetectorPool
from stage1_generator.footage.lengths import split_longer
from stage1_generator.footage.offsets import SoundOffsets, shift_sound
from stage1_generator.footage.videos import VideoFile, find_videos
from stage1_generator.footage.voice import frame_levels
from stage1_generator.pairs.reference_frames import VERSION as REFERENCES
from stage1_generator.pairs.reference_frames import nearest_frames
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths

# Raised when the meaning of what is written changes, so that old results are made again.
_VERSION = 2


def main(argv: list[str] | None = None) -> int:
    return run_command("prepare", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    videos = find_videos(config.prepare)
    speakers = {video.speaker for video in videos}
    tracked = sum(video.track is not None for video in videos)
    print(f"prepare: {len(videos)} videos of {len(speakers)} speakers, {tracked} with a track beside them")
    print(f"prepare: crops {config.geometry.crop_size} px at {config.geometry.fps:g} fps")
    print(f"prepare: into {work_paths(config).prepared}")


def run(config: Stage1Config) -> None:
    videos = find_videos(config.prepare)
    folder = work_paths(config).prepared
    for place in (folder, folder / "videos"):
        remove_partial(place)
    progress = StepProgress("prepare", len(videos))
    records: list[dict[str, Any]] = []
    detectors = DetectorPool(config.face)
    offsets = SoundOffsets.read(config.prepare)
    prepare = partial(prepare_video, config=config, detectors=detectors, offsets=offsets)
    for video, (record, worked) in run_parallel(prepare, videos, config.prepare.workers):
        records.append(record)
        for row in record["rejected"]:
            print(f"prepare: left out {video.name}: {row['reason']}", file=sys.stderr)
        progress.step(record["model_frames"] if worked else 0)
    progress.finish(Path(config.work))
    records.sort(key=lambda record: record["video"])
    entries = sorted(entry for record in records for entry in record["entries"])
    rejected = [row for record in records for row in record["rejected"]]
    write_json(folder / "index.json", {"videos": len(records), "entries": entries, "rejected": rejected})
    print(
        f"prepare: {len(entries)} entries, {len(rejected)} left out -> {folder}",
        file=sys.stderr,
    )


def prepare_video(
    video: VideoFile, config: Stage1Config, detectors: DetectorPool, offsets: SoundOffsets
) -> tuple[dict[str, Any], bool]:
    """Prepare one video unless its record says that nothing changed: the record, and whether it was made now.

    A video that cannot be used (no sound, no face, damaged) gives a record without entries, with the reason.
    """
    folder = work_paths(config).prepared
    stats = [[path.stat().st_size, path.stat().st_mtime_ns] for path in video.inputs]
    record_path = folder / "videos" / f"{_slug(video.name)}-{fingerprint(video.name)[:8]}.json"
    old = read_json(record_path) if record_path.is_file() else {}
    offset = offsets.find(video.name)
    settings = _settings(video, config)
    if offset is not None:
        settings["sound"] = [offset.frames, offset.trusted]
    hashes = old["hashes"] if old.get("stats") == stats else [sha256_file(path) for path in video.inputs]
    made_by = fingerprint([settings, hashes])
    if old.get("fingerprint") == made_by and all((folder / name).is_dir() for name in old["entries"]):
        if old["stats"] != stats:
            write_json(record_path, {**old, "stats": stats})
        return old, False
    for name in old.get("entries", []):
        shutil.rmtree(folder / name, ignore_errors=True)
    record: dict[str, Any] = {
        "video": video.name,
        "fingerprint": made_by,
        "hashes": hashes,
        "stats": stats,
        "model_frames": 0,
        "entries": [],
        "rejected": [],
    }
    try:
        if offset is not None and not offset.trusted:
            raise UserError(f"lips and sound fit nowhere well enough (prepare.offsets: {offset.reason})")
        _Preparation(video, config, detectors, record, offset.frames if offset else 0).run()
    except UserError as error:
        record["rejected"].append({"video": video.name, "reason": str(error)})
    write_json(record_path, record)
    return record, True


def _settings(video: VideoFile, config: Stage1Config) -> dict[str, Any]:
    """Everything besides the files' content that decides what is written."""
    geometry, prepare, pairs = config.geometry, config.prepare, config.pairs
    # What was prepared without it stays good for everything else.
    nearest = pairs.reference_frames is ReferenceFrames.landmarks
    return {
        **({"nearest": [REFERENCES, pairs.exclusion_frames]} if nearest else {}),
        **({"crops": prepare.crops} if prepare.crops is not CropRule.head else {}),
        "version": _VERSION,
        "name": video.name,
        "speaker": video.speaker,
        "geometry": [geometry.fps, geometry.crop_size, geometry.crop_scale],
        "face": "box" if video.track else config.face,
        "limits": [prepare.min_seconds, prepare.max_seconds, prepare.max_gap, prepare.min_crop_ratio],
    }


def _slug(name: str) -> str:
    """A short name that is safe in files and as a WebDataset key (no dots)."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", Path(name).stem).strip("-")[:40] or "video"


class _Preparation:
    """One video's two passes: find the face, then cut it out. Frames are streamed in both."""

    def __init__(
        self,
        video: VideoFile,
        config: Stage1Config,
        detectors: DetectorPool,
        record: dict[str, Any],
        sound_offset: int,
    ) -> None:
        self.sound_offset = sound_offset
        self.video, self.config, self.detectors, self.record = video, config, detectors, record
        self.fps = config.geometry.fps
        self.folder = work_paths(config).prepared
        self.times = frame_times(video.path)
        self.indices = resample_indices(self.times, self.fps)
        record["model_frames"] = len(self.indices)

    def run(self) -> None:
        audio = shift_sound(load_audio(self.video.path, SAMPLE_RATE), self.sound_offset, self.fps)
        track = self._track()
        if not track.present.any():
            self._reject(0, len(track.present), "no face was found")
            return
        longest = round(self.config.prepare.max_seconds * self.fps)
        pieces = split_longer(track.segments(1), longest)
        shortest = round(self.config.prepare.min_seconds * self.fps)
        usable: list[tuple[slice, CropTrack, FaceTrack]] = []
        info, geometry = probe(self.video.path), self.config.geometry
        picture = (info.width, info.height)
        for piece in pieces:
            length = piece.stop - piece.start
            if length < shortest:
                self._reject(
                    piece.start, length, f"the face stays for {length} frames, {shortest} are needed"
                )
                continue
            part = track[piece]
            crops = crops_by_rule(self.config.prepare.crops, part, picture, geometry.crop_scale, self.fps)
            least = self.config.prepare.min_crop_ratio * geometry.crop_size
            if crops.size < least:
                self._reject(
                    piece.start, length, f"the face is too small: its crop is {crops.size:.0f} px wide"
                )
                continue
            usable.append((piece, crops, part))
        self._write(usable, audio)

    def _track(self) -> FaceTrack:
        with VideoReader(self.video.path) as reader:
            if self.video.track is None:
                images = _model_frames(reader, self.indices)
                return track_face(images, self._detector(), max_gap=self.config.prepare.max_gap)
            # A track file has one row per source frame, so it must see every one of them.
            images = (frame.image for frame in reader)
            track = track_face(images, self._detector(), max_gap=self.config.prepare.max_gap)
        rows = self.indices
        shots = None if track.shots is None else track.shots[rows]
        return FaceTrack(
            np.arange(len(rows)), track.landmarks[rows], track.boxes[rows], track.present[rows], shots
        )

    def _detector(self) -> FaceDetector:
        if self.video.track is not None:
            return build_detector("box", track_file=str(self.video.track))
        return self.detectors.get()

    def _reject(self, start: int, length: int, reason: str) -> None:
        self.record["rejected"].append(
            {"video": self.video.name, "start": start, "frames": length, "reason": reason}
        )

    def _write(self, usable: list[tuple[slice, CropTrack, FaceTrack]], audio: NDArray[np.float32]) -> None:
        # The name changes with content and settings: whatever was made from other ones can never be mistaken.
        stem = f"{_slug(self.video.name)}-{self.record['fingerprint'][:8]}"
        with VideoReader(self.video.path) as reader:
            images = enumerate(_model_frames(reader, self.indices))
            for piece, crops, part in usable:
                name = f"{stem}-{piece.start:06d}"
                span = (image for _, image in islice(_skip_to(images, piece.start), piece.stop - piece.start))
                with atomic_dir(self.folder / name) as folder:
                    self._write_entry(folder, name, piece, crops, part, span, audio)
                self.record["entries"].append(name)

    def _write_entry(
        self,
        folder: Path,
        name: str,
        piece: slice,
        crops: CropTrack,
        part: FaceTrack,
        images: Iterable[NDArray[np.uint8]],
        audio: NDArray[np.float32],
    ) -> None:
        size = self.config.geometry.crop_size
        count = piece.stop - piece.start
        with VideoWriter(folder / "crop.mkv", size, size, rate=self.fps, encoding=LOSSLESS) as writer:
            for i, image in enumerate(images):
                writer.write(crops.extract(image, i, size))
        first, last = (round(edge * SAMPLE_RATE / self.fps) for edge in (piece.start, piece.stop))
        cut = audio[first:last]
        cut = np.pad(cut, (0, last - first - len(cut)))
        save_flac(folder / "audio.flac", cut, SAMPLE_RATE)
        arrays: dict[str, NDArray[Any]] = {
            "landmarks": np.stack([crops.landmarks(part.landmarks[i], i, size) for i in range(count)]).astype(
                np.float32
            ),
            "boxes": np.stack([_square(crops, i) for i in range(count)]).astype(np.float32),
            "levels": frame_levels(cut, SAMPLE_RATE, self.fps),
            "source_indices": self.indices[piece].astype(np.int64),
        }
        if self.config.pairs.reference_frames is ReferenceFrames.landmarks:
            apart = self.config.pairs.exclusion_frames
            arrays["nearest_frames"] = nearest_frames(arrays["landmarks"], apart)
        occluder = self._occluder(crops, arrays["source_indices"], size)
        if occluder is not None:
            arrays["occluder"] = occluder
        save_file(arrays, folder / "track.safetensors")
        meta = {
            "id": name,
            "fingerprint": fingerprint([self.record["fingerprint"], piece.start, piece.stop]),
            "video": self.video.name,
            "source_sha256": self.record["hashes"][0],
            "speaker": self.video.speaker,
            "offset": piece.start,
            "start_seconds": piece.start / self.fps,
            "frames": count,
            "fps": self.fps,
            "crop_size": size,
            "crop_scale": self.config.geometry.crop_scale,
            "crop_source_pixels": float(crops.size),
            "detector": "box" if self.video.track else self.config.face.detector,
            "occluder": occluder is not None,
        }
        write_json(folder / "meta.json", meta)

    def _occluder(self, crops: CropTrack, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8] | None:
        """The crop's view of the user's occluder mask, (N, S, ceil(S / 8)) packed.

        None without a mask, or where it covers nothing of the crop in any frame.
        """
        if self.video.track is None:
            return None
        with safe_open(self.video.track, framework="numpy") as track:
            if "occluder" not in track.keys():  # noqa: SIM118 - safe_open is no mapping
                return None
            masks = track.get_slice("occluder")
            if masks.get_shape()[0] <= int(rows.max()):
                raise UserError(
                    f"The track '{self.video.track}' has occluder masks for {masks.get_shape()[0]} frames, "
                    f"but frame {int(rows.max())} is needed: write one per frame of the video."
                )
            packed = []
            for i, row in enumerate(rows.tolist()):
                mask = (masks[row : row + 1][0] > 0).astype(np.uint8) * 255
                warped = cv2.warpAffine(mask, crops.matrix(i, size), (size, size), flags=cv2.INTER_LINEAR)
                packed.append(pack_mask(warped[None] > 0)[0])
        masks_in_crop = np.stack(packed)
        return masks_in_crop if masks_in_crop.any() else None


def _model_frames(reader: Iterable[Frame], indices: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The image shown at each model time; source frames are dropped or repeated as `indices` says."""
    wanted = iter(indices.tolist())
    target = next(wanted, None)
    for frame in reader:
        while target is not None and target == frame.index:
            yield frame.image
            target = next(wanted, None)
        if target is None:
            return


def _skip_to(
    images: Iterator[tuple[int, NDArray[np.uint8]]], start: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for index, image in images:
        if index >= start:
            yield index, image


def _square(crops: CropTrack, i: int) -> NDArray[np.float32]:
    """The crop square in source pixels, xyxy."""
    x, y = crops.centers[i]
    half = crops.sizes[i] / 2
    return np.array([x - half, y - half, x + half, y + half], np.float32)


if __name__ == "__main__":
    sys.exit(main())
