"""HDR metadata of a source is in the output's stream again, or its loss is said."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from common.media import VideoReader, VideoWriter, probe
from common.media.following import WantedPictures, following
from common.media.hdr import HdrMetadata

_COLOURS = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)
MASTERING = (*(Fraction(value, 50_000) for value in _COLOURS), Fraction(1, 10_000), Fraction(1000))
SAID = HdrMetadata(MASTERING, (1000, 400))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PQ, BT.2020, as HDR10 cameras and graders give it."""
    path = tmp_path_factory.mktemp("hdr") / "hdr10.mp4"
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    words = {"x265-params": f"log-level=error:master-display={display}:max-cll=1000,400"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options=words)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, 16, 9
        for index in range(4):
            picture = np.full((96, 128, 3), 50 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def close(found: HdrMetadata | None) -> bool:
    assert found is not None and found.mastering is not None
    return found.light == SAID.light and np.allclose(
        [float(x) for x in found.mastering], [float(x) for x in MASTERING], atol=5e-5, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("codec", "suffix"), [(None, ".mp4"), (None, ".mkv"), ("av1", ".mkv"), ("h264", ".mov")]
)
def test_mastering_and_brightness_are_kept(
    source: Path, tmp_path: Path, codec: str | None, suffix: str
) -> None:
    info = probe(source)
    assert info.hdr == SAID
    encoding, lost = following(info, suffix, WantedPictures(codec=codec))
    output = tmp_path / f"out{suffix}"
    with (
        VideoReader(source, samples=True) as reader,
        VideoWriter(
            output,
            info.width,
            info.height,
            rate=info.average_rate,
            time_base=info.time_base,
            like=info,
            encoding=encoding,
        ) as writer,
    ):
        for frame in reader:
            assert frame.samples is not None
            writer.write(frame.samples, frame.pts)
    found = probe(output)
    assert close(found.hdr) and found.colour == info.colour
    assert not [sentence for sentence in lost if "HDR" in sentence]


@pytest.mark.parametrize(("codec", "suffix"), [("vp9", ".mkv"), ("ffv1", ".mkv"), ("prores", ".mov")])
def test_a_loss_is_said(source: Path, codec: str, suffix: str) -> None:
    _, lost = following(probe(source), suffix, WantedPictures(codec=codec))
    assert [sentence for sentence in lost if "mastering display" in sentence]


def test_metadata_of_each_picture_is_said_to_be_left_out(source: Path) -> None:
    _, lost = following(replace(probe(source), hdr=HdrMetadata(dynamic=True)), ".mp4")
    assert [sentence for sentence in lost if "Dolby Vision" in sentence]
