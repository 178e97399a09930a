"""Own mouths for the frames of one clip, from collected mouths and speech to pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.blas import one_blas_thread
from common.face.overlays import Cover, Overlays
from common.face.types import FloatArray
from common.own_mouths.clip import ClipMouths
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.heads import Heads
from common.own_mouths.occluders import REACH, Occluders, Roi
from common.own_mouths.place import DrawnFrame, FramePlacer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from common.own_mouths.wanted import calibrated, sharpened, wanted_shapes

if TYPE_CHECKING:
    from common.own_mouths.painting.painter import InsidePainter

Array = NDArray[np.float64]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class _Seen:
    """A frame of a clip.

    Attributes:
        number: of the frame.
        source: (H, W, 3) as it is.
        free: (H, W, 3) without what lies over it, as far as that was asked for.
        cover: what does; None: nothing, or nobody asked.
        disagreement: of its occluders; None: there are none in the clip.
    """

    number: int
    source: Image
    free: Image
    cover: Cover | None
    disagreement: FloatArray | None


@dataclass(frozen=True)
class MouthRenderer:
    """Draws the frames of one clip.

    Attributes:
        frames: (N,) the clip's frames that get another mouth, rising.
        plan: what each of them gets.
        placer: draws the n-th of them.
        landmarks: (F, 68, 2 or 3) of all frames of the clip.
        occluders: what must stay; None: nothing.
        overlays: what lies over the picture, and is lifted off before a face is changed; None: nothing.
        reliability: whether frames tell how far they can be relied on.
    """

    frames: NDArray[np.int64]
    plan: MouthPlan
    placer: FramePlacer
    landmarks: NDArray[np.floating]
    occluders: Occluders | None = None
    overlays: Overlays | None = None
    reliability: bool = False

    def draw(self, frame: int, image: Image, maps: Sequence[FloatArray] = (), place: int = 0) -> DrawnFrame:
        """Frame number ``frame`` of the clip, (H, W, 3) uint8, with its new mouth.

        ``maps``: disagreements (:meth:`Occluders.disagreement`) of this frame, at ``place``, and of those
        about it; needed where there are occluders.
        """
        occluders, points = self.occluders, self.landmarks[frame]
        keep = None
        if occluders is not None:

            def keep(roi: Roi) -> FloatArray | None:
                return occluders.keep(frame, maps, place, points, roi)

        return self.placer(self._number(frame), image, keep, self.reliability)

    def lip_shape(self, frame: int) -> Array:
        """(7,) that frame number ``frame`` of the clip is drawn with, of those that get another mouth."""
        return self.placer.lip_shape(self._number(frame))

    def _number(self, frame: int) -> int:
        return int(np.searchsorted(self.frames, frame))

    def draw_all(
        self, frames: Iterable[tuple[int, Image]], workers: int, leave: Set[int] = frozenset()
    ) -> Iterator[DrawnFrame]:
        """Consecutive frames (number, (H, W, 3) uint8); those without a new mouth, and ``leave``, stay.

        A few are drawn at once, in threads, and :data:`REACH` more are held where something may lie before
        the face; they come out in order.
        """
        pool = ThreadPoolExecutor(workers)
        try:
            with one_blas_thread():
                yield from self._drawn(frames, pool, workers, leave)
        finally:
            # One of the pool's own threads may collect an iteration that was given up: it must not wait for
            # itself.
            pool.shutdown(wait=False, cancel_futures=True)

    def _drawn(
        self,
        frames: Iterable[tuple[int, Image]],
        pool: ThreadPoolExecutor,
        ahead: int,
        leave: Set[int],
    ) -> Iterator[DrawnFrame]:
        reach = 0 if self.occluders is None else REACH
        mine = set(self.frames.tolist()) - leave
        near: deque[_Seen] = deque()
        drawn: deque[Future[DrawnFrame] | DrawnFrame] = deque()

        def start(place: int) -> None:
            seen = near[place]
            if seen.number not in mine:
                drawn.append(DrawnFrame(seen.source))
                return
            maps = [other.disagreement for other in near if other.disagreement is not None]
            drawn.append(pool.submit(self._drawn_below, seen, maps, place))

        for number, image in frames:
            near.append(self._look(number, image, number in mine))
            if len(near) > 2 * reach + 1:
                near.popleft()
            if len(near) > reach:
                start(len(near) - 1 - reach)
            if len(drawn) > ahead:
                yield _ready(drawn.popleft())
        for place in range(max(0, len(near) - reach), len(near)):
            start(place)
        while drawn:
            yield _ready(drawn.popleft())

    def _look(self, number: int, image: Image, drawn: bool) -> _Seen:
        occluders, points, cover = self.occluders, self.landmarks[number], None
        if self.overlays is not None and (drawn or occluders is not None):
            cover = self.overlays.cover(number, image)
        free = image if cover is None else cover.filled_in(image)
        disagreement = None if occluders is None else occluders.disagreement(number, free, points)
        return _Seen(number, image, free, cover, disagreement)

    def _drawn_below(self, seen: _Seen, maps: Sequence[FloatArray], place: int) -> DrawnFrame:
        """A frame drawn below what lies over it."""
        drawn = self.draw(seen.number, seen.free, maps, place)
        if seen.cover is None:
            return drawn
        return replace(drawn, image=seen.cover.laid_back(drawn.image, seen.source))


def build_renderer(
    mouths: ClipMouths,
    landmarks: NDArray[np.floating],
    times: Array,
    runs: Sequence[range],
    features: NDArray[np.floating],
    config: OwnMouthsConfig,
    painter: InsidePainter | None = None,
) -> MouthRenderer:
    """Plan the mouths of a clip.

    Args:
        mouths: what the clip shows.
        landmarks: (F, 68, 2 or 3) of all its frames.
        times: (F,) seconds of the frames on the clock of the speech.
        runs: the frames to draw, each run with a face throughout; not empty.
        features: (T, 7 or more) lip shapes of the speech at 50 Hz (:mod:`common.lip_shapes.encoder`).
        config: what is done.
        painter: of insides that no film can fill; None: they are drawn.
    """
    frames = np.concatenate([np.arange(run.start, run.stop) for run in runs])
    said = sharpened(features) if config.calibrate else features
    wanted = wanted_shapes(said, times[frames], config.lead_frames)
    if config.calibrate:
        wanted = calibrated(wanted, mouths.bank.shapes, painted=painter is not None)
    heads = Heads.of(_rows(landmarks, frames))
    sharpness = mouths.sharpness.of(frames)
    planner, parts, first = MouthPlanner(mouths.bank), [], 0
    # Nothing fades across a cut.
    for run in (part for whole in runs for part in mouths.within_shots(whole)):
        part = slice(first, first + len(run))
        costs = mouths.moment_costs(run)
        parts.append(planner.plan(wanted[part], heads.angles[part], sharpness[part], extra=costs))
        first = part.stop
    plan = MouthPlan.joined(parts)
    placer = FramePlacer(heads, mouths.bank, plan, config, sharpness, painter)
    return MouthRenderer(frames, plan, placer, landmarks, mouths.occluders, mouths.overlays)


def _rows(landmarks: NDArray[np.floating], frames: NDArray[np.int64]) -> NDArray[np.floating]:
    """The landmarks of rising frames; no copy where none is left out."""
    first, last = int(frames[0]), int(frames[-1])
    return landmarks[first : last + 1] if last - first + 1 == len(frames) else landmarks[frames]


def _ready(item: Future[DrawnFrame] | DrawnFrame) -> DrawnFrame:
    return item.result() if isinstance(item, Future) else item
