"""Frames at other times: which are shown when, and how they are read forward and backward."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dub_clips import picture, uneven, write_clip

from common.media import VideoReader, probe, retiming
from common.media.retiming import RetimedVideo, cut_off, open_video, repeated, stretched
from common.media.stamps import Stamps

BASE = Fraction(1, 25)
FOUR = Stamps(np.array([5, 6, 8, 9]), 1)  # the second frame stays twice as long


def test_bounce_shows_the_frames_at_the_turns_once_and_each_for_its_own_time() -> None:
    made = repeated(FOUR, BASE, 0.5, bounce=True)
    assert made.shown.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert made.stamps.starts.tolist() == [5, 6, 8, 9, 10, 11, 13, 14, 16, 17]
    assert made.joints == () and made.seconds >= 0.5 and [step for _, step in made.runs] == [1, -1, 1]


def test_loop_begins_again_with_a_joint() -> None:
    made = repeated(FOUR, BASE, 0.3, bounce=False)
    assert made.shown.tolist() == [0, 1, 2, 3, 0, 1] and made.joints == (4,)
    assert made.stamps.starts.tolist() == [5, 6, 8, 9, 10, 11]
    assert [(run.start, run.stop) for run, _ in made.runs] == [(0, 4), (4, 6)]


@pytest.mark.parametrize("bounce", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_are_repeated_too(count: int, bounce: bool) -> None:
    made = repeated(Stamps(np.arange(count), 1), BASE, 0.4, bounce)
    assert len(made) == 10
    covered = [frame for run, _ in made.runs for frame in run]
    assert covered == list(range(10))
    for run, step in made.runs:
        assert (np.diff(made.shown[run.start : run.stop]) == step).all()


def test_a_cut_off_video_ends_with_the_frame_in_which_the_speech_ends() -> None:
    made = cut_off(FOUR, BASE, 0.1)
    assert made.shown.tolist() == [0, 1] and made.seconds == pytest.approx(0.12)
    assert len(cut_off(FOUR, BASE, 0.0)) == 1 and len(cut_off(FOUR, BASE, 9)) == 4


def test_a_stretched_video_keeps_its_rhythm() -> None:
    made = stretched(FOUR, BASE, 0.3)
    times = (made.stamps.starts - made.stamps.starts[0]) * float(made.time_base)
    np.testing.assert_allclose(times, np.array([0, 1, 3, 4]) / 25 * 1.5, atol=1e-4)
    assert made.seconds == pytest.approx(0.3, abs=1e-3) and float(made.speed) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no time"):
        stretched(FOUR, BASE, 1e-4)


@pytest.mark.parametrize("held", [1, 3, 100])
def test_frames_come_backward_whatever_fits_into_memory(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_clip(tmp_path / "v.mkv", uneven(7), lossless=True)
    monkeypatch.setattr(retiming, "_HELD_BYTES", held * 160 * 120 * 3)
    info = probe(video)
    with VideoReader(video) as reader:
        made = repeated(reader.stamps(), info.time_base, 2.2 * info.duration, bounce=True)
    assert made.shown.tolist()[:13] == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0]
    with open_video(RetimedVideo(video, made)) as reader:
        assert len(reader) == reader.info.frame_count == len(made)
        for first in (0, 9):
            frames = list(reader.frames(first))
            assert [frame.index for frame in frames] == list(range(first, len(made)))
            for frame in frames:
                np.testing.assert_array_equal(frame.image, picture(int(made.shown[frame.index])))
            np.testing.assert_allclose([frame.time for frame in frames], reader.times()[first:])
