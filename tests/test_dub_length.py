"""Dubs where video and speech are not of one length, and dubs of a part of a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from dub_clips import BOX, RATE, picture, steady, write_clip, write_package, write_speech
from own_mouth_clips import talker, write_talker
from safetensors.numpy import save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import Encoding, VideoWriter, load_audio, probe, read_frames, save_wav
from common.own_mouths.config import OwnMouthsConfig
from stage2_dubber.dub import outputs
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.result import DubResult

FRAMES = 16  # 0.64 s
SPARSE = {"num_steps": 1, "passes": 1, "audio_scale": 1.0, "reference_scale": 1.0}
RAMP = 0.25  # of full scale: the video's own sound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("length")
    write_package(folder / "toy")
    write_clip(folder / "v.mkv", steady(FRAMES, 25), lossless=True)
    write_speech(folder / "long.wav", 1.5)
    write_speech(folder / "short.wav", 0.3)
    hum = RAMP * np.sin(2 * np.pi * 100 * np.arange(round(0.64 * RATE)) / RATE)
    save_wav(folder / "hum.wav", hum.astype(np.float32), RATE)
    with VideoWriter(
        folder / "sounding.mkv",
        160,
        120,
        rate=25,
        encoding=Encoding(lossless=True),
        audio_from=folder / "hum.wav",
    ) as writer:
        for index in range(FRAMES):
            writer.write(picture(index))
    return folder


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DubPipeline:
    return DubPipeline.from_pretrained(folder / "toy")


@pytest.fixture
def dub(folder: Path, tmp_path: Path, pipeline: DubPipeline):
    def run(audio: str = "long.wav", video: str = "v.mkv", name: str = "o.mkv", **options: Any) -> DubResult:
        job = {"box": BOX, "lossless": name.endswith(".mkv"), **SPARSE, **options}
        return pipeline(video=folder / video, audio=folder / audio, output=tmp_path / name, **job)

    return run


def _shows(result: DubResult) -> list[int]:
    """The source's frame that each frame shows, by the rows below the face."""
    source = np.stack([picture(index) for index in range(FRAMES)])[:, -6:].astype(int)
    return [
        int(np.abs(source - image[-6:].astype(int)).mean(axis=(1, 2, 3)).argmin())
        for image in read_frames(result.output)
    ]


def _changed(result: DubResult) -> list[int]:
    """The frames in which anything differs from the source."""
    return [
        index
        for index, (image, shown) in enumerate(zip(read_frames(result.output), _shows(result), strict=True))
        if (image != picture(shown)).any()
    ]


def _packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


FORWARD = list(range(FRAMES))
BOUNCED = (FORWARD + FORWARD[-2:0:-1] + FORWARD)[:38]
LOOPED = (3 * FORWARD)[:38]


@pytest.mark.parametrize(
    ("rule", "audio", "shown"),
    [
        ("silence", "long.wav", FORWARD),
        ("cut-off", "long.wav", FORWARD),
        ("bounce", "long.wav", BOUNCED),
        ("loop", "long.wav", LOOPED),
        ("remap", "long.wav", FORWARD),
        ("silence", "short.wav", FORWARD),
        ("cut-off", "short.wav", FORWARD[:8]),
        ("bounce", "short.wav", FORWARD[:8]),
        ("loop", "short.wav", FORWARD[:8]),
        ("remap", "short.wav", FORWARD),
    ],
)
def test_what_is_shown_and_heard(dub, folder: Path, tmp_path: Path, rule: str, audio: str, shown) -> None:
    result = dub(audio, length=rule, report=tmp_path / "r.json")
    speech = 1.5 if audio == "long.wav" else 0.3
    info, seconds = probe(result.output), len(shown) / 25 if rule != "remap" else speech
    assert _shows(result) == shown and result.frames == result.dubbed_frames == len(shown)
    assert info.duration == pytest.approx(seconds, abs=0.045)
    assert float(info.average_rate) == pytest.approx(len(shown) / seconds, rel=0.02)
    given, heard = load_audio(folder / audio), load_audio(result.output)
    if rule == "cut-off" and audio == "long.wav":
        assert len(heard) / RATE == pytest.approx(0.64, abs=0.07)
    else:
        assert len(heard) == len(given)
    np.testing.assert_array_equal(heard, given[: len(heard)])
    report = json.loads((tmp_path / "r.json").read_text())
    told = [
        frame
        for part in report["shown"]
        for frame in np.linspace(part["source_first"], part["source_last"], part["last"] - part["first"] + 1)
    ]
    assert told == ([] if shown == FORWARD and rule != "remap" else shown)
    assert any(warning[:9] in ("The video", "The speec", "The sound") for warning in result.warnings)


def test_lengths_that_hardly_differ_are_the_same(dub, folder: Path) -> None:
    write_speech(folder / "same.wav", 0.7)
    for rule in ("bounce", "remap", "cut-off"):
        result = dub("same.wav", name=f"{rule}.mkv", length=rule)
        assert _shows(result) == FORWARD and not result.warnings


def test_own_mouths_and_an_interruption_with_bounce(
    folder: Path, tmp_path: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
    monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: LipEncoder(folder / "reader"))
    monkeypatch.setattr(outputs, "PIECE_FRAMES", 10)
    clip = talker(count=FRAMES)
    write_talker(folder / "talker.mkv", clip)
    save_file({"landmarks": clip.landmarks}, folder / "track.safetensors")
    job = {
        "video": folder / "talker.mkv",
        "audio": folder / "long.wav",
        "track": folder / "track.safetensors",
        "lossless": True,
        "renderer": "own-mouths",
        "own_mouths": OwnMouthsConfig(occluders=False),
        "length": "bounce",
    }
    whole = pipeline(**job, output=tmp_path / "whole.mkv")
    assert whole.frames == whole.own_mouth_frames == 38
    top = clip.frames[:, :16]
    np.testing.assert_array_equal(read_frames(whole.output)[:, :16], top[BOUNCED])

    class Killed(BaseException):
        pass

    as_coded, seen = outputs._as_coded, set[int]()

    def dies(item: Any, info: Any) -> Any:
        if item.frame.index == 27 and not seen:
            seen.add(27)
            raise Killed
        return as_coded(item, info)

    monkeypatch.setattr(outputs, "_as_coded", dies)
    with pytest.raises(Killed):
        pipeline(**job, output=tmp_path / "cut.mkv")
    pipeline(**job, output=tmp_path / "cut.mkv")
    assert (tmp_path / "cut.mkv").read_bytes() == whole.output.read_bytes()


def test_a_part_is_dubbed_and_the_rest_stays_with_its_sound(dub, folder: Path, tmp_path: Path) -> None:
    result = dub("long.wav", "sounding.mkv", start=0.08, end=0.52, report=tmp_path / "r.json")
    assert _shows(result) == FORWARD
    changed = _changed(result)
    assert set(changed) <= set(range(2, 13)) and len(changed) > 6
    report = json.loads((tmp_path / "r.json").read_text())
    assert [(u["first"], u["last"], u["reason"]) for u in report["untouched"]] == [
        (0, 1, "they are not in the part that is dubbed"),
        (13, 15, "they are not in the part that is dubbed"),
    ]
    heard, own = load_audio(result.output), load_audio(folder / "hum.wav")
    speech = load_audio(folder / "long.wav")
    first, last, fade = round(0.08 * RATE), round(0.52 * RATE), round(0.011 * RATE)
    assert len(heard) == len(own)
    np.testing.assert_allclose(heard[:first], own[:first], atol=1e-4)
    np.testing.assert_allclose(heard[last:], own[last:], atol=1e-4)
    inside = slice(first + fade, last - fade)
    np.testing.assert_allclose(heard[inside], speech[: last - first][fade:-fade], atol=1e-4)
    assert any("put together" in warning for warning in result.warnings)
    assert any("cut off at --end" in warning for warning in result.warnings)


def test_the_speech_alone_is_heard_where_it_is_wanted(dub, folder: Path) -> None:
    """As given: its packets are copied, those of the part."""
    result = dub("long.wav", "sounding.mkv", start=0.08, end=0.52, outside="silence")
    given, delivered = _packets(folder / "long.wav"), _packets(result.output)
    assert delivered[0][1] == given[0][1] and delivered[0][0] == pytest.approx(0.08, abs=2e-3)
    assert all(moment < 0.52 for moment, _ in delivered) and len(delivered) > 2
    assert [data for _, data in delivered] == [data for _, data in given][: len(delivered)]


@pytest.mark.parametrize("end", [0.64, 5.0])
def test_a_part_that_reaches_the_end_takes_all_options_of_parts(dub, folder: Path, end: float) -> None:
    """One setting for all clips of a list fits short ones, too."""
    result = dub("long.wav", "sounding.mkv", end=end, outside="silence")
    assert result.dubbed_frames == FRAMES
    given, delivered = _packets(folder / "long.wav"), _packets(result.output)
    assert delivered == [packet for packet in given if packet[0] < end]
    said = "cut off at --end" if end < 1.5 else "0.9 s longer than the video: it is kept whole"
    assert sum("The speech" in warning for warning in result.warnings) == 1
    assert any(said in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("name", "offset"), [("o.mkv", 0.2), ("o.mkv", -0.2), ("o.mp4", 0.2), ("o.mp4", -0.2)]
)
def test_the_speech_begins_earlier_or_later(dub, folder: Path, name: str, offset: float) -> None:
    """Copied into Matroska, encoded in MP4."""
    heard = load_audio(dub("long.wav", name=name, offset=offset).output)
    speech = load_audio(folder / "long.wav")
    expected = np.concatenate(
        [np.zeros(round(max(0, offset) * RATE)), speech[round(max(0, -offset) * RATE) :]]
    )
    lag = max(range(-800, 801, 8), key=lambda x: np.dot(*_overlap(heard, expected, x)))
    assert abs(lag) <= 0.03 * RATE, "whole packets are cut"
    assert len(heard) / RATE == pytest.approx(1.5 + offset, abs=0.08)


def _overlap(a: np.ndarray, b: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = a[max(0, lag) :], b[max(0, -lag) :]
    count = min(len(a), len(b))
    return a[:count], b[:count]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 0.7}, "--start is 0.7 s, but the video runs from 0 to 0.64 s"),
        ({"start": 0.3, "end": 0.3}, "--end is 0.3 s, which is not after the start"),
        ({"end": float("nan")}, "--end is nan"),
        ({"offset": -2}, "nothing of the speech is left"),
        ({"offset": 0.7}, "after what is dubbed"),
        ({"start": 0.1, "length": "loop"}, "leave --start, --end and --cues away"),
        ({"end": 0.64, "length": "loop"}, "leave --start, --end and --cues away"),
        ({"outside": "silence"}, "--outside is about a part"),
        ({"length": "stretch"}, "no length 'stretch'"),
        ({"length": "remap", "audio": "endless.wav"}, "at most 8 times"),
    ],
)
def test_times_that_make_no_sense_are_told_before_the_work(dub, folder: Path, options, words: str) -> None:
    if options.get("audio") == "endless.wav":
        write_speech(folder / "endless.wav", 6)
    with pytest.raises(UserError) as error:
        dub(**options)
    assert words in str(error.value)


def test_the_command_line_says_what_it_would_do(folder: Path, tmp_path: Path) -> None:
    place = ",".join(f"{value:g}" for value in BOX)
    words = [
        "dub",
        "--video",
        folder / "v.mkv",
        "--audio",
        folder / "long.wav",
        "--output",
        tmp_path / "o.mkv",
    ]
    words += ["--model", folder / "toy", "--box", place, "--length", "bounce", "--dry-run"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "1.50 s, length bounce" in done.stdout and "38 frames" in done.stdout
    assert "forward and backward in turn until the speech ends: 38 frames of 16" in done.stdout
    refused = CliRunner().invoke(app, [str(word) for word in [*words, "--start", "0.1"]])
    assert refused.exit_code == 2 and "leave --start" in refused.stderr
