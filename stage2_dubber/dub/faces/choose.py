"""Which of a clip's faces is dubbed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.face.people import Faces
from common.face.types import FloatArray
from stage2_dubber.dub.faces.choice import LARGEST, FaceChoice

# Agreement of lips and sound from which somebody is taken for who speaks: a mouth agrees with its own sound
# by 0.37 and more in nine of ten stretches of 2 s, with another's by less than 0.26 in nine of ten of 4 s
# (docs/LOG.md).
_SPEAKS = 0.3
# With fewer frames than this the agreement says nothing ...
_LEAST_FRAMES = 50
# ... and looks decide up to this difference (that at which faces are linked is smaller).
_PERHAPS_THE_SAME = 3.0
# Who is seen only beside the largest face speaks if that is for this share of its frames at least: detectors
# also see faces for a frame or two where there are none.
_PASSING = 0.1
# A point beside a box by less than this share of its size is meant to be in it.
_BESIDE = 0.25


@dataclass(frozen=True)
class ChosenFaces:
    """The faces that are dubbed.

    Attributes:
        stretches: indices into :attr:`common.face.people.Faces.stretches`.
        warnings: sentences for the user.
    """

    stretches: tuple[int, ...]
    warnings: tuple[str, ...] = ()


Agreement = Callable[[Faces], dict[int, float] | None]
"""How well each person's lips agree with the clip's sound, -1 to 1; None where there is no sound."""


def choose_faces(faces: Faces, choice: FaceChoice, agreement: Agreement) -> ChosenFaces:
    """Find the faces that are meant.

    "auto": of several persons whose lips agree with the sound, the one that agrees best; in shots without
    that person another who agrees, too, or looks much the same. Where nobody's do: the largest and longest,
    and in shots without that person the largest and longest of the shot.

    Args:
        faces: all of the clip; at least one.
        choice: what the user says; not "file", which is a detector of its own.
        agreement: asked only where it decides.

    Raises:
        UserError: nobody has that number, or no face lies at that point.
    """
    persons = faces.persons
    if choice.way == "person":
        if choice.person not in persons:
            raise UserError(
                f"There is no face {choice.person}: the video shows {_list(persons)} ('bootdub faces' shows "
                "which)."
            )
        return ChosenFaces(tuple(faces.of(choice.person)))
    if choice.way == "point":
        return ChosenFaces(tuple(faces.of(_person_at(faces, choice.point))))
    if choice.way == LARGEST:
        return ChosenFaces(tuple(faces.of(_largest(faces, persons))))
    if len(_lasting(faces)) == 1:
        return ChosenFaces(_in_every_shot(faces, _largest(faces, persons), persons))
    return _speaking(faces, agreement(faces))


def _speaking(faces: Faces, agreed: dict[int, float] | None) -> ChosenFaces:
    known = agreed or {}
    speakers = [person for person, value in known.items() if value >= _SPEAKS]
    if not speakers:
        main = _largest(faces, faces.persons)
        chosen = _in_every_shot(faces, main, faces.persons)
        why = "The video has no sound" if agreed is None else "No mouth agrees with the video's sound"
        others = sorted({faces.stretches[i].person for i in chosen} - {main})
        beside = f", and {_list(others)} in shots without it" if others else ""
        return ChosenFaces(
            chosen,
            (
                f"{why}: face {main} is dubbed, the largest and longest{beside}; 'bootdub faces' shows all, "
                "--face chooses.",
            ),
        )
    main = max(speakers, key=lambda person: known[person])
    allowed = [p for p in faces.persons if p in speakers or _may_be(faces, p, main)]
    return ChosenFaces(_in_every_shot(faces, main, allowed))


def _lasting(faces: Faces) -> list[int]:
    """Persons who matter: who pass by only beside the largest, for under a tenth of its time, do not."""
    main = _largest(faces, faces.persons)
    least = _PASSING * sum(len(faces.stretches[i]) for i in faces.of(main))

    def matters(person: int) -> bool:
        own = faces.of(person)
        alone = any(not any(_at_once(faces, i, j) for j in faces.of(main)) for i in own)
        return person == main or alone or sum(len(faces.stretches[i]) for i in own) >= least

    return [person for person in faces.persons if matters(person)]


def _may_be(faces: Faces, person: int, main: int) -> bool:
    """Whether somebody who is seen too shortly to tell may be ``main``."""
    seen = sum(len(faces.stretches[i]) for i in faces.of(person))
    return seen < _LEAST_FRAMES and faces.apart[person - 1, main - 1] < _PERHAPS_THE_SAME


def _in_every_shot(faces: Faces, main: int, allowed: list[int]) -> tuple[int, ...]:
    """The stretches of ``main``, and those of others ``allowed`` that are never seen beside a chosen one.

    Others come in the order of their size in the shot.
    """
    chosen: list[int] = []
    by_shot: dict[int, list[int]] = {}
    for index, stretch in enumerate(faces.stretches):
        by_shot.setdefault(stretch.shot, []).append(index)
    for indices in by_shot.values():
        area: dict[int, float] = {}
        for index in indices:
            person = faces.stretches[index].person
            area[person] = area.get(person, 0.0) + faces.stretches[index].area
        ranked = sorted(area, key=lambda person: (person != main, -area[person]))
        here: list[int] = []
        for person in (p for p in ranked if p == main or p in allowed):
            own = [i for i in indices if faces.stretches[i].person == person]
            here += [i for i in own if not any(_at_once(faces, i, other) for other in here)]
        chosen += here
    return tuple(sorted(chosen))


def _at_once(faces: Faces, index: int, other: int) -> bool:
    """Whether two stretches share a frame."""
    a, b = faces.stretches[index].frames, faces.stretches[other].frames
    return bool(a[0] <= b[-1] and b[0] <= a[-1])


def _largest(faces: Faces, persons: list[int]) -> int:
    """Who takes most of the picture, summed over the clip."""
    return max(persons, key=lambda person: sum(faces.stretches[i].area for i in faces.of(person)))


def _person_at(faces: Faces, point: tuple[float, float]) -> int:
    """Whose box is the first to hold the point."""
    best: tuple[int, float, int] | None = None
    for stretch in faces.stretches:
        low, high = stretch.boxes[:, :2], stretch.boxes[:, 2:]
        margin = _BESIDE * (high - low)
        inside = ((point >= low - margin) & (point <= high + margin)).all(axis=1)
        if inside.any():
            row = int(np.argmax(inside))
            found = (int(stretch.frames[row]), _away(stretch.boxes[row], point), stretch.person)
            best = found if best is None else min(best, found)
    if best is None:
        raise UserError(
            f"No face lies at {point[0]:g},{point[1]:g} in any frame: 'bootdub faces' shows where they are; "
            "one that no detector finds is followed with --box and --follow-box."
        )
    return best[2]


def _away(box: FloatArray, point: tuple[float, float]) -> float:
    return float(np.linalg.norm((box[:2] + box[2:]) / 2 - point))


def _list(persons: list[int]) -> str:
    names = [str(person) for person in persons]
    return ("face " if len(names) == 1 else "faces ") + (
        names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    )
