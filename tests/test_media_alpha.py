"""Transparency: kept where the output can hold it, and its loss is said."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from common.media import VideoReader, VideoWriter, probe
from common.media.following import following
from common.media.planes import planes_of


def write_alpha(path: Path, codec: str, pix_fmt: str) -> Path:
    """Four pictures whose right half is half transparent, as editors export them."""
    picture = np.full((48, 64, 4), 255, np.uint8)
    picture[:, 32:, 3] = 100
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for index in range(4):
            picture[..., :3] = 50 * index
            frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "output"),
    [
        ("s.webm", "libvpx-vp9", "yuva420p", "out.webm"),
        ("s.mkv", "libvpx-vp9", "yuva420p", "out.mkv"),
        ("s.mov", "prores_ks", "yuva444p10le", "out.mov"),
        ("s.mov", "prores_ks", "yuva444p10le", "out.mkv"),
    ],
)
def test_transparency_is_kept(tmp_path: Path, name: str, codec: str, pix_fmt: str, output: str) -> None:
    source = write_alpha(tmp_path / name, codec, pix_fmt)
    info = probe(source)
    encoding, lost = following(info, Path(output).suffix)
    assert "yuva" in info.pix_fmt and not [sentence for sentence in lost if "transparency" in sentence]
    with (
        VideoReader(source, samples=True) as reader,
        VideoWriter(tmp_path / output, 64, 48, rate=25, like=info, encoding=encoding) as writer,
    ):
        for frame in reader:
            assert frame.samples is not None
            writer.write(frame.samples)
    for path in (source, tmp_path / output):
        frames = list(VideoReader(path, samples=True))
        assert [frame.index for frame in frames] == [0, 1, 2, 3]
        for frame in frames:
            assert frame.samples is not None
            alpha = planes_of(frame.samples)[3] / ((1 << frame.samples.format.components[0].bits) - 1)
            assert abs(alpha[:, :30].mean() - 1) < 0.02 and abs(alpha[:, 34:].mean() - 100 / 255) < 0.02


@pytest.mark.parametrize(("codec", "pix_fmt"), [("qtrle", "argb"), ("png", "rgba")])
def test_transparency_of_rgb_is_said_to_be_left_out(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    _, lost = following(probe(write_alpha(tmp_path / "s.mov", codec, pix_fmt)), ".mov")
    assert [sentence for sentence in lost if "transparency is left out" in sentence]
