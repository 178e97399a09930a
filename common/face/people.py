"""All faces of a clip, each followed for as long as it stays in a shot, and who is the same person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from common.face.jumps import repair
from common.face.looks import Looks, looks_apart
from common.face.pose import fit_pose
from common.face.rows import Rows
from common.face.track import SAME_PERSON, FaceTrack, Watch, continues, distance, fill_gaps
from common.face.types import FaceDetector, FaceObservation, FloatArray, ImageArray, box_area
from common.shots import with_cuts

# Faces of two shots that look less different than this are taken for one person.
_ONE_PERSON = 2.0
_NEVER = 1e6


@dataclass(frozen=True)
class FaceStretch:
    """One face from where it comes into a shot to where it is lost.

    Attributes:
        shot: number of the shot.
        frames: (n,) int64, the frames in which it was seen, rising.
        landmarks: (n, 68, 3) float32 pixels; none of them in what :meth:`Faces.places` gives.
        boxes: (n, 4) float32 x0 y0 x1 y1 pixels.
        measured: (n,) bool, as :attr:`common.face.types.FaceObservation.measured`.
        person: number of the person, from 1 on in the order in which they appear, or what the user says.
    """

    shot: int
    frames: NDArray[np.int64]
    landmarks: FloatArray
    boxes: FloatArray
    measured: NDArray[np.bool_]
    person: int

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: NDArray[np.bool_]) -> FaceStretch:
        return replace(
            self,
            frames=self.frames[rows],
            landmarks=self.landmarks[rows],
            boxes=self.boxes[rows],
            measured=self.measured[rows],
        )

    @property
    def area(self) -> float:
        """Square pixels of its boxes, summed over the frames: the larger and longer, the more."""
        return float(sum(box_area(box) for box in self.boxes))


@dataclass(frozen=True)
class Faces:
    """The faces of N frames.

    Attributes:
        shots: (N,) int64, number of each frame's shot.
        stretches: in the order in which they begin.
        apart: (P, P) how different persons 1 to P look, from 0, where the user does not number them.
        watched: how many frames of each stretch were shown to who watched, and at the end how many others.
        max_gap: frames for which a face may be lost and is still followed.
    """

    shots: NDArray[np.int64]
    stretches: tuple[FaceStretch, ...]
    apart: NDArray[np.float64]
    watched: tuple[int, ...]
    max_gap: int

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def persons(self) -> list[int]:
        """Numbers of all persons, rising."""
        return sorted({stretch.person for stretch in self.stretches})

    def of(self, person: int) -> list[int]:
        """The stretches (their indices) of a person."""
        return [i for i, stretch in enumerate(self.stretches) if stretch.person == person]

    def saw_all(self, chosen: Sequence[int]) -> bool:
        """Whether who watched has seen just the ``chosen`` stretches, from their start to their end."""
        wanted = [len(s) if i in chosen else 0 for i, s in enumerate(self.stretches)]
        return list(self.watched) == [*wanted, 0]

    def within(self, parts: Sequence[tuple[range, Sequence[int]]]) -> Faces:
        """Only what of these stretches lies in these frames: for each range of frames the indices of some."""
        kept, watched = [], []
        for frames, indices in parts:
            for index in indices:
                stretch = self.stretches[index]
                inside = (stretch.frames >= frames.start) & (stretch.frames < frames.stop)
                if inside.any():
                    kept.append(stretch if inside.all() else stretch[inside])
                    # Somebody who has seen more than this has seen something else.
                    watched.append(self.watched[index])
        rest = sum(self.watched) - sum(watched)
        return Faces(self.shots, tuple(kept), self.apart, (*watched, rest), self.max_gap)

    def track(self, chosen: Sequence[int]) -> FaceTrack:
        """The ``chosen`` stretches as one track; where two meet in a frame the first has it.

        Short gaps within a stretch are filled. Where one face follows another its run ends, as at a cut.
        """
        count = len(self)
        if len(chosen) == 1 and len(alone := self.stretches[chosen[0]]) == count:
            # The usual clip, whose landmarks are not held twice.
            always = np.ones(count, bool)
            return FaceTrack(
                np.arange(count), alone.landmarks, alone.boxes, always, np.cumsum(self._new_shots)
            )
        whole, owner = _empty_track(range(count)), np.full(count, -1)
        for index in chosen:
            stretch = self.stretches[index]
            part = slice(int(stretch.frames[0]), int(stretch.frames[-1]) + 1)
            into = own = whole[part]
            if meets := bool(into.present.any()):
                own = _empty_track(range(part.start, part.stop))
            at = stretch.frames - part.start
            own.landmarks[at], own.boxes[at], own.present[at] = stretch.landmarks, stretch.boxes, True
            fill_gaps(own, self.max_gap)
            free = own.present & (owner[part] < 0)
            if meets:
                into.landmarks[free], into.boxes[free] = own.landmarks[free], own.boxes[free]
                into.present[free] = True
            owner[part][free] = index
        changes = self._new_shots
        changes[1:] |= (owner[1:] != owner[:-1]) & (owner[1:] >= 0) & (owner[:-1] >= 0)
        return replace(whole, shots=np.cumsum(changes))

    @property
    def _new_shots(self) -> NDArray[np.bool_]:
        """(N,) whether a frame is of another shot than the one before it."""
        return np.diff(self.shots, prepend=0) > 0

    def places(self) -> Faces:
        """The same without landmarks, which take nine tenths of the memory."""
        none = np.zeros((0, 68, 3), np.float32)
        return replace(self, stretches=tuple(replace(s, landmarks=none) for s in self.stretches))

    def seen(self, chosen: Sequence[int]) -> Iterator[tuple[int, FaceObservation, int]]:
        """Frame, face and run of the ``chosen`` stretches, as :data:`common.face.track.Watch` is told."""
        shots = self.track(chosen).shots
        assert shots is not None
        told: set[int] = set()
        items = []
        for index in chosen:
            stretch = self.stretches[index]
            for row, frame in enumerate(stretch.frames.tolist()):
                if frame not in told:
                    told.add(frame)
                    items.append((frame, index, row))
        for frame, index, row in sorted(items):
            stretch = self.stretches[index]
            face = FaceObservation(
                stretch.boxes[row], stretch.landmarks[row], 1.0, measured=bool(stretch.measured[row])
            )
            yield frame, face, int(shots[frame])


def _empty_track(frames: range) -> FaceTrack:
    """A track of frames in which no face is seen yet."""
    count = len(frames)
    landmarks, boxes = (np.full((count, *shape), np.nan, np.float32) for shape in ((68, 3), (4,)))
    return FaceTrack(np.arange(frames.start, frames.stop), landmarks, boxes, np.zeros(count, bool))


def track_faces(
    images: Iterable[ImageArray],
    detector: FaceDetector,
    max_gap: int = 10,
    watch: Watch | None = None,
    cuts: Collection[int] = (),
) -> Faces:
    """Follow all faces of a clip, frame by frame; of the pictures nothing is kept.

    A face is the one of the frame before that it continues (overlap, nearness, size; identity where the
    detector gives it). It ends at a hard cut and when it has been lost for more than ``max_gap`` frames.
    Persons are found again by the detector's identities where it gives any, else by looks
    (:mod:`common.face.looks`); two faces that are seen at once are two persons. Where the user says whose
    face it is, that is kept.

    Args:
        images: (H, W, 3) uint8 RGB frames of one clip, all of one size.
        detector: is reset first.
        max_gap: frames.
        watch: called with one face per frame: the largest of a shot's first frame with a face for as long as
            it stays, then the next.
        cuts: frames before which there is a cut, whether it is found or not.
    """
    detector.reset()
    shots: list[int] = []
    everyone: list[_Growing] = []
    active: list[_Growing] = []
    leader: _Growing | None = None
    shot = 0
    for index, (image, cut) in enumerate(with_cuts(images)):
        if cut or index in cuts:
            shot += 1
            detector.new_shot()
            active = []
        shots.append(shot)
        active = [face for face in active if index - face.frames[-1] <= max_gap + 1]
        seen = detector.detect(image)
        for face, found in _continued(active, seen, shot):
            if face is None:
                face = _Growing(shot)
                everyone.append(face)
                active.append(face)
            face.add(index, image, found)
        if leader not in active:
            leader = max((f for f in active if f.frames[-1] == index), key=_last_area, default=None)
        if watch is not None and leader is not None and leader.frames[-1] == index:
            leader.watched += 1
            watch(index, image, leader.observation, shot)
    persons, apart = _persons(everyone)
    persons = [face.person or person for face, person in zip(everyone, persons, strict=True)]
    stretches = tuple(face.finish(person) for face, person in zip(everyone, persons, strict=True))
    watched = (*(face.watched for face in everyone), 0)
    return Faces(np.asarray(shots, np.int64), stretches, apart, watched, max_gap)


@dataclass(eq=False)
class _Growing:
    """A stretch that is being followed."""

    shot: int
    frames: list[int] = field(default_factory=list)
    landmarks: Rows = field(default_factory=lambda: Rows((68, 3)))
    boxes: Rows = field(default_factory=lambda: Rows((4,)))
    measured: list[bool] = field(default_factory=list)
    embeddings: list[FloatArray] = field(default_factory=list)
    looks: Looks = field(default_factory=Looks)
    watched: int = 0
    person: int = 0

    def add(self, index: int, image: ImageArray, seen: FaceObservation) -> None:
        self.frames.append(index)
        self.person = seen.person
        self.landmarks.append(seen.landmarks)
        self.boxes.append(seen.box)
        self.measured.append(seen.measured)
        if seen.embedding is not None and len(self.embeddings) < 30:
            self.embeddings.append(seen.embedding)
        if not self.looks.full:
            self.looks.add(image, seen.landmarks, fit_pose(seen.landmarks[None]))
        self.observation = seen

    @property
    def embedding(self) -> FloatArray | None:
        """Mean identity, of unit length; None where the detector gives none."""
        if not self.embeddings:
            return None
        mean = np.mean(self.embeddings, axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)

    def finish(self, person: int) -> FaceStretch:
        """What was seen of it, which this lets go of; landmarks that the detector has lost are mended."""
        frames = np.asarray(self.frames, np.int64)
        landmarks, boxes = self.landmarks.take(), self.boxes.take()
        repair(landmarks, boxes, frames)
        return FaceStretch(self.shot, frames, landmarks, boxes, np.asarray(self.measured, bool), person)


def _last_area(face: _Growing) -> float:
    return box_area(face.boxes[-1])


def _continued(
    active: list[_Growing], seen: list[FaceObservation], shot: int
) -> list[tuple[_Growing | None, FaceObservation]]:
    """Each face that is seen with the one that it continues."""
    if not active or not seen:
        return [(None, face) for face in sorted(seen, key=lambda face: float(face.box[0]))]
    costs = np.full((len(active), len(seen)), _NEVER)
    for i, old in enumerate(active):
        identity = old.embedding
        for j, new in enumerate(seen):
            stranger = identity is not None and new.embedding is not None and identity @ new.embedding < 0
            named_apart = old.person != new.person
            if continues(old.boxes[-1], new.box) and not stranger and not named_apart:
                costs[i, j] = distance(old.boxes[-1], new.box)
    possible = costs < _NEVER
    rows, columns = possible.nonzero()
    if possible.sum(axis=0).max() > 1 or possible.sum(axis=1).max() > 1:
        from scipy.optimize import (
            linear_sum_assignment,
        )  # a quarter of a second, and most clips show one face

        rows, columns = linear_sum_assignment(costs)
    pairs = {int(j): active[i] for i, j in zip(rows, columns, strict=True) if possible[i, j]}
    return [(pairs.get(j), face) for j, face in enumerate(seen)]


def _persons(faces: list[_Growing]) -> tuple[list[int], NDArray[np.float64]]:
    """The person of each stretch, and how different persons look (P, P)."""
    looks = [face.looks.medians() for face in faces]
    numbers = [0] * len(faces)
    members: list[list[int]] = []
    # The longest first: what they look like is known best.
    for index in sorted(range(len(faces)), key=lambda i: -len(faces[i].frames)):
        at_once = set(faces[index].frames)
        best, least = None, 1.0
        for person, others in enumerate(members):
            if any(at_once.intersection(faces[other].frames) for other in others):
                continue
            unlike = min(_unlike(faces[index], looks[index], faces[o], looks[o]) for o in others)
            if unlike < least:
                best, least = person, unlike
        if best is None:
            members.append([index])
        else:
            members[best].append(index)
    members.sort(key=min)
    for person, others in enumerate(members, start=1):
        for other in others:
            numbers[other] = person
    apart = np.array(
        [
            [min(float(looks_apart(looks[i], looks[j])) for i in one for j in other) for other in members]
            for one in members
        ]
    ).reshape(len(members), len(members))
    return numbers, apart


def _unlike(a: _Growing, looks_a: tuple, b: _Growing, looks_b: tuple) -> float:
    """How unlike two faces are, 1 at the limit of one person."""
    first, second = a.embedding, b.embedding
    if first is not None and second is not None:
        return float((1 - first @ second) / (1 - SAME_PERSON))
    return float(looks_apart(looks_a, looks_b)) / _ONE_PERSON
