"""The faces that a job dubs, mostly one: where each is, who draws it, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.models.conventions import CropRule
from stage2_dubber.dub.faces.follow import FollowedFace
from stage2_dubber.dub.job import FacePlan, plan_followed
from stage2_dubber.dub.own_mouths import Division
from stage2_dubber.dub.untouched import Untouched, find_untouched, untouched_warning

_OVERLAYS = "What lies over the face and stays still in the picture (subtitles, a logo) is kept as it is."
Planned = tuple[FollowedFace, FacePlan]


@dataclass(frozen=True)
class DubbedFace:
    """One of them.

    Attributes:
        followed: where it was seen.
        plan: which of its frames are dubbed.
        division: who draws which of them.
        audio_features: (T, C) of what it says, for the editor; not used where that draws nothing.
        refined_features: (T, C) of what it says, for a refiner of own mouths; None: there is none.
    """

    followed: FollowedFace
    plan: FacePlan
    division: Division
    audio_features: np.ndarray | None
    refined_features: np.ndarray | None = None

    @property
    def runs(self) -> list[range]:
        """The frames in which it is dubbed."""
        return [segment.source for segment in self.plan.segments]

    @property
    def below_overlays(self) -> bool:
        """Whether subtitles or the like lie over what own mouths draw."""
        renderer = self.division.renderer
        return renderer is not None and renderer.overlays is not None

    @property
    def persons(self) -> list[int]:
        """The number of who is dubbed in each of :attr:`runs`, as in ``bootdub faces``."""
        everyone = self.followed.faces.stretches
        chosen = [everyone[index] for index in self.followed.chosen.stretches]
        # As in Faces.track: no run is of two stretches, and of two that meet the first has the frame.
        return [
            next(one.person for one in chosen if one.frames[0] <= run.start <= one.frames[-1])
            for run in self.runs
        ]


@dataclass(frozen=True)
class DubbedFaces:
    """All of them; the first is drawn first where two overlap.

    Attributes:
        faces: at least one.
    """

    faces: tuple[DubbedFace, ...]

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """(D,) the frames in which a face is dubbed, rising."""
        return np.unique(np.concatenate([np.r_[run] for face in self.faces for run in face.runs]))

    @cached_property
    def untouched(self) -> tuple[Untouched, ...]:
        """The stretches in which none is dubbed, in order, and why."""
        first = self.faces[0]
        if len(self.faces) == 1:
            return first.plan.untouched
        followed = first.followed
        present = np.any([face.plan.track.present for face in self.faces], axis=0)
        runs = [run for face in self.faces for run in face.runs]
        end = followed.info.duration
        parts = [part for face in self.faces for part in face.followed.parts]
        return tuple(find_untouched(followed.faces, present, runs, followed.times, end, parts))

    def undivided(self, refined: bool) -> list[FacePlan]:
        """The plans whose stretches a model draws from their first frame on; ``refined``: all of them."""
        if refined:
            return [face.plan for face in self.faces]
        return [face.division.editor for face in self.faces if face.division.editor is not None]

    @property
    def damaged(self) -> tuple[int, ...]:
        """Frames that a decoder had to guess."""
        return self.faces[0].followed.damaged

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user."""
        kept = (_OVERLAYS,) if any(face.below_overlays for face in self.faces) else ()
        if len(self.faces) == 1:
            return self.faces[0].plan.warnings + kept
        return (*untouched_warning(self.untouched, len(self.faces[0].followed.times)), *kept)

    @property
    def own_frames(self) -> int:
        """Frames in which own mouths draw a face, fully or in a passage."""
        return len({f for face in self.faces for f, share in face.division.opacity.items() if share > 0})

    @property
    def covered(self) -> float | None:
        """Share of the faces and frames in which the clip shows what is to be said; None: not measured."""
        plans = [face.division.renderer.plan for face in self.faces if face.division.renderer is not None]
        return float(np.concatenate([plan.covered for plan in plans]).mean()) if plans else None


def plan_faces(
    video: Path, followed: FollowedFace, crop_scale: float, fps: float, rule: CropRule
) -> Sequence[Planned]:
    """Decide in which frames each face is dubbed; arguments as of :func:`plan_followed`.

    Of several faces those that do not stay for long enough are left out.

    Raises:
        UserError: none stays for long enough.
    """
    found: list[Planned] = []
    refused: list[UserError] = []
    for one in (followed, *followed.beside):
        try:
            found.append((one, plan_followed(video, one, crop_scale, fps, rule)))
        except UserError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found
