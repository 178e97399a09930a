"""Videos in pieces: joined without loss of a frame or a tick, and the same bytes from the same pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dub_clips import picture, steady, uneven

from common.errors import UserError
from common.media import Encoding, VideoReader
from common.media.pieces import PieceForm, join
from common.media.stamps import Stamps

FRAMES, PIECE, LAST = 30, 12, 24


def _pieces(folder: Path, form: PieceForm, stamps: list[int]) -> list[Path]:
    pieces, ends = [], [*stamps[1:], stamps[-1] + LAST]
    for first in range(0, len(stamps), PIECE):
        pieces.append(folder / f"{first}{form.suffix}")
        with form.writer(pieces[-1]) as writer:
            for index in range(first, min(first + PIECE, len(stamps))):
                image = picture(index, form.width, form.height)
                writer.write(image, stamps[index], ends[index] - stamps[index])
    return pieces


def _joined(path: Path, stamps: list[int], encoding: Encoding | None = None) -> list[Path]:
    form = PieceForm(160, 120, Fraction(20), Fraction(1, 600), encoding or Encoding()).of_pieces(path)
    pieces = _pieces(path.parent, form, stamps)
    join(path, pieces, form, Stamps(np.array(stamps), LAST))
    return pieces


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.mkv", "o.webm"])
def test_joined_pieces_have_all_frames_at_their_times(tmp_path: Path, name: str) -> None:
    stamps = uneven(FRAMES)
    _joined(tmp_path / name, stamps)
    with VideoReader(tmp_path / name) as reader:
        tick = 1 / 600 if name in ("o.mp4", "o.mov") else 1e-3
        np.testing.assert_allclose(reader.times(), np.array(stamps) / 600, atol=0.6 * tick)
        for frame in reader:
            expected = picture(frame.index, 160, 120).astype(float)
            assert np.abs(frame.image - expected).mean() < 8
        assert frame.index == FRAMES - 1
        assert reader.info.duration == pytest.approx((stamps[-1] + LAST) / 600, abs=0.05)


ENCODINGS = {
    "h264": Encoding("libx264"),
    "h264-10": Encoding("libx264", pix_fmt="yuv422p10le"),
    "hevc-10": Encoding("libx265", pix_fmt="yuv420p10le"),
    "vp9": Encoding("libvpx-vp9"),
    "av1": Encoding("libsvtav1"),
    "prores": Encoding("prores_ks", pix_fmt="yuv422p10le", profile="hq"),
    "ffv1": Encoding(lossless=True),
}


@pytest.mark.parametrize("codec", ENCODINGS)
def test_the_same_pictures_give_the_same_bytes(tmp_path: Path, codec: str) -> None:
    made = set()
    for _ in range(2):
        _joined(tmp_path / "o.mkv", steady(FRAMES, 25), ENCODINGS[codec])
        made.add((tmp_path / "o.mkv").read_bytes())
        with VideoReader(tmp_path / "o.mkv") as reader:
            frames = [frame.image for frame in reader]
        errors = [np.abs(image - picture(i).astype(float)).mean() for i, image in enumerate(frames)]
        assert len(frames) == FRAMES and max(errors) < (12 if codec != "ffv1" else 1e-9)
    assert len(made) == 1


def test_damaged_pieces_are_told_in_one_sentence(tmp_path: Path) -> None:
    stamps = steady(FRAMES, 25)
    form = PieceForm(160, 120, Fraction(25), Fraction(1, 600)).of_pieces(tmp_path / "o.mp4")
    pieces, when = _pieces(tmp_path, form, stamps), Stamps(np.array(stamps), LAST)
    with pytest.raises(UserError, match="delete the folder"):
        join(tmp_path / "o.mp4", pieces[:-1], form, when)
    pieces[1].write_bytes(b"no video")
    with pytest.raises(UserError, match="cannot be read"):
        join(tmp_path / "o.mp4", pieces, form, when)
    assert not (tmp_path / "o.mp4").exists()
