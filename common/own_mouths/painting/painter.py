"""The painter at work: from a frame's mouth and where its lips shall be to the inside between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from common.arithmetic import one_thread
from common.files import PathLike
from common.own_mouths.frame import FaceAxes
from common.own_mouths.painting.network import PainterNetwork, load_painter
from common.own_mouths.painting.patch import UNIT, InsidePatch, MouthView, known

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class InsidePainter:
    """Paints insides of mouths.

    Attributes:
        network: frozen.
    """

    network: PainterNetwork

    @classmethod
    def load(cls, folder: PathLike) -> InsidePainter:
        """The painter in a folder, such as :func:`common.own_mouths.painting.shipped.painter_folder` names.

        Raises:
            UserError: there is none, or it cannot be loaded.
        """
        return cls(load_painter(folder))

    def __call__(
        self, picture: Picture, origin: tuple[int, int], axes: FaceAxes, face: Array, angles: Array
    ) -> tuple[Picture, Map]:
        """The inside between the lips of a face.

        Args:
            picture: (h, w, 3) float32 grey levels, the mouth and what is about it.
            origin: pixel of the frame at which it begins.
            axes: of the face in the frame.
            face: (68, 2) with the lips where they shall be, eye-corner distances.
            angles: yaw and pitch of the head and what follows, radians.

        Returns:
            (h, w, 3) grey levels, and its opacity (h, w), 0 to 1, which is 0 away from the gap.
        """
        patch = InsidePatch.of(axes, face)
        cut = np.asarray(patch.cut(picture, origin), np.float32) / 255
        view = MouthView.of(face, patch.centre, angles, axes.unit / UNIT).fine()
        planes, mask = known(cut.clip(0, 1), view)
        with torch.inference_mode(), one_thread():
            made = self.network(torch.from_numpy(planes)[None])[0].numpy().transpose(1, 2, 0)
        size = (picture.shape[1], picture.shape[0])
        opacity = patch.lay(mask, size, origin)
        inside = patch.lay(np.ascontiguousarray(255 * made), size, origin)
        return np.asarray(inside, np.float32), np.asarray(opacity, np.float32).clip(0, 1)
