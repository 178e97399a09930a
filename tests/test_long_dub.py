"""tools/bench/long_dub.py: seams and drift of known size are found, and none where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from film_toys import Film, dubbed_clip, film, talk

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import long_dub

from common.errors import UserError

COUNT, END, EVERY = 60, 20, 12
BORDERS = range(EVERY, COUNT, EVERY)


@pytest.fixture(scope="module")
def source() -> Film:
    return film(0.1 * talk(COUNT))


def measured(source: Film, made: Film) -> dict[str, float | None]:
    return long_dub.measure(dubbed_clip(source, made), BORDERS, END)


def test_a_dub_that_is_its_source_has_neither_seams_nor_drift(source: Film) -> None:
    found = measured(source, source)
    assert found.pop("sharpness") == 1
    assert not any(found.values()), found


def test_steps_at_the_borders_are_seams_in_face_and_mouth(source: Film) -> None:
    found = measured(source, source.edit(lambda frame, i: frame + 6 * (i // EVERY % 2)))
    for name in long_dub.REGIONS:
        assert found[f"seam {name}"] == pytest.approx(6, abs=0.5)
        assert found[f"usual {name}"] == pytest.approx(0, abs=0.1)
    between = long_dub.measure(
        dubbed_clip(source, source.edit(lambda frame, i: frame + 6 * ((i + EVERY // 2) // EVERY % 2))),
        BORDERS,
        END,
    )
    assert (between["seam face"] or 0) < 0.5, "steps elsewhere are no seams"


def test_what_changes_from_the_beginning_to_the_end_is_drift(source: Film) -> None:
    lighter = measured(source, source.edit(lambda frame, i: frame * (1 + 0.1 * (i >= COUNT // 2))))
    assert 2 < (lighter["colour face"] or 0) < 8
    steady = measured(source, source.edit(lambda frame, i: frame * 0.9))
    assert (steady["colour face"] or 0) < 0.2, "an offset is no drift"

    def blurred(frame: np.ndarray, index: int) -> np.ndarray:
        return frame if index < COUNT // 2 else np.asarray(cv2.GaussianBlur(frame, (0, 0), 2))

    assert (measured(source, source.edit(blurred))["sharpness"] or 1) < 0.7
    assert measured(source, source.edit(lambda frame, i: blurred(frame, COUNT)))[
        "sharpness"
    ] == pytest.approx(1, abs=0.1)


def test_a_short_clip_has_no_two_ends(source: Film) -> None:
    with pytest.raises(UserError, match="give one of at least 20 s"):
        long_dub.measure(dubbed_clip(source, source), BORDERS)
