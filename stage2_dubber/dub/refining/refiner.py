"""Super-resolution of the lips of frames that are dubbed already (EdiDub §3.2).

The lips of a finished frame are brought down to the resolution that the refiner was trained with, and refined
within all else that the frame shows, which is the source's wherever nothing was edited. What the refiner
adds, without the losses of its autoencoder, is put upon these lips, and they go into the frame where lips are
or can be (:func:`common.data.degraded_lips.mouth_opacity`), and nowhere else. So it does not matter who has
drawn them: an editor of any kind and size, or the clip's own mouths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.data.degraded_lips import degrade_lips, mouth_opacity
from common.diffusion.options import SamplingOptions
from common.models.package import ModelPackage
from stage2_dubber.dub.dubbed import DubbedFace
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.job import Composite, FacePlan, face_crops
from stage2_dubber.dub.own_mouths import SHEET_SIZE
from stage2_dubber.dub.refining.checks import check_refiner
from stage2_dubber.dub.timeline import Segment, Timeline


class LipRefiner:
    """Refines the lips of one face; holds a window of frames, whatever the length of the clip.

    Args:
        package: the refiner.
        seed: of its noise; None: the package's.
        face: whose lips.
        kept: where the latents of a window lie, by its name; those that lie there are not sampled again.
        crops: frames bring crops of source and result, for pictures to look at.
    """

    def __init__(
        self,
        package: ModelPackage,
        seed: int | None,
        face: DubbedFace,
        kept: Callable[[str], Path] | None = None,
        crops: bool = False,
    ) -> None:
        info, self._side = check_refiner(package.folder)
        self._editor = WindowEditor(
            package, SamplingOptions(seed=seed), changes=True, overlap=False, kept=kept
        )
        self._size = info.geometry.crop_size
        self._silence = np.zeros((1, info.speech.channels), np.float32)
        timeline = Timeline.of(face.plan.timeline.times, info.geometry.fps)
        self._plan = FacePlan(
            timeline,
            timeline.segments([slice(run.start, run.stop) for run in face.runs]),
            face_crops(face.followed, info.geometry.crop_scale, info.conventions.crops),
            face.plan.track,
        )
        self._crops = crops

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
        if self._crops:
            before, after = (crops.extract(x, index, SHEET_SIZE) for x in (item.frame.image, image))
        return replace(item, image=image, before=before, after=after)

    def _changes(self, segment: Segment, held: _HeldFrames) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of every model frame what refined lips add to it, (S, S, 3), and where, (S, S)."""
        plan, size = self._plan, self._size
        given: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque()

        def degraded() -> Iterator[np.ndarray]:
            for moment in segment.model:
                index = plan.timeline.source_frame(segment, moment)
                crop = plan.crops.extract(held.image(index), index, size)
                landmarks = plan.crops.landmarks(plan.track.landmarks[index], index, size)
                opacity = mouth_opacity(landmarks[None], size)
                low = degrade_lips(crop[None], opacity, self._side)[0]
                given.append((crop, low, opacity[0]))
                yield low

        moments = segment.model
        for edit in self._editor.stream(degraded(), len(moments), self._silence, moments.start):
            crop, low, opacity = given.popleft()
            assert edit.change is not None
            yield low + edit.change - crop, opacity


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

    def image(self, index: int) -> np.ndarray:
        """The picture of a frame that is the newest read so far, or comes later."""
        while self._newest is None or self._newest.frame.index < index:
            if not self._read():
                raise ValueError(f"there is no frame {index}")
        if self._newest.frame.index != index:
            raise ValueError(f"frame {index} has passed")
        return self._newest.image

    def _read(self) -> bool:
        item = next(self._frames, None)
        if item is None:
            return False
        self._newest = item
        self._waiting.append(item)
        return True
