"""Files of strangers are decoded in a process of their own, within bounds: hostile files end as sentences."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from dub_clips import steady, write_clip, write_speech
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import EXIT_CODE, UserError
from common.media import Encoding, VideoReader, VideoWriter, load_audio, probe, read_frames
from common.media.isolation import limits as bounds
from common.media.isolation.limits import DecodingLimits, set_limits
from common.media.planes import planes_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "damaged"))
from damaged_attempt import attempt
from damaged_material import damaged_files
from fuzz import try_bytes
from hostile_files import hostile_files, large_pictures, sparse_video


@pytest.fixture(autouse=True)
def usual_limits() -> Iterator[None]:
    yield
    set_limits(DecodingLimits())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", steady(30, 25))


def servers() -> list[psutil.Process]:
    """The decoding servers of this process; its other children belong to other tests."""
    return [
        child
        for child in psutil.Process().children()
        if any("common.media.isolation" in word for word in child.cmdline())
    ]


def decoding() -> list[psutil.Process]:
    """Processes that decode for this one: what its servers have forked."""
    return [child for server in servers() for child in server.children()]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuva444p", "yuv444p12le", "gray", "bgr0"])
def test_frames_are_the_same_as_those_decoded_here(tmp_path: Path, pix_fmt: str) -> None:
    """An open file is read in this process, a path in another one."""
    path = tmp_path / "clip.mkv"
    with VideoWriter(path, 38, 26, rate=25, encoding=Encoding(lossless=True, pix_fmt=pix_fmt)) as writer:
        for level in (20, 120, 220):
            writer.write(np.random.default_rng(level).integers(0, level, (26, 38, 3), np.uint8))
    with path.open("rb") as stream:
        here = [*VideoReader(stream, samples=True)]
    apart = [*VideoReader(path, samples=True)]
    assert len(here) == len(apart) == 3
    for one, other in zip(here, apart, strict=True):
        assert (one.index, one.pts, one.time, one.duration) == (
            other.index,
            other.pts,
            other.time,
            other.duration,
        )
        assert np.array_equal(one.image, other.image)
        assert (one.samples is None) == (other.samples is None)
        if one.samples is not None and other.samples is not None:
            assert one.samples.format.name == other.samples.format.name
            assert (one.samples.colorspace, one.samples.color_range) == (
                other.samples.colorspace,
                other.samples.color_range,
            )
            assert all(map(np.array_equal, planes_of(one.samples), planes_of(other.samples)))


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_dies_leaves_one_sentence(tmp_path: Path, how: signal.Signals) -> None:
    path = write_clip(tmp_path / "clip.mkv", steady(60, 25), lossless=True)
    frames = iter(VideoReader(path, samples=True))
    next(frames)
    [process] = decoding()
    process.send_signal(how)
    with pytest.raises(UserError, match=r"clip\.mkv' ends its decoder .*: it is damaged"):
        for _ in frames:
            pass
    assert len(read_frames(path)) == 60, "the next one is decoded by another process"


def test_a_server_that_was_ended_is_started_again(clip: Path) -> None:
    probe(clip)
    running = servers()
    assert running
    for server in running:
        server.kill()
        server.wait()
    assert probe(clip).frame_count == 30


def test_readers_go_on_side_by_side_and_end_when_nobody_reads(clip: Path) -> None:
    readers = [iter(VideoReader(clip)) for _ in range(3)]
    for index in range(5):
        assert [next(reader).index for reader in readers] == [index] * 3
    assert len(decoding()) == 3
    for reader in readers:
        reader.close()
    _, alive = psutil.wait_procs(decoding(), timeout=20)
    assert not alive


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", steady(10, 25))
    assert probe(path) is probe(path)
    write_clip(path, steady(12, 25))
    assert probe(path).frame_count == len(read_frames(path)) == 12
    path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        probe(path)


def test_relative_names_are_those_of_the_caller(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe(clip)
    monkeypatch.chdir(clip.parent)
    assert probe("clip.mp4").path == "clip.mp4"


def test_memory_is_bounded(tmp_path: Path) -> None:
    large_pictures(tmp_path / "large.mov", side=3000)
    set_limits(DecodingLimits(memory=0.1))
    with pytest.raises(UserError, match=r"large\.mov' needs more than 0\.1 GB .* --limit memory=N"):
        probe(tmp_path / "large.mov")
    set_limits(DecodingLimits())
    assert probe(tmp_path / "large.mov").width == 3000


def test_computing_without_a_result_is_bounded(tmp_path: Path) -> None:
    sparse_video(tmp_path / "sparse.ts")
    set_limits(DecodingLimits(seconds=1))
    with pytest.raises(UserError, match=r"keeps its decoder busy for 1 s .* --limit seconds=N"):
        probe(tmp_path / "sparse.ts")


@pytest.mark.parametrize("word", ["pixels=100", "hours=0.0001", "streams=0.5"])
def test_bounds_of_files_are_kept_and_lifted(clip: Path, word: str) -> None:
    set_limits(DecodingLimits().with_words([word]))
    with pytest.raises(UserError, match=rf"--limit {word.split('=')[0]}=N"):
        probe(clip)
    set_limits(DecodingLimits())
    assert probe(clip).frame_count == 30


def test_sound_is_bounded(tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", 1.0)
    set_limits(DecodingLimits(hours=0.5 / 3600))
    with pytest.raises(UserError, match=r"lasts more than .* --limit hours=N"):
        load_audio(speech)


@pytest.mark.parametrize("word", ["pixels", "pixels=", "pixels=-1", "pixels=nan", "size=3"])
def test_limits_that_make_no_sense_are_refused(word: str) -> None:
    with pytest.raises(UserError, match="is not understood"):
        DecodingLimits().with_words([word])


def test_the_command_takes_limits(clip: Path, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", 1.0)
    words = ["dub", "--video", str(clip), "--audio", str(speech), "--output", str(tmp_path / "o.mp4")]
    result = CliRunner().invoke(app, [*words, "--dry-run", "--limit", "pixels=100"])
    assert result.exit_code == EXIT_CODE
    assert "more than 100 pixels" in result.output


def test_programs_take_limits_from_the_environment(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    monkeypatch.setattr(bounds, "_current", None)
    monkeypatch.setenv("BOOTDUB_LIMITS", "hours=3 pixels=100")
    with pytest.raises(UserError, match="more than 100 pixels"):
        probe(clip)


def test_lists_of_other_files_are_refused(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(tmp_path / "part.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\npart.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(UserError, match="is a list of other files"):
        probe(playlist)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_hostile_and_damaged_files_are_written_or_refused(tmp_path: Path) -> None:
    """A small sample of tools/damaged/damaged_inputs.py."""
    set_limits(DecodingLimits(memory=0.5, seconds=2))
    skipped = ("large.mov", "sparse.ts")  # seconds each; above
    files = hostile_files(tmp_path, skipped) + damaged_files(tmp_path, 14, seed=7)
    states = []
    for kind, path in files:
        sound = path.suffix in (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mka")
        pair = (tmp_path / "whole" / "h264.mp4", path) if sound else (path, tmp_path / "whole" / "speech.wav")
        found = attempt(*pair, tmp_path / "out.mkv")
        assert found.state != "fault", f"{path.name} ({kind}): {found.said}"
        states.append(found.state)
        (tmp_path / "out.mkv").unlink(missing_ok=True)
    assert {"written", "refused"} == set(states)


TABLES = {
    "track": [
        b'{"frames": 1000000000000, "faces": []}',
        b'{"boxes": [[1, 2, 3e300, 4]]}',
        b'{"boxes": [[1, 2, ' + b"9" * 400 + b", 4]]}",
        b"[" * 100_000,
        b'{"boxes": ' + b"1" * 5000 + b"}",
    ],
    "cues": [
        b"start,end,face\n0,1,1,a\n",
        b'start,end,face,audio\n0,1,1,"a\nb"\n',
        b"start,end,face\n0,inf,1\n",
    ],
    "jobs": [b"video,audio,output\ninput.csv,input.csv,o\0.mp4\n", b'video,audio,output,"a\nb"\n1,2,3,4\n'],
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_of_strangers_are_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    """What tools/damaged/fuzz.py has found."""
    for data in TABLES[what]:
        assert try_bytes(what, data, tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    what=st.sampled_from(sorted(TABLES)),
    seeds=st.lists(
        st.sampled_from([b'{"boxes":', b"[", b"]", b"1", b"null", b",", b"\n", b'"', b"start", b"\0"])
    ),
    rest=st.binary(max_size=40),
)
def test_tables_of_any_bytes_are_read_or_refused(
    what: str, seeds: list[bytes], rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try_bytes(what, b"".join(seeds) + rest, tmp_path_factory.getbasetemp())


def test_a_server_that_nobody_asks_any_more_bears_ends_of_its_processes() -> None:
    """A Ctrl-C closes it while processes still decode; their ends must not be told to a closed socket."""
    ours, theirs = socket.socketpair()
    run = (
        "import os, signal, sys; from common.media.isolation.server import serve; "
        "serve(int(sys.argv[1])); os.kill(os.getpid(), signal.SIGCHLD); print('borne')"
    )
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", run, str(theirs.fileno())],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).resolve().parent.parent,
        )
    out, err = process.communicate(timeout=120)
    assert (out, err) == (b"borne\n", b"")
