"""Many kinds of media through a dub with a stand-in for the editor: what is not the edit stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from dub_clips import BOX, HEIGHT, WIDTH, write_speech
from scipy.ndimage import gaussian_filter

from common.errors import UserError
from common.media import VideoReader, probe
from common.media.colour import ColourTags
from common.media.fields import BOTTOM_FIRST, TOP_FIRST, FieldMarker
from common.media.matroska import PLACEHOLDER, TrackNote, complete_tracks, shown_size
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import composited_frames, plan_face
from stage2_dubber.dub.outputs import write_outputs
from stage2_dubber.dub.request import DubRequest

FRAMES = 8
GRAIN = 2.0  # codes of 8 bits, before it is softened as film does
BT601, BT709 = ColourTags(6, 6, 6, False), ColourTags(1, 1, 1, False)
FULL, UNTAGGED = ColourTags(1, 1, 1, True), ColourTags()
RGB, RGB_PQ = ColourTags(0, 1, 1, True), ColourTags(0, 9, 16, True)
HLG, PQ = ColourTags(9, 9, 18, False), ColourTags(9, 9, 16, False)
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)


@dataclass(frozen=True)
class Medium:
    """One kind of source: ``encoder`` in ``suffix``, and what is expected of the dub."""

    encoder: str
    suffix: str
    pix_fmt: str = "yuv420p"
    rate: Fraction | int | None = 25  # None: variable
    tags: ColourTags = BT709
    sound: str = "pcm_s16le"
    output: str = ""  # suffix, if not the source's
    codec: str = ""  # of the dub, if not the source's
    size: tuple[int, int] = (WIDTH, HEIGHT)
    order: int = 0
    start: int = 0  # ticks
    lossless: bool = False
    aspect: Fraction = Fraction(1)
    beside: bool = False  # the container has the tags, the coded pictures none

    def __str__(self) -> str:
        words = [self.encoder, self.pix_fmt, str(self.rate), self.sound, self.suffix + (self.output or "")]
        return "-".join(words)


MEDIA = [
    Medium("libx264", ".mp4"),
    Medium("libx264", ".mp4", rate=24, sound="aac"),
    Medium("libx264", ".mp4", rate=FILM, tags=BT601, sound="libmp3lame"),
    Medium("libx264", ".mp4", rate=NTSC, tags=FULL, sound="ac3"),
    Medium("libx264", ".mp4", rate=30, tags=UNTAGGED, sound="alac"),
    Medium("libx264", ".mp4", rate=50, sound="pcm_f32le"),
    Medium("libx264", ".mp4", rate=60, start=400, sound="libopus"),
    Medium("libx264", ".mp4", rate=None),
    Medium("libx264", ".mkv", rate=None, sound="pcm_f32le"),
    Medium("libx264", ".mov", rate=Fraction(60000, 1001), sound="pcm_s24le"),
    Medium("libx264", ".mov", sound="pcm_f32le", aspect=Fraction(64, 45)),
    Medium("libx264", ".ts", output=".mp4", sound="aac"),
    Medium("libx264", ".mp4", "yuv422p"),
    Medium("libx264", ".mp4", "yuv444p", tags=BT601),
    Medium("libx264", ".mp4", "yuv420p10le", tags=HLG),
    Medium("libx264", ".mov", "yuv422p10le", rate=24),
    Medium("libx264", ".mkv", "yuv420p", order=TOP_FIRST, sound="flac"),
    Medium("libx264", ".mov", "yuv420p", order=BOTTOM_FIRST, rate=NTSC),
    Medium("libx265", ".mp4", tags=UNTAGGED),
    Medium("libx265", ".mkv", "yuv420p10le", tags=PQ, rate=24),
    Medium("libx265", ".mov", "yuv422p10le", tags=HLG, rate=50),
    Medium("libx265", ".mp4", "yuv444p"),
    Medium("libvpx-vp9", ".webm", sound="libopus"),
    Medium("libvpx-vp9", ".webm", "yuva420p", sound="libopus", aspect=Fraction(4, 3)),
    Medium("libvpx-vp9", ".mp4", "yuv444p", rate=30),
    Medium("libvpx-vp9", ".webm", size=(161, 121), sound="aac", rate=60),
    Medium("libvpx-vp9", ".webm", size=(161, 121), output=".mp4", sound="aac"),
    Medium("libsvtav1", ".mp4", "yuv420p10le", tags=PQ),
    Medium("libsvtav1", ".webm", sound="libopus", rate=24),
    Medium("prores_ks", ".mov", "yuv422p10le", rate=24, sound="pcm_s24le"),
    Medium("prores_ks", ".mov", "yuv444p10le", rate=NTSC, sound="pcm_s16be"),
    Medium("prores_ks", ".mov", "yuv422p10le", order=TOP_FIRST),
    Medium("dnxhd", ".mov", "yuv422p", size=(256, 144), rate=FILM),
    Medium("dnxhd", ".mov", "yuv422p10le", size=(256, 144), tags=HLG),
    Medium("ffv1", ".mkv", "yuv420p", rate=30, sound="flac", lossless=True),
    Medium("ffv1", ".mkv", "yuv422p10le", sound="pcm_s24le", lossless=True, aspect=Fraction(64, 45)),
    Medium("ffv1", ".mkv", "yuv444p12le", tags=PQ, lossless=True),
    Medium("ffv1", ".mkv", "yuva420p", rate=None, lossless=True),
    Medium("ffv1", ".mkv", "yuv422p", order=BOTTOM_FIRST, lossless=True),
    Medium("libx264", ".mov", tags=HLG, beside=True),
    Medium("libx264", ".mkv", tags=BT601, beside=True),
    Medium("libx265", ".mov", "yuv420p10le", tags=HLG, beside=True),
    Medium("libx265", ".mp4", "yuv420p10le", tags=PQ, beside=True),
    Medium("libx265", ".mkv", tags=BT601, beside=True),
    Medium("libx265", ".mp4", tags=FULL, beside=True),
    Medium("libvpx-vp9", ".mkv", tags=PQ, beside=True),
    Medium("libvpx-vp9", ".webm", tags=HLG, beside=True, sound="libopus"),
    Medium("libsvtav1", ".mkv", "yuv420p10le", tags=PQ, beside=True),
    Medium("libsvtav1", ".mp4", tags=BT601, beside=True),
    Medium("prores_ks", ".mov", "yuv422p10le", beside=True),
    Medium("prores_ks", ".mov", "yuv444p10le", tags=HLG, beside=True),
    Medium("prores_ks", ".mov", "yuva444p10le", tags=BT601, beside=True),
    Medium("prores_ks", ".mkv", "yuv422p10le", tags=PQ, beside=True),
    Medium("dnxhd", ".mov", "yuv422p10le", size=(256, 144), tags=PQ, beside=True),
    Medium("ffv1", ".mkv", "yuv422p10le", tags=HLG, beside=True, lossless=True),
    Medium("libx265", ".mov", tags=HLG, beside=True, output=".mkv", lossless=True),
    Medium("libx264", ".mp4", rate=NTSC, output=".mkv", lossless=True, sound="pcm_f32le"),
    Medium("ffv1", ".mkv", "gbrp12le", tags=RGB_PQ, lossless=True),
    Medium("ffv1", ".mkv", "gbrp16le", tags=RGB, lossless=True),
    Medium("ffv1", ".mkv", "gray16le", tags=FULL, lossless=True),
    Medium("ffv1", ".mkv", "gray10le", lossless=True),
    Medium("ffv1", ".mkv", "yuv411p", tags=BT601, lossless=True, order=BOTTOM_FIRST),
    Medium("ffv1", ".mkv", "yuv440p10le", lossless=True),
    Medium("libx265", ".mov", "gray10le"),
    Medium("libx265", ".mkv", "gbrp12le", tags=RGB_PQ),
    Medium("dnxhd", ".mov", "gbrp10le", size=(256, 144), tags=RGB),
    Medium("dnxhd", ".mov", "gbrp10le", size=(256, 144), tags=ColourTags(0, 1, 1, False)),
    Medium("mpeg2video", ".mkv", output=".mp4", codec="h264", sound="ac3", tags=BT601),
    Medium("mpeg4", ".avi", output=".mp4", codec="h264", sound="libmp3lame", tags=UNTAGGED),
    Medium("mjpeg", ".mov", "yuvj422p", output=".mp4", codec="h264", tags=UNTAGGED),
]
OPTIONS = {
    "libx264": {"crf": "12", "g": "5"},
    "libx265": {"crf": "10", "x265-params": "log-level=error"},
    "libvpx-vp9": {"crf": "12", "b": "0", "cpu-used": "5"},
    "libsvtav1": {"preset": "10", "crf": "12"},
    "mpeg2video": {"qscale": "2"},
    "mpeg4": {"qscale": "2"},
}
SOUND_SUFFIX = {"aac": ".m4a", "alac": ".m4a", "libmp3lame": ".mp3", "libopus": ".ogg", "flac": ".flac"}


def test_the_table_is_long_enough() -> None:
    assert len(MEDIA) >= 40 and len({str(medium) + str(medium.order) for medium in MEDIA}) > 38


def painted(medium: Medium, number: int) -> av.VideoFrame:
    """Slow waves in the format's own codes, which move a little, under film's grain."""
    width, height = medium.size
    picture = av.VideoFrame(width, height, medium.pix_fmt)
    depth = picture.format.components[0].bits
    for index, plane in enumerate(picture.planes):
        rows, columns = np.mgrid[0 : plane.height, 0 : plane.width] / plane.width
        wave = np.sin(5 * columns + 0.1 * number + index) + np.cos(4 * rows + index)
        noise = np.random.default_rng([number, index]).normal(0, GRAIN, wave.shape)
        grain = 0 if index == 3 else gaussian_filter(noise, 0.6)  # transparency has none
        codes = ((128 + (45 if index in (0, 3) else 18) * wave + grain) * (1 << (depth - 8))).round()
        kind = np.uint8 if depth == 8 else np.dtype("<u2")
        buffer = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        raw = codes.astype(kind).view(np.uint8)
        buffer[: plane.height, : raw.shape[1]] = raw
    return picture


def write_medium(path: Path, medium: Medium) -> Path:
    """The source, without sound."""
    if medium.beside:
        plain = write_medium(path.with_stem("plain"), replace(medium, tags=UNTAGGED, beside=False))
        return tagged_beside(plain, path, medium.tags)
    base = Fraction(1, 1000) if medium.rate is None else 1 / Fraction(medium.rate)
    lengths = np.random.default_rng(1).integers(17, 80, FRAMES)
    stamps = np.cumsum(lengths) - lengths[0] if medium.rate is None else np.arange(FRAMES)
    with av.open(str(path), "w") as output:
        options = OPTIONS.get(medium.encoder, {})
        if medium.order == BOTTOM_FIRST and medium.encoder == "libx264":
            options = {**options, "x264-params": "bff=1"}
        if medium.encoder == "dnxhd":
            kind = "444" if medium.pix_fmt[0] == "g" else "hqx" if "10" in medium.pix_fmt else "hq"
            options = {"profile": f"dnxhr_{kind}"}
        stream = output.add_stream(medium.encoder, rate=medium.rate or 25, options=options, time_base=base)
        stream.width, stream.height = medium.size
        stream.pix_fmt = medium.pix_fmt
        context = stream.codec_context
        if medium.tags != UNTAGGED:
            medium.tags.apply(context)
        context.sample_aspect_ratio = medium.aspect
        placed = medium.aspect != 1 and medium.suffix in (".mkv", ".webm")
        if placed:
            stream.metadata["title"] = PLACEHOLDER
        mark = None
        if medium.order:
            context.flags |= (1 << 18) | (1 << 29)
            context.field_order = medium.order
            mark = FieldMarker(*medium.size, medium.pix_fmt, medium.order)
        for number, stamp in enumerate(stamps.tolist()):
            picture = painted(medium, number)
            picture = picture if mark is None else mark(picture)
            picture.pts, picture.time_base = stamp + medium.start, base
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    if placed:
        complete_tracks(path, {0: TrackNote(shown=shown_size(*medium.size, medium.aspect))})
    return path


def tagged_beside(plain: Path, path: Path, tags: ColourTags) -> Path:
    """A copy whose container has these tags; the coded pictures stay as they are."""
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        given = source.streams.video[0]
        stream = output.add_stream_from_template(given, opaque=True)
        if path.suffix == plain.suffix == ".mov":
            stream.codec_context.codec_tag = given.codec_context.codec_tag
        tags.apply(stream.codec_context)
        for packet in source.demux(given):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return path


def write_sound(folder: Path, codec: str) -> Path:
    wav = write_speech(folder / "speech.wav", FRAMES / 25)
    path = folder / f"given{SOUND_SUFFIX.get(codec, '.mka')}"
    with av.open(str(wav)) as source, av.open(str(path), "w") as output:
        rate = 48000 if codec in ("libopus", "ac3", "libmp3lame", "aac") else 16000
        stream = output.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                output.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return path


class PatchEditor:
    """Inverts the middle of every crop."""

    crop_size, fps = 64, 25.0

    def stream(self, crops: Iterator[np.ndarray], *_: object) -> Iterator[Edit]:
        for crop in crops:
            edited = crop.copy()
            edited[24:40, 24:40] = 255 - edited[24:40, 24:40]
            yield Edit(edited)


def dub(request: DubRequest) -> tuple[str, ...]:
    """The dub by the stand-in; its warnings."""
    inputs = check_request(request)
    plan = plan_face(request, 1.45, 25.0, lambda *_: None)
    features = np.zeros((1, 4), np.float32)
    frames = composited_frames(request.video, plan, PatchEditor(), features)
    write_outputs(request, inputs, plan, frames)
    return inputs.warnings


def samples(path: Path) -> Iterator[tuple[Fraction, list[np.ndarray]]]:
    """Times on the file's clock, and planes."""
    with VideoReader(path, samples=True) as reader:
        for frame in reader:
            assert frame.samples is not None
            kind = np.uint8 if frame.samples.format.components[0].bits == 8 else np.dtype("<u2")
            planes = []
            for plane in frame.samples.planes:
                rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
                wide = plane.width * np.dtype(kind).itemsize
                planes.append(np.ascontiguousarray(rows[:, :wide]).view(kind).astype(np.int64))
            yield frame.pts * reader.info.time_base, planes


def sound_packets(path: Path) -> tuple[str, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, [bytes(p) for p in container.demux(stream) if p.size]


@pytest.mark.parametrize("medium", MEDIA, ids=str)
def test_all_but_the_edit_stays(tmp_path: Path, medium: Medium) -> None:
    video = write_medium(tmp_path / f"v{medium.suffix}", medium)
    suffix = medium.output or medium.suffix
    request = DubRequest(
        video=video,
        audio=write_sound(tmp_path, medium.sound),
        output=tmp_path / f"o{suffix}",
        box=BOX,
        lossless=medium.lossless,
    )
    warnings = dub(request)
    before, after = probe(video), probe(request.output)
    wanted = "ffv1" if medium.lossless else medium.codec or before.codec
    assert after.codec == wanted
    assert after.frame_count == before.frame_count == FRAMES
    assert (after.width, after.height) == (before.width, before.height)
    if medium.beside:
        assert replace(before.colour, full_range=bool(before.colour.full_range)) == medium.tags
    assert after.colour.matrix == before.colour.matrix
    assert after.colour.primaries == before.colour.primaries
    assert after.colour.transfer == before.colour.transfer
    assert bool(after.colour.full_range) == bool(before.colour.full_range)
    assert after.field_order == before.field_order == medium.order
    assert abs(before.pixel_aspect / medium.aspect - 1) < 0.01
    assert abs(after.pixel_aspect / medium.aspect - 1) < 0.01
    assert after.pix_fmt.replace("yuvj", "yuv") == before.pix_fmt.replace("yuvj", "yuv")
    first, errors, peak = None, [], 255
    for (old_time, old), (new_time, new) in zip(samples(video), samples(request.output), strict=True):
        first = old_time - new_time if first is None else first
        tolerance = Fraction(1, 1000) if suffix in (".mkv", ".webm") else 0
        assert abs(old_time - new_time - first) <= tolerance, "time stamps to the tick of the container"
        peak = 255 if before.pix_fmt[-2:] != "le" else (1 << int(before.pix_fmt[-4:-2].strip("p"))) - 1
        errors.append(old[0][:, :16] - new[0][:, :16])
        if len(old) == 4:
            assert np.abs(old[3] - new[3]).max() <= (0 if medium.lossless else 8), "transparency stays"
    error = np.mean(np.square(errors))
    if medium.lossless:
        assert error == 0
    else:
        psnr = 10 * np.log10(peak**2 / max(error, 1e-9))
        print(f"PSNR {psnr:.1f}")
        assert psnr >= 50
    copied = not any("sound is encoded" in warning for warning in warnings)
    (old_codec, given), (new_codec, delivered) = sound_packets(request.audio), sound_packets(request.output)
    assert copied == (old_codec == new_codec)
    if copied:
        assert delivered == given[len(given) - len(delivered) :] and len(given) - len(delivered) <= 1


def test_interlaced_pictures_that_a_container_cannot_hold_are_refused(tmp_path: Path) -> None:
    video = write_medium(tmp_path / "v.mkv", Medium("libx264", ".mkv", order=TOP_FIRST))
    audio = write_speech(tmp_path / "a.wav", 0.4)
    with pytest.raises(UserError, match="interlaced") as error:
        check_request(DubRequest(video=video, audio=audio, output=tmp_path / "o.webm", box=BOX))
    assert ".mov or .mkv" in str(error.value)
    with pytest.raises(UserError, match="interlaced"):
        check_request(DubRequest(video=video, audio=audio, output=tmp_path / "o.mp4", box=BOX, codec="hevc"))


@pytest.mark.parametrize(
    ("codec", "suffix", "words"), [("prores", ".mp4", "does not take ProRes"), ("none", ".mp4", "no codec")]
)
def test_codecs_that_do_not_go_are_told_before_the_work(
    tmp_path: Path, codec: str, suffix: str, words: str
) -> None:
    video = write_medium(tmp_path / "v.mp4", Medium("libx264", ".mp4"))
    audio = write_speech(tmp_path / "a.wav", 0.4)
    with pytest.raises(UserError, match=words):
        check_request(
            DubRequest(video=video, audio=audio, output=tmp_path / f"o{suffix}", box=BOX, codec=codec)
        )
