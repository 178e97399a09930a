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


def picture(
    seed: int, grain: float, name: str = "yuv420p", size: tuple[int, int] = (WIDTH, HEIGHT)
) -> av.VideoFrame:
    """Shades, half of the picture full of detail, and grain over all of it."""
    width, height = size
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    luma = 110 + 60 * np.sin(rows / 40) * np.cos(columns / 50)
    detail = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 80, luma.shape), (0, 0), 1.0)
    luma[:, width // 2 :] += detail[:, width // 2 :]
    luma = luma + draw.normal(0, grain, luma.shape)
    grey = np.clip(np.rint(luma), 16, 235).astype(np.uint8)
    flat = np.full((height // 2, width // 2), 128, np.uint8)
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


def _written(path: Path, pictures: list[av.VideoFrame]) -> Path:
    encoding = Encoding(pix_fmt="yuv420p", lossless=True)
    size = pictures[0].width, pictures[0].height
    with VideoWriter(path, *size, rate=Fraction(25), encoding=encoding) as writer:
        for one in pictures:
            writer.write(one)
    return path


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (1280, 720)], ids=str)
@pytest.mark.parametrize("grain", [0.0, 2.0])
def test_the_usual_quality_keeps_grain(tmp_path: Path, grain: float, size: tuple[int, int]) -> None:
    pictures = [picture(number, grain, size=size) for number in range(8)]
    source = _written(tmp_path / "s.mkv", pictures)
    info = probe(source)
    h264 = OUTPUT_CODECS["h264"]
    encoding, _ = following(info, ".mp4", WantedPictures(codec="h264"))
    assert encoding.crf == (h264.grainy_crf if grain else h264.crf)
    assert following(info, ".mp4", WantedPictures(codec="h264", crf=20))[0].crf == 20
    coded = tmp_path / "o.mp4"
    with VideoWriter(coded, *size, rate=Fraction(25), like=info, encoding=encoding) as writer:
        for one in pictures:
            writer.write(one)
    errors = [
        np.square(planes_of(a)[0].astype(float) - planes_of(b.samples)[0]).mean()
        for a, b in zip(pictures, VideoReader(coded, samples=True), strict=True)
        if b.samples is not None
    ]
    assert len(errors) == 8
    assert 10 * np.log10(255**2 / np.mean(errors)) >= 50


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_grain_is_seen_behind_a_title(tmp_path: Path, codec: str) -> None:
    film = [picture(number, 2.0) for number in range(6)]
    black = picture(0, 0.0)
    for plane, level in zip(black.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    path = tmp_path / "s.mkv"
    options = {"h264": {"g": "3", "crf": "1"}, "ffv1": {"g": "1"}}[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream({"h264": "libx264"}.get(codec, codec), rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, one in enumerate([black] * 4 + film):
            one.pts, one.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(one))
        container.mux(stream.encode(None))
    assert probe(path).grain >= GRAINY
