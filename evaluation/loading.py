"""From the files of a manifest's row to a :class:`DubbedClip`.

What no system changes (source, truth, speech and the mouth it came from) is read once per row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face import FaceDetector, build_detector, mouth_opening, track_face
from common.face.track import load_arrays
from common.media import SAMPLE_RATE, VideoReader, load_audio, probe, resample_indices
from evaluation.dubbed_clip import RATE, SIZE, Curve, DubbedClip, FaceRegions, Footage, Mask
from evaluation.manifest import Case
from evaluation.metrics.sound import is_generated
from evaluation.regions import COVERED, face_regions
from evaluation.rendered_mouths import RenderedMouths, load_scene
from evaluation.source_track import LONGEST, CutFootage, SourceTrack, cut_footage, track_source

LENGTH_TOLERANCE = 0.1  # seconds; two and a half frames


@dataclass(frozen=True)
class PreparedCase:
    """What no system changes.

    Attributes:
        case: the row.
        source_track: where the face is.
        source, truth: as in DubbedClip; truth None where there is none.
        regions, speech, driver_opening: as in DubbedClip.
        mouths: of a drawn character, what its mouths are measured by.
        notes: sentences on what was odd.
    """

    case: Case
    source_track: SourceTrack
    source: Footage
    truth: Footage | None
    regions: FaceRegions
    speech: NDArray[np.float32]
    driver_opening: Curve | None
    mouths: RenderedMouths | None
    notes: tuple[str, ...]


class CaseLoader:
    """Reads rows and dubs. The face detector for crops is made once: loading it takes seconds."""

    def __init__(self) -> None:
        self._detector = build_detector("mediapipe")

    def prepare(self, case: Case) -> PreparedCase:
        """Read what no system changes.

        Raises:
            UserError: a file is damaged, or no face is found in the source.
        """
        source_track = track_source(case.video, self._finder(case.track), LONGEST)
        notes = []
        if len(source_track) == LONGEST:
            notes.append(f"Only the first {LONGEST / RATE:g} s are measured.")
        mouths = (
            RenderedMouths(load_scene(case.scene), source_track.matrices) if case.scene is not None else None
        )
        source = self._version(source_track, mouths, case.video).footage
        same = case.truth is not None and case.truth.resolve() == case.video.resolve()
        truth = source if same else None
        if case.truth is not None and not same:
            truth = self._version(source_track, mouths, case.truth).footage
        return PreparedCase(
            case,
            source_track,
            source,
            truth,
            self._regions(case, source_track, truth),
            _speech(case, len(source_track)),
            self._driver(case, source),
            mouths,
            tuple(notes),
        )

    def load_dub(
        self,
        prepared: PreparedCase,
        dub: Path,
        seams: tuple[float, ...] = (),
        first_dub: Path | None = None,
    ) -> tuple[DubbedClip, tuple[str, ...]]:
        """Read a system's answer.

        Args:
            seams: seconds at which the system's windows begin.
            first_dub: of a cycle row.

        Returns:
            the clip, and sentences on what was odd.

        Raises:
            UserError: the dub is damaged.
        """
        case, source_track = prepared.case, prepared.source_track
        made = self._version(source_track, prepared.mouths, dub)
        notes = list(prepared.notes + made.notes)
        missing = source_track.info.duration - made.footage.seconds
        if abs(missing) > LENGTH_TOLERANCE:
            word = "shorter" if missing > 0 else "longer"
            notes.append(f"The dub is {abs(missing):.2f} s {word} than its source.")
        first = None
        if first_dub is not None:
            first = self._version(source_track, prepared.mouths, first_dub).footage
        frames = tuple(round(seam * RATE) for seam in seams)
        clip = DubbedClip(
            case.name,
            case.kind.value,
            prepared.source,
            made.footage,
            prepared.regions,
            prepared.speech,
            prepared.truth,
            prepared.driver_opening,
            frames,
            first,
            case.text,
        )
        if is_generated(clip):
            # The driver's lips say other sounds than those that are heard.
            clip = replace(clip, driver_opening=None)
        versions = (prepared.source, prepared.truth, made.footage, first)
        return _cut_to(clip, min(len(v) for v in versions if v is not None)), tuple(notes)

    def _finder(self, track: Path | None) -> FaceDetector:
        return build_detector("box", track_file=track) if track is not None else self._detector

    def _version(self, source_track: SourceTrack, mouths: RenderedMouths | None, path: Path) -> CutFootage:
        version = cut_footage(source_track, path, self._detector)
        if mouths is None:
            return version
        # Of a drawn character the very mouths are known: no detector trained on photographs comes near.
        opening = mouths.openings(version.footage.crops)
        return replace(version, footage=replace(version.footage, opening=opening))

    def _regions(self, case: Case, source_track: SourceTrack, truth: Footage | None) -> FaceRegions:
        points = truth.landmarks if truth is not None else None
        return face_regions(source_track.crop_points, points, SIZE, _occluder(case, source_track))

    def _driver(self, case: Case, source: Footage) -> Curve | None:
        """(N,) opening of the mouth that the speech came from."""
        if case.audio is None:
            return None
        late = round(case.sound_delay * RATE)
        if case.audio.resolve() == case.video.resolve():
            return _of_length(_delayed(source.opening, late), len(source))
        known = _tracked(case.audio_track, "opening")
        if known is not None:
            return _of_length(_delayed(known.astype(np.float64), late), len(source))
        if not has_picture(case.audio):
            return None
        with VideoReader(case.audio) as reader:
            shown = resample_indices(reader.times(), RATE)
            images = (frame.image for frame in reader)
            track = track_face(images, self._finder(case.audio_track))
        if not track.present.any():
            return None
        return _of_length(_delayed(mouth_opening(track.landmarks)[shown], late), len(source))


def has_picture(path: Path) -> bool:
    """Whether a sound file is a video."""
    try:
        probe(path)
    except UserError:
        return False
    return True


def _speech(case: Case, frames: int) -> NDArray[np.float32]:
    samples = round(frames * SAMPLE_RATE / RATE)
    if case.audio is None:
        return np.zeros(samples, np.float32)
    sound = load_audio(case.audio, SAMPLE_RATE)[:samples]
    return np.pad(sound, (0, samples - len(sound)))


def _delayed(curve: Curve, frames: int) -> Curve:
    """Later by so many frames, earlier where negative; what comes in is unknown."""
    return np.pad(curve[max(0, -frames) :], (max(0, frames), 0), constant_values=np.nan)


def _of_length(curve: Curve, count: int) -> Curve:
    """Cut, or continued by unknown values."""
    return np.pad(curve[:count], (0, max(0, count - len(curve))), constant_values=np.nan)


def _tracked(track: Path | None, name: str) -> NDArray | None:
    """An array that a track file holds besides the face; JSON tracks hold none."""
    if track is None or track.suffix != ".safetensors":
        return None
    return load_arrays(track, (name,)).get(name)


def _occluder(case: Case, source_track: SourceTrack) -> Mask | None:
    alpha = _tracked(case.track, "occluder")
    if alpha is None:
        return None
    cut = [
        source_track.squares.extract(np.repeat(alpha[i, ..., None], 3, axis=2), int(i), SIZE)[..., 0]
        > COVERED
        for i in source_track.shown
    ]
    return np.stack(cut)


def _cut_to(clip: DubbedClip, count: int) -> DubbedClip:
    """All versions as far as the shortest goes."""
    regions = clip.regions
    return replace(
        clip,
        source=_head(clip.source, count),
        made=_head(clip.made, count),
        truth=_head(clip.truth, count) if clip.truth is not None else None,
        first_dub=_head(clip.first_dub, count) if clip.first_dub is not None else None,
        regions=FaceRegions(
            regions.mouth[:count],
            regions.face[:count],
            regions.background[:count],
            None if regions.occluder is None else regions.occluder[:count],
        ),
        speech=clip.speech[: round(count * SAMPLE_RATE / RATE)],
        driver_opening=None if clip.driver_opening is None else clip.driver_opening[:count],
    )


def _head(footage: Footage, count: int) -> Footage:
    return replace(
        footage,
        crops=footage.crops[:count],
        landmarks=footage.landmarks[:count],
        opening=footage.opening[:count],
        native={name: values[:count] for name, values in footage.native.items()},
    )
