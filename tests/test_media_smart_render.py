"""Groups of pictures without an edit are copied as they are coded, into one stream with encoded ones."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import pytest
from dub_clips import BOX, picture, write_speech
from test_media_table import PatchEditor, tagged_beside

from common.media import probe
from common.media.colour import ColourTags
from common.media.gops.coded import CodedVideo
from common.media.gops.nal import KINDS, NalForm, kind_of, set_number, with_start_codes
from common.media.gops.plan import Cut, plan_cuts
from stage2_dubber.dub.faces.follow import follow_face
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import composited_frames, plan_followed
from stage2_dubber.dub.outputs import JobOutputs
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import passing_folder

FRAMES, GROUP = 48, 12
EDITED = range(26, 36)
WIDTH, HEIGHT = 160, 120

ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("libx264", "yuv420p", {"crf": "23", "bf": "3", "profile": "high", "refs": "4"}),
    "h264-main": ("libx264", "yuv420p", {"crf": "30", "bf": "1", "profile": "main", "level": "3.1"}),
    "h264-baseline": ("libx264", "yuv420p", {"crf": "28", "profile": "baseline"}),
    "h264-10": ("libx264", "yuv422p10le", {"crf": "24", "bf": "2"}),
    "hevc": ("libx265", "yuv420p", {"crf": "24", "x265-params": "log-level=error:open-gop=0:bframes=3"}),
    "hevc-10": ("libx265", "yuv420p10le", {"crf": "24", "x265-params": "log-level=error:open-gop=0"}),
    "hevc-rgb": ("libx265", "gbrp10le", {"crf": "16", "x265-params": "log-level=error:open-gop=0"}),
    "hevc-gray": ("libx265", "gray10le", {"crf": "24", "x265-params": "log-level=error:open-gop=0"}),
}


def source(path: Path, kind: str, options: dict[str, str] | None = None, uneven: bool = True) -> Path:
    """A clip of groups of 12 pictures, of an uneven rate in containers that can say it exactly."""
    encoder, pix_fmt, settings = ENCODERS[kind]
    settings = {**settings, "g": str(GROUP), **(options or {})}
    if encoder == "libx265":
        settings["x265-params"] += f":keyint={GROUP}:min-keyint={GROUP}"
    lengths = np.random.default_rng(3).integers(20, 31, FRAMES) if uneven else np.full(FRAMES, 24)
    stamps = np.concatenate([[0], np.cumsum(lengths)])[:-1].tolist()
    container_options = {"video_track_timescale": "600"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as output:
        stream = output.add_stream(encoder, rate=25, options=settings, time_base=Fraction(1, 600))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(index, WIDTH, HEIGHT), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 600)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def rendered(clip: Path, output: Path, **options: Any) -> JobOutputs:
    """A dub by a stand-in that inverts the middle of the face in the frames that are edited."""
    moments = times(clip)
    start, end = (float(moments[frame] - moments[0]) for frame in (EDITED.start, EDITED.stop))
    request = DubRequest.of(
        clip,
        write_speech(output.with_suffix(".wav"), 2.4),
        output,
        **{"box": BOX, "start": start, "end": end, "outside": "silence", **options},
    )
    inputs = check_request(request)
    followed = follow_face(request, lambda *_: None, inputs=inputs)
    plan = plan_followed(clip, followed, 1.45, 25.0)
    (run,) = (segment.source for segment in plan.segments)
    assert run == EDITED
    features = np.zeros((1, 4), np.float32)
    with passing_folder(output) as work:
        outputs = JobOutputs(request, inputs, work, np.r_[run], plan.damaged)
        frames = composited_frames(inputs.video, plan, PatchEditor(), features)
        outputs.write(frames)
    return outputs


def break_packet(path: Path, number: int, header: bool = False) -> None:
    """Overwrite some of a packet's picture, or the header of its slice."""
    with av.open(str(path)) as container:
        packet = next(islice(container.demux(video=0), number, None))
        assert packet.pos is not None
        data, place = bytes(packet), 0
    while (after := place + 4 + int.from_bytes(data[place : place + 4], "big")) < len(data):
        place = after
    place, count = (place + 6, 4) if header else ((place + len(data)) // 2, min(30, (len(data) - place) // 4))
    with path.open("r+b") as file:
        file.seek(packet.pos + place)
        file.write(bytes(count) if header else np.random.default_rng(1).bytes(count))


def decoded(path: Path, threads: str = "AUTO") -> Iterator[tuple[Fraction, bytes]]:
    """Time and samples of every picture; a decoder that meets anything odd stops."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        stream.thread_type = threads
        for frame in container.decode(stream):
            yield frame.pts * stream.time_base, b"".join(_rows(frame))


def _rows(frame: av.VideoFrame) -> Iterator[bytes]:
    for plane in frame.planes:
        wide = plane.width * (1 if frame.format.components[0].bits == 8 else 2)
        data = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, :wide]
        yield data.tobytes()


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(p.pts * stream.time_base for p in container.demux(stream) if p.pts is not None)


@pytest.mark.parametrize(
    ("kind", "suffix"), [*((kind, ".mp4") for kind in ENCODERS), ("h264", ".mkv"), ("hevc", ".mkv")]
)
def test_frames_without_an_edit_are_the_sources(tmp_path: Path, kind: str, suffix: str) -> None:
    """Bit by bit, at their times, from every place where a player may begin."""
    clip = source(tmp_path / f"clip{suffix}", kind)
    outputs = rendered(clip, tmp_path / f"out{suffix}")
    assert FRAMES - 2 * GROUP <= outputs.copied_frames < FRAMES and not outputs.not_copied
    with av.logging.Capture() as said:
        av.logging.set_level(av.logging.WARNING)
        before, after = list(decoded(clip)), list(decoded(tmp_path / f"out{suffix}"))
        av.logging.set_level(None)
    assert not said, "FFmpeg's decoder complains"
    assert [moment for moment, _ in after] == [moment for moment, _ in before]
    same = [one[1] == other[1] for one, other in zip(before, after, strict=True)]
    copied = [frame for cut in outputs._cuts if cut.copied for frame in range(cut.first, cut.stop)]
    assert len(copied) == outputs.copied_frames and all(same[frame] for frame in copied)
    assert not any(same[frame] for frame in EDITED)
    assert list(decoded(tmp_path / f"out{suffix}", "NONE")) == after
    known = dict(after)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = {packet.pts for packet in packets if packet.is_keyframe}
        assert len(keys) >= FRAMES // GROUP
        found = set()
        for moment in sorted(packet.pts for packet in packets):
            container.seek(moment, stream=stream)
            frames = [frame for frame, _ in zip(container.decode(stream), range(3), strict=False)]
            if frames[0].pts in found:
                continue
            found.add(frames[0].pts)
            for frame in frames:
                assert known[frame.pts * stream.time_base] == b"".join(_rows(frame))
        assert found == keys


def test_the_header_claims_what_the_pictures_need(tmp_path: Path) -> None:
    """Parameter sets of both kinds of pictures, with numbers of their own, of one profile and level."""
    clip = source(tmp_path / "clip.mp4", "h264-main")
    rendered(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        header = stream.codec_context.extradata
        assert stream.codec_context.codec_tag == "avc1"
        form = NalForm.of(header, "h264")
        inside = {unit[0] & 31 for packet in container.demux(stream) for unit in form.units(bytes(packet))}
    sequences, pictures = ([unit for unit in form.sets if unit[0] & 31 == kind] for kind in (7, 8))
    assert [set_number(unit) for unit in sequences] == [0, 1]
    assert [set_number(unit) for unit in pictures] == [0, 1]
    assert {(unit[1], unit[3]) for unit in sequences} == {(77, 31)}
    assert not inside & {7, 8}, "avc1 allows parameter sets in the header only"


@pytest.mark.parametrize("kind", ["h264", "hevc"])
def test_transport_streams_go_into_mp4(tmp_path: Path, kind: str) -> None:
    """Start codes, delimiters and parameter sets in the pictures become lengths and a header."""
    clip = source(tmp_path / "clip.ts", kind, uneven=False)
    outputs = rendered(clip, tmp_path / "out.mp4")
    assert outputs.copied_frames >= FRAMES - 2 * GROUP
    before, after = ([data for _, data in decoded(path)] for path in (clip, tmp_path / "out.mp4"))
    copied = [frame for cut in outputs._cuts if cut.copied for frame in range(cut.first, cut.stop)]
    assert len(after) == FRAMES and all(before[frame] == after[frame] for frame in copied)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        form = NalForm.of(stream.codec_context.extradata or b"", kind)
        first = [
            kind_of(form.units(bytes(packet))[0], kind) for packet in container.demux(stream) if packet.size
        ]
    assert KINDS[kind].delimiter not in first


@pytest.mark.parametrize(
    ("kind", "name", "options", "words"),
    [
        (
            "hevc",
            "o.mp4",
            {"x265-params": "log-level=error:open-gop=1:bframes=3"},
            "groups of pictures are open",
        ),
        ("h264", "o.mp4", {"flags": "+ildct", "x264-params": "tff=1"}, "it is interlaced"),
    ],
)
def test_what_cannot_be_joined_is_said(
    tmp_path: Path, kind: str, name: str, options: dict[str, str], words: str
) -> None:
    clip = source(tmp_path / "clip.mp4", kind, options)
    outputs = rendered(clip, tmp_path / name)
    assert outputs.copied_frames == 0 and words in outputs.not_copied
    assert len(list(decoded(tmp_path / name))) == FRAMES


@pytest.mark.parametrize(("kind", "copies"), [("h264", True), ("hevc", False)])
def test_colours_that_copied_pictures_would_not_tell(tmp_path: Path, kind: str, copies: bool) -> None:
    """Encoded HEVC pictures tell their colours; beside them those that tell none would look different.

    Decoders of H.264 keep for such pictures what is known of others and of the container.
    """
    tags = ColourTags(9, 9, 18, False)
    clip = tagged_beside(source(tmp_path / "plain.mp4", kind), tmp_path / "clip.mp4", tags)
    outputs = rendered(clip, tmp_path / "out.mp4")
    assert bool(outputs.copied_frames) == copies
    assert ("container tells colours" in outputs.not_copied) != copies
    assert probe(tmp_path / "out.mp4").colour == tags
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert {int(frame.colorspace) for frame in container.decode(video=0)} == {9}


@pytest.mark.parametrize("options", [{"smart_render": False}, {"codec": "hevc"}, {"pix_fmt": "yuv444p"}])
def test_nothing_is_copied_or_said_where_nobody_expects_it(tmp_path: Path, options: dict[str, Any]) -> None:
    outputs = rendered(source(tmp_path / "clip.mp4", "h264"), tmp_path / "out.mp4", **options)
    assert outputs.copied_frames == 0 and not outputs.not_copied


def test_cuts_hold_every_frame_once() -> None:
    """Copied where a run may begin and end, in pieces else."""
    begins, ends = np.zeros(41, bool), np.zeros(41, bool)
    begins[[0, 10, 20, 30]] = True
    ends[[4, 8, 10, 14, 20, 26, 30, 40]] = True
    coded = CodedVideo(np.arange(40), begins, ends, np.zeros(0, np.uint8))
    cuts = plan_cuts(40, np.array([17, 18]), coded, 8)
    assert cuts == (
        Cut(0, 8, True),
        Cut(8, 14, True),
        Cut(14, 20),
        Cut(20, 28, True),
        Cut(28, 36, True),
        Cut(36, 40, True),
    )
    assert plan_cuts(20, np.arange(20), coded, 8) == (Cut(0, 8), Cut(8, 16), Cut(16, 20))


def test_units_come_back() -> None:
    units = [bytes([0x67, 100, 0, 31, 0xAC]), bytes([0x68, 0xEB]), bytes([0x65, 0, 0, 3, 1])]
    assert NalForm(0, ()).units(b"\0" + with_start_codes(units)) == units
    sized = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    assert NalForm(4, ()).units(sized) == units
    for damaged in (sized[:-1], b"\0\0\0\0" + sized):
        with pytest.raises(ValueError, match="longer than"):
            NalForm(4, ()).units(damaged)
    with pytest.raises(ValueError, match="cut short"):
        NalForm.of(bytes([1, 100, 0, 31, 255, 225, 0, 40]), "h264")


@pytest.mark.parametrize(
    ("kind", "broken", "header"),
    [
        ("h264", 0, False),
        ("h264-10", 0, False),
        ("h264-baseline", 5, False),
        ("h264", 5, True),
        ("hevc", 5, True),
    ],
)
def test_groups_of_pictures_that_are_damaged_are_not_copied(
    tmp_path: Path, kind: str, broken: int, header: bool
) -> None:
    """A decoder guesses them by what came before, which is something else in the output."""
    clip = source(tmp_path / "clip.mp4", kind)
    break_packet(clip, broken, header)
    outputs = rendered(clip, tmp_path / "out.mp4")
    copied = {frame for cut in outputs._cuts if cut.copied for frame in range(cut.first, cut.stop)}
    assert copied and not copied & set(range(GROUP)) and outputs.copied_frames == len(copied)
    strict = list(decoded(tmp_path / "out.mp4"))
    assert len(strict) == FRAMES


def test_a_file_that_is_damaged_everywhere_is_encoded_and_this_is_said(tmp_path: Path) -> None:
    clip = source(tmp_path / "clip.mp4", "h264")
    for number in range(0, FRAMES, GROUP):
        break_packet(clip, number)
    outputs = rendered(clip, tmp_path / "out.mp4")
    assert outputs.copied_frames == 0 and "since its groups of pictures are damaged" in outputs.not_copied
    assert len(list(decoded(tmp_path / "out.mp4"))) == FRAMES
