"""bootdub dub with a tiny LTX-2 of random weights that makes the speech, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_speech
from judge_toys import toy_pack, toy_speaker, toy_whisper
from ltx2_toys import write_joint_folder, write_states, write_text_encoder
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.languages import LANGUAGES
from common.media import load_audio, probe, read_frames
from common.media.audio import audio_blocks
from common.models.ltx2.package import load_joint_package, load_joint_vocoder
from common.models.ltx2.roles import JointInputs, Role
from common.models.ltx2.spoken import SILENCE, SpokenPrompts, spoken_prompts
from common.models.ltx2.vocoding import vocoded
from common.rendered.__main__ import main as draw
from evaluation.metrics import perception
from evaluation.networks.i3d import I3D
from evaluation.networks.inception import FidInception
from evaluation.results_file import read_json as read_results
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.editing.joint import JointEditor
from stage2_dubber.dub.editing.speaking import SpeakingEditor
from stage2_dubber.dub.lists.job_list import read_jobs
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.speaking import speak
from stage2_dubber.dub.speaking.options import AudioRole

SIDE, FRAMES = 64, 17
PLACE = ",".join(str(round(value)) for value in BOX)
SAID = ("--text", "A person is speaking", "--language", "fr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2 with its text encoder, its package, a clip of 26 frames with sound, and a voice."""
    made = tmp_path_factory.mktemp("speaking")
    write_text_encoder(write_joint_folder(made / "ltx2"))
    write_states(made / "states.safetensors")
    write_speech(made / "own.wav", 26 / 30)
    write_speech(made / "voice.wav", 0.4)
    write_clip(made / "clip.mkv", steady(26, 30), lossless=True, audio_from=made / "own.wav")
    write_clip(made / "silent.mkv", steady(26, 30), lossless=True)
    words = (
        "--prompt-states",
        made / "states.safetensors",
        "--output",
        made / "package",
        "joint.num_steps=2",
    )
    run("import-ltx2", made / "ltx2", *words, f"geometry.crop_size={SIDE}", f"geometry.clip_frames={FRAMES}")
    return made


def run(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result


def dub(folder: Path, output: Path, *words: object, code: int = 0, video: str = "clip.mkv") -> Any:
    given = ("--video", folder / video, "--output", output, "--model", folder / "package", "--box", PLACE)
    return run("dub", *given, "--lossless", *words, code=code)


def test_words_are_shared_by_time_and_none_is_lost() -> None:
    made = spoken_prompts("one two three four five six", "de", [2, 1])
    assert made == [
        'A person is speaking German, saying: "one two three four"',
        'A person is speaking German, saying: "five six"',
    ]
    assert spoken_prompts("word", "en", [1, 1, 1])[::2] == [SILENCE, SILENCE]
    assert [text.split('"')[1] for text in spoken_prompts("今天天气", "zh", [1, 1])] == ["今天", "天气"]
    for text, language in ((" ", "fr"), ("word", "klingon")):
        with pytest.raises(UserError):
            spoken_prompts(text, language, [1])
    assert all(len(code) == 2 for code in LANGUAGES)


def test_pieces_of_a_spectrogram_sound_like_the_whole(folder: Path) -> None:
    vocoder = load_joint_vocoder(folder / "ltx2", torch.device("cpu"))
    mel = torch.randn(2, 330, 64, generator=torch.Generator().manual_seed(0)) - 4
    whole = vocoder(mel[None])[0].numpy()
    parts = list(vocoded(mel.split([120, 3, 130, 77], dim=1), vocoder))
    assert len(parts) > 2
    joined = np.concatenate(parts, axis=1)
    assert joined.shape == whole.shape == (2, 330 * vocoder.rate // 100)
    np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_picture_and_voice_are_made_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stage2_dubber.dub.editing import joint

    seen: list[JointInputs] = []
    sample = joint.sample_joint
    monkeypatch.setattr(joint, "sample_joint", lambda *args: seen.append(args[1]) or sample(*args))
    output = tmp_path / "o.mkv"
    said = dub(folder, output, *SAID, "--report", tmp_path / "r.json")
    assert "changed the mouths and made the speech" in said.stdout
    before, after = probe(folder / "clip.mkv"), probe(output)
    assert (after.frame_count, after.average_rate, after.width) == (26, 30, before.width)
    source, made = read_frames(folder / "clip.mkv"), read_frames(output)
    assert (made != source).any(axis=(1, 2, 3)).all(), "every frame has an edit"
    np.testing.assert_array_equal(made[:, :, :20], source[:, :, :20])
    # The sound lasts as long as the source's, at its rate.
    assert len(load_audio(output)) == len(load_audio(folder / "clip.mkv"))
    old, new = (
        np.concatenate(list(audio_blocks(path, 16000, "mono", "fltp")), axis=1)
        for path in (folder / "clip.mkv", output)
    )
    assert np.abs(new - old).max() > 1e-3
    # 22 frames at 25 per second in two windows; 9 of the second are the first one's, as are their sounds.
    first, second = seen
    assert [group.role for group in first.audio.groups] == [Role.target, Role.reference]
    assert [group.role for group in second.audio.groups] == [Role.first_frame, Role.target, Role.reference]
    assert [group.tokens.shape[1] for group in second.audio.groups] == [9, 8, 17]
    assert not torch.equal(first.prompt.video, second.prompt.video)
    assert any("24-bit PCM" in line for line in json.loads((tmp_path / "r.json").read_text())["warnings"])


def test_a_voice_is_given_and_states_take_the_place_of_the_text(folder: Path, tmp_path: Path) -> None:
    voice = ("--audio", folder / "voice.wav", "--audio-role", "voice")
    states = tmp_path / "states.safetensors"
    asked = ("--model", folder / "package", "--video", folder / "silent.mkv", *SAID, "--output", states)
    planned = run("prompts", *asked, "--dry-run")
    assert planned.stdout.splitlines() == spoken_prompts("A person is speaking", "fr", [17, 5])
    assert not states.exists()
    assert "2 prompts" in run("prompts", *asked).stdout
    spoken = dub(folder, tmp_path / "text.mkv", *voice, *SAID, video="silent.mkv")
    assert "26 of 26" in spoken.stdout
    dub(folder, tmp_path / "states.mkv", *voice, "--prompt-states", states, video="silent.mkv")
    for read in (read_frames, load_audio):
        np.testing.assert_array_equal(read(tmp_path / "states.mkv"), read(tmp_path / "text.mkv"))
    seconds = len(load_audio(tmp_path / "text.mkv")) / 16000
    assert seconds == pytest.approx(26 / 30, abs=0.05)
    package = load_joint_package(folder / "package")
    found = SpokenPrompts.read(states, package.transformer.model.config)
    SpokenPrompts(found.texts[:1], found.states[:1]).save(tmp_path / "one.safetensors")
    given = (*voice, "--prompt-states", tmp_path / "one.safetensors")
    refused = dub(folder, tmp_path / "o.mkv", *given, code=2, video="silent.mkv")
    assert "holds 1 prompts, and this dub has 2 windows" in refused.stderr
    assert not (tmp_path / "o.mkv").exists()


def test_an_interrupted_dub_samples_nothing_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(speak, "write_sound", lambda *_: (_ for _ in ()).throw(UserError("The disk is full.")))
        dub(folder, tmp_path / "o.mkv", *SAID, code=2)
    monkeypatch.setattr(SpeakingEditor, "_sampled", None)
    dub(folder, tmp_path / "o.mkv", *SAID)
    assert probe(tmp_path / "o.mkv").has_audio
    assert [path.name for path in tmp_path.iterdir()] == ["o.mkv"]


def test_what_does_not_go_together_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    voice = ("--audio", folder / "voice.wav", "--audio-role", "voice")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no tensors")
    wide = write_states(tmp_path / "wide.safetensors")
    for words, said in (
        (("--text", "Bonjour"), "--language"),
        (("--text", " ", "--language", "fr"), "empty"),
        (("--text", "nuqneH", "--language", "tlh"), "no language 'tlh'"),
        (voice, "needs something to say"),
        (("--audio", folder / "voice.wav", *SAID), "--audio-role voice"),
        ((*SAID, "--prompt-states", damaged), "leave --text"),
        (("--prompt-states", damaged), "not readable"),
        (("--prompt-states", wide), "bootdub prompts"),
        (("--prompt-states", tmp_path / "none"), "none"),
        ((*SAID, "--start", "0.2"), "--start"),
        ((*SAID, "--renderer", "auto"), "--renderer"),
    ):
        for dry in ((), ("--dry-run",)):
            refused = dub(folder, tmp_path / "o.mkv", *words, *dry, code=2)
            assert said in refused.stderr.splitlines()[-1], refused.stderr
    assert "no sound" in dub(folder, tmp_path / "o.mkv", *SAID, code=2, video="silent.mkv").stderr
    assert not (tmp_path / "o.mkv").exists()
    planned = dub(folder, tmp_path / "o.mkv", *voice, *SAID, "--dry-run").stdout
    assert "made by the model: 20 letters of French in the voice of" in planned
    with pytest.raises(UserError, match="--audio-role voice"):
        pipeline = DubPipeline.from_pretrained(folder / "package")
        pipeline(
            folder / "clip.mkv", folder / "voice.wav", tmp_path / "o.mkv", box=BOX, text="a", language="fr"
        )


def test_lists_of_jobs_have_texts_too(folder: Path) -> None:
    table = folder / "jobs.csv"
    rows = ("video,audio,output,text,language,audio_role", "clip.mkv,,a.mkv,Bonjour,fr,")
    table.write_text("\n".join((*rows, "clip.mkv,voice.wav,b.mkv,Hallo,de,voice")) + "\n")
    own, sample = (job.request for job in read_jobs(table, False, lambda _: False, lambda _: False))
    assert own.voice_follows and (own.text, own.language) == ("Bonjour", "fr")
    assert sample.audio_role is AudioRole.voice and not sample.voice_follows
    table.write_text("\n".join((rows[0], "clip.mkv,,a.mkv,,,")) + "\n")
    with pytest.raises(UserError, match="its 'audio' is empty"):
        read_jobs(table, False, lambda _: False, lambda _: False)


def test_models_that_cannot_speak_refuse(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for path in (folder / "package").iterdir():
        (package / path.name).write_bytes(path.read_bytes())
    content = json.loads((package / "bootdub.json").read_text())
    content["joint"]["speaks"] = False
    (package / "bootdub.json").write_text(json.dumps(content))
    given = ("--video", folder / "clip.mkv", "--output", tmp_path / "o.mkv", "--box", PLACE, "--dry-run")
    refused = run("dub", *given, *SAID, "--model", package, code=2)
    assert "cannot speak a text" in refused.stderr
    (folder / "ltx2" / "tokenizer").rename(tmp_path / "tokenizer")
    try:
        assert "lacks tokenizer" in run("dub", *given, *SAID, "--model", folder / "package", code=2).stderr
    finally:
        (tmp_path / "tokenizer").rename(folder / "ltx2" / "tokenizer")


def test_dubs_with_made_speech_are_evaluated(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "track.json").write_text(json.dumps({"boxes": [list(BOX)] * 26}))
    rows = (
        "name,video,audio,track,text,language",
        "one,{0}/clip.mkv,{0}/voice.wav,track.json,A person is,fr",
    )
    (tmp_path / "rows.csv").write_text("\n".join(rows).format(folder) + "\n")
    asked = ("--manifest", tmp_path / "rows.csv", "--output", tmp_path / "out", "--no-pictures")
    run("evaluate", *asked, "--system", f"ltx={folder / 'package'}?audio_role=voice")
    results = read_results(tmp_path / "out" / "results.json")
    (row,) = results.rows
    assert row.error is None and row.frames == 22
    # What is heard is new, and is compared with the source's sound; the driver's lips say something else.
    assert row.values["dur_err"] >= 0 and "mouth_r" not in row.values
    unread = run("evaluate", *asked, "--system", f"ltx={folder / 'package'}?audio_role=mumble", code=2)
    assert "audio_role" in unread.stderr


def test_networks_judge_dubs_with_made_speech(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identity, FID, FVD, V-SIM and WER of a dub with made speech, by networks of random weights."""
    judges = tmp_path / "judges"
    judges.mkdir()
    torch.manual_seed(0)
    torch.save(FidInception().state_dict(), judges / "pt_inception-2015-12-05-6726825d.pth")
    torch.save(I3D().state_dict(), judges / "rgb_imagenet.pt")
    toy_speaker(judges / "wavlm-base-plus-sv")
    toy_whisper(judges / "whisper", "a")
    monkeypatch.setenv("HOME", str(tmp_path))
    toy_pack(tmp_path / ".insightface", "buffalo_l")
    monkeypatch.setattr(SpeakingEditor, "stream", _lighter)  # so that there are faces
    for kind in ("Fid", "Fvd"):  # one clip is too few for a value that means something
        measure = getattr(perception, kind)
        monkeypatch.setattr(perception, kind, partial(measure, fewest=1))
    head = ("--count", 1, "--pairs", "--seconds", 1.4, "--seed", 3, "--occluder", "none", "--workers", 1)
    assert draw(list(map(str, ["--output", tmp_path / "drawn", *head]))) == 0
    (source,) = (tmp_path / "drawn").glob("*_a.mp4")
    rows = ("name,video,audio,text,language", f"one,{source},{folder / 'voice.wav'},A person is,fr")
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    words = ("--manifest", tmp_path / "rows.csv", "--output", tmp_path / "out", "--no-pictures")
    run("evaluate", *words, "--weights", judges, "--system", f"ltx={folder / 'package'}?audio_role=voice")
    results = read_results(tmp_path / "out" / "results.json")
    (row,) = results.rows
    assert row.error is None
    for name in ("csim", "v_sim"):
        assert -1 <= row.values[name] <= 1
    assert row.values["wer"] == 100, "whisper says nothing but a's"
    assert row.values["id_p"] > 0 and row.values["mar_div"] > 0 and row.values["async_own"] >= 0
    assert all(np.isfinite(results.pooled["ltx"]["all"][name]) for name in ("fid", "fvd"))
    assert row.success is not None


def _lighter(self: Any, crops: Iterator[np.ndarray], *given: Any) -> Iterator[Edit]:
    """Instead of SpeakingEditor.stream: its sound, and the source's pictures a little lighter."""
    seen: list[np.ndarray] = []

    def passed() -> Iterator[np.ndarray]:
        for crop in crops:
            seen.append(crop)
            yield crop

    for number, edit in enumerate(JointEditor.stream(self, passed(), *given)):
        light = np.minimum(seen[number], 247) + np.uint8(8)
        yield Edit(light, None if edit.change is None else np.full_like(edit.change, 8))
