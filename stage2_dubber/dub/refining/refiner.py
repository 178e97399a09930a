"""A second model that refines the lips of frames which are finished otherwise.

What it adds to a crop, without the losses of its autoencoder, goes into the frame where lips are or can be
(:func:`common.data.degraded_lips.mouth_opacity`), and nowhere else, at the frame's own resolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.data.degraded_lips import mouth_opacity
from common.diffusion.options import SamplingOptions
from common.models.package import ModelPackage
from stage2_dubber.dub.dubbed import DubbedFace
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.job import Composite, FacePlan, face_crops
from stage2_dubber.dub.own_mouths import SHEET_SIZE
from stage2_dubber.dub.timeline import Segment, Timeline


@dataclass(frozen=True)
class Refinement:
    """What is refined.

    Attributes:
        face: whose lips.
        seed: of the refiner's noise; None: the package's.
        kept: where the latents of a window lie, by its name; those that lie there are not sampled again.
        crops: frames bring crops of source and result, for pictures to look at.
    """

    face: DubbedFace
    seed: int | None = None
    kept: Callable[[str], Path] | None = None
    crops: bool = False


class FrameRefiner(ABC):
    """Refines the lips of one face; holds a window of frames, whatever the length of the clip.

    Args:
        package: the refiner.
        wanted: what is refined.
        runs: frames that are, each run with the face throughout.
        audio_features: (T, C) float32 speech features at 50 Hz that the refiner hears.
    """

    def __init__(
        self,
        package: ModelPackage,
        wanted: Refinement,
        runs: Sequence[range],
        audio_features: np.ndarray,
    ) -> None:
        info, face = package.info, wanted.face
        self._editor = self._built(package, SamplingOptions(seed=wanted.seed), wanted.kept)
        self._size, self._audio_features, self._sheets = info.geometry.crop_size, audio_features, wanted.crops
        timeline = Timeline.of(face.plan.timeline.times, info.geometry.fps)
        self._plan = FacePlan(
            timeline,
            timeline.segments([slice(run.start, run.stop) for run in runs]),
            face_crops(face.followed, info.geometry.crop_scale, info.conventions.crops),
            face.plan.track,
        )

    def _built(
        self, package: ModelPackage, options: SamplingOptions, kept: Callable[[str], Path] | None
    ) -> WindowEditor:
        """What samples; arguments as of :class:`WindowEditor`."""
        return WindowEditor(package, options, changes=True, overlap=False, kept=kept)

    @abstractmethod
    def _given(
        self, item: Composite, crop: np.ndarray, opacity: np.ndarray, moment: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the model is shown of a finished frame, and where its change goes.

        Args:
            item: the frame.
            crop: (S, S, 3) uint8 of it.
            opacity: (S, S) where lips are or can be.
            moment: the model's frame that it is seen at.

        Returns:
            (S, S, 3) uint8 and (S, S) from 0 to 1.
        """

    def __call__(self, frames: Iterator[Composite]) -> Iterator[Composite]:
        """The frames with refined lips.

        Args:
            frames: finished ones, from one on, in order. Those of a stretch that has begun before the first
                one stay as they are.
        """
        held = _HeldFrames(frames)
        waiting = deque(self._plan.segments)
        while (item := held.next()) is not None:
            while waiting and waiting[0].source.start < item.frame.index:
                waiting.popleft()
            if waiting and item.frame.index == waiting[0].source.start:
                held.put_back(item)
                yield from self._refined(waiting.popleft(), held)
            else:
                yield item

    def _refined(self, segment: Segment, held: _HeldFrames) -> Iterator[Composite]:
        changes, moment = self._changes(segment, held), segment.model.start
        change, opacity = next(changes)
        for index in segment.source:
            wanted = self._plan.timeline.model_frame(segment, index)
            while moment < wanted:
                change, opacity = next(changes)
                moment += 1
            item = held.next()
            if item is None:
                return
            yield self._with(item, change, opacity)

    def _with(self, item: Composite, change: np.ndarray, opacity: np.ndarray) -> Composite:
        crops, index = self._plan.crops, item.frame.index
        image = crops.add(item.image, change, opacity, index)
        before, after = item.before, item.after
        if self._sheets:
            before, after = (crops.extract(x, index, SHEET_SIZE) for x in (item.frame.image, image))
        return replace(item, image=image, before=before, after=after)

    def _changes(self, segment: Segment, held: _HeldFrames) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of every model frame what refined lips add to it, (S, S, 3), and where, (S, S)."""
        plan, size = self._plan, self._size
        given: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque()

        def shown() -> Iterator[np.ndarray]:
            for moment in segment.model:
                index = plan.timeline.source_frame(segment, moment)
                item = held.item(index)
                crop = plan.crops.extract(item.image, index, size)
                landmarks = plan.crops.landmarks(plan.track.landmarks[index], index, size)
                opacity = mouth_opacity(landmarks[None], size)[0]
                picture, opacity = self._given(item, crop, opacity, moment)
                given.append((crop, picture, opacity))
                yield picture

        moments = segment.model
        for edit in self._editor.stream(shown(), len(moments), self._audio_features, moments.start):
            crop, picture, opacity = given.popleft()
            assert edit.change is not None
            yield picture + edit.change - crop, opacity


class _HeldFrames:
    """Frames that are looked at before they are taken."""

    def __init__(self, frames: Iterator[Composite]) -> None:
        self._frames = frames
        self._waiting: deque[Composite] = deque()
        self._newest: Composite | None = None

    def next(self) -> Composite | None:
        """The next one; None after the last."""
        if not self._waiting:
            self._read()
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, item: Composite) -> None:
        """``item``, which was taken last, will be taken again."""
        self._waiting.appendleft(item)

    def item(self, index: int) -> Composite:
        """The frame that is the newest read so far, or comes later."""
        while self._newest is None or self._newest.frame.index < index:
            if not self._read():
                raise ValueError(f"there is no frame {index}")
        if self._newest.frame.index != index:
            raise ValueError(f"frame {index} has passed")
        return self._newest

    def _read(self) -> bool:
        item = next(self._frames, None)
        if item is None:
            return False
        self._newest = item
        self._waiting.append(item)
        return True
