"""What the lower face of a clip usually looks like, and where a frame differs."""

from __future__ import annotations

import numpy as np

from common.face.occlusion.features import features_of, skin_colour, skin_in_light
from common.face.occlusion.learning import learn
from common.face.occlusion.picture import HEIGHT, WIDTH, LowerFace
from common.face.occlusion.things import find_things
from common.face.occlusion.usual import Usual
from common.face.types import FloatArray

# At most so many pictures are remembered.
_MEMORY = 64


class UsualLowerFace:
    """What the lower face of one clip usually looks like.

    :meth:`add` the frames in order (better without those that show a hand: hands have the colour of skin),
    :meth:`freeze`, then ask for the :meth:`disagreement` of any frame. At most 64 small pictures are kept,
    spread over the clip.
    """

    def __init__(self) -> None:
        self._kept: list[LowerFace] = []
        self._seen, self._every = 0, 1
        self._usual: Usual | None = None
        self._frozen = False

    def add(self, face: LowerFace) -> None:
        """Learn from a frame."""
        if self._seen % self._every == 0:
            self._kept.append(face)
            if len(self._kept) > _MEMORY:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._seen += 1

    @property
    def trusted(self) -> bool:
        """Whether enough free faces were seen; if not, nothing is ever found."""
        return self._usual is not None

    def freeze(self) -> None:
        """Settle what is usual, from all frames so far."""
        self._frozen = True
        self._usual = learn(self._kept) if self._kept else None

    def disagreement(self, face: LowerFace) -> FloatArray:
        """Where a frame shows something before the face: (HEIGHT, WIDTH) float32 -1..1, soft at its edge.

        Less than 0: only suspected, there if something is found in frames about this one
        (:func:`~common.face.occlusion.calm.calm`).

        Raises:
            ValueError: before freeze().
        """
        if not self._frozen:
            raise ValueError("freeze() comes before the first question")
        if self._usual is None:
            return np.zeros((HEIGHT, WIDTH), np.float32)
        own = skin_colour(face.picture, face.view.inside)
        return find_things(
            self._usual, features_of(face.picture, skin_in_light(own, self._usual.skin)), face.view
        )
