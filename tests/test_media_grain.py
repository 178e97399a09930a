"""Grain is told from detail before anything is coded, and coded well enough."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from common.media import Encoding, VideoReader, VideoWriter, probe
from common.media.codecs import OUTPUT_CODECS
from common.media.following import WantedPictures, following
from common.media.grain import GRAINY, grain_of
from common.media.planes import assembled, planes_of

HEIGHT, WIDTH = 144, 192


def picture(seed: int, grain: float, name: str = "yuv420p") -> av.VideoFrame:
    """Shades, half of the picture full of detail, and grain over all of it."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    luma = 110 + 60 * np.sin(rows / 40) * np.cos(columns / 50)
    detail = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 80, luma.shape), (0, 0), 1.0)
    luma[:, WIDTH // 2 :] += detail[:, WIDTH // 2 :]
    luma = luma + draw.normal(0, grain, luma.shape)
    grey = np.clip(np.rint(luma), 16, 235).astype(np.uint8)
    flat = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    made = assembled("yuv420p", [grey, flat, flat])
    return made if name == "yuv420p" else made.reformat(format=name)


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "nv12", "rgb24"])
def test_grain_is_measured_where_nothing_else_is(name: str) -> None:
    for grain in (1.0, 2.0, 4.0):
        assert grain_of(picture(0, grain, name)) == pytest.approx(grain, rel=0.3)
    assert grain_of(picture(0, 0.0, name)) < GRAINY


def test_tiny_pictures_have_none() -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (12, 40, 3), np.uint8)
    assert grain_of(av.VideoFrame.from_ndarray(tiny, format="rgb24")) == 0


def _written(path: Path, grain: float) -> Path:
    encoding = Encoding(pix_fmt="yuv420p", lossless=True)
    with VideoWriter(path, WIDTH, HEIGHT, rate=Fraction(25), encoding=encoding) as writer:
        for number in range(8):
            writer.write(picture(number, grain))
    return path


@pytest.mark.parametrize("grain", [0.0, 2.0])
def test_the_usual_quality_keeps_grain(tmp_path: Path, grain: float) -> None:
    source = _written(tmp_path / "s.mkv", grain)
    info = probe(source)
    h264 = OUTPUT_CODECS["h264"]
    encoding, _ = following(info, ".mp4", WantedPictures(codec="h264"))
    assert encoding.crf == (h264.grainy_crf if grain else h264.crf)
    assert following(info, ".mp4", WantedPictures(codec="h264", crf=20))[0].crf == 20
    coded = tmp_path / "o.mp4"
    with VideoReader(source, samples=True) as reader:
        before = [frame.samples for frame in reader]
    with VideoWriter(coded, WIDTH, HEIGHT, rate=Fraction(25), like=info, encoding=encoding) as writer:
        for one in before:
            assert one is not None
            writer.write(one)
    errors = [
        np.square(planes_of(a)[0].astype(float) - planes_of(b.samples)[0]).mean()
        for a, b in zip(before, VideoReader(coded, samples=True), strict=True)
        if a is not None and b.samples is not None
    ]
    assert 10 * np.log10(255**2 / np.mean(errors)) >= 50
