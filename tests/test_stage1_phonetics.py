"""The phonetic encoder: what a large speech encoder hears, learnt by a small one for lip-shape predictors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from stage1_clips import write_clip, write_config
from training_toys import metrics

from common.data.dataset import ShardDataset
from common.errors import UserError
from common.lip_shapes import label as listen
from common.lip_shapes import train as train_speech
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.lip_shapes.network import load_phonetics
from common.media import save_flac
from common.phonetics import label as phonetics
from common.phonetics import train as train_phonetics
from common.phonetics.label import FRAMES, LIPS, MARGIN, TEACHER
from common.phonetics.model import PhoneticEncoder
from common.phonetics.recordings import from_folders
from common.phonetics.teacher import OnnxWhisper
from common.speech.mel import MelEncoder
from stage1_generator import prepare

WINDOW, WIDTH = 64, 6


def write_teacher(path: Path) -> Path:
    """Pairs of log-mel columns, mixed into a few channels: an encoder as simple as one can be."""
    kernel = np.random.default_rng(0).normal(size=(WIDTH, 80, 2)).astype(np.float32) / 12
    nodes = [
        helper.make_node("Conv", ["mel", "kernel"], ["columns"], strides=[2]),
        helper.make_node("Transpose", ["columns"], ["hidden"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["hidden"], ["judgement"], axes=[1, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, 2 * WINDOW])],
        [helper.make_tensor_value_info("judgement", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def tone(samples: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=samples).astype(np.float32) * 0.1


@pytest.mark.parametrize("samples", [200, 16000, 40123])
def test_a_teacher_is_heard_at_any_length(tmp_path: Path, samples: int) -> None:
    teacher = OnnxWhisper(write_teacher(tmp_path / "t.onnx"), "hidden")
    features = teacher.encode(tone(samples))
    assert features.shape == (-(-samples // 320), WIDTH) and np.isfinite(features).all()


def test_what_a_teacher_hears_does_not_depend_on_the_cut(tmp_path: Path) -> None:
    teacher = OnnxWhisper(write_teacher(tmp_path / "t.onnx"), "hidden")
    whole = teacher.encode(tone(40000))  # 125 features, two windows
    part = teacher.encode(tone(40000)[: 320 * WINDOW])
    # The first quarter of the overlap is the first window's alone.
    np.testing.assert_allclose(whole[2:40], part[2:40], atol=1e-4)


def test_files_that_are_no_teacher_are_refused(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx")
    with pytest.raises(UserError, match="no tensor 'layer_norm_4'"):
        OnnxWhisper(path, "layer_norm_4")
    with pytest.raises(UserError, match="There is no ONNX file"):
        OnnxWhisper(tmp_path / "nothing.onnx", "hidden")
    (tmp_path / "broken.onnx").write_bytes(b"<html>")
    with pytest.raises(UserError, match="no ONNX file"):
        OnnxWhisper(tmp_path / "broken.onnx", "hidden")


def test_a_reader_hears_with_what_a_teacher_taught(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From clips to a lip-shape predictor that carries the phonetic encoder, by the commands."""
    videos, work = tmp_path / "videos", tmp_path / "work"
    videos.mkdir()
    write_clip(videos, "ann", 40, 1, speaker="ann")
    stage1 = write_config(tmp_path, videos, work, "prepare.min_seconds=0.4")
    teacher = [
        f"work={work}",
        f"phonetics.teacher={write_teacher(tmp_path / 't.onnx')}",
        "phonetics.output=hidden",
        "samples_per_shard=4",
    ]
    clips_of = [*teacher, "geometry.clip_frames=9"]
    speech_of = [
        *teacher,
        "phonetics.speeds=[1.0, 0.8]",
        "phonetics.synthesised_minutes=0.1",
        "phonetics.synthesised_seconds=3",
        f"phonetics.folders=[{tmp_path / 'speech'}]",
    ]
    training = [
        *("train.learning_rate=1e-2", "train.warmup_steps=1", "train.mixed_precision=float32"),
        *("train.global_batch_size=2", "train.micro_batch_size=2", "train.num_workers=0"),
        *("train.save_every=100", "train.log_every=1", "train.max_steps=2"),
    ]
    encoder_words = [*training, "phonetics.width=16", "phonetics.channels=5"]
    words = [*training, "geometry.clip_frames=9"]
    (tmp_path / "speech" / "eve").mkdir(parents=True)
    save_flac(tmp_path / "speech" / "eve" / "1.flac", tone(20000))
    assert prepare.main(stage1) == 0
    assert phonetics.main([*speech_of, "phonetics.teacher=''"]) == 2
    assert "phonetics.teacher is empty" in capfd.readouterr().err

    # A reader that hears with the teacher says what lips do in all that speech.
    taught = ["listen.silence=0", f"data.shards=[{work / 'taught'}]"]
    assert listen.main([*clips_of, "listen.taught=true"]) == 0
    clips = ShardDataset(work / "taught")
    assert clips.sample(0).cache["audio_features"].shape[1] == MelEncoder.channels + WIDTH
    teaching = tmp_path / "teaching"
    assert train_speech.main([*words, *taught, "listen.silence=0.1"]) == 2
    assert "set listen.silence=0" in capfd.readouterr().err
    other = tmp_path / "other"
    for seed, folder in enumerate((teaching, other)):
        assert train_speech.main([*words, *taught, f"train.output={folder}", f"train.seed={seed}"]) == 0
    assert phonetics.main([*speech_of, "phonetics.folders=[]"]) == 0
    mute = f"data.shards=[{work / 'phonetics'}]"
    assert train_speech.main([*words, mute, f"train.output={tmp_path / 'x'}"]) == 2
    assert "holds no lips" in capfd.readouterr().err
    asked = f"phonetics.readers=[{teaching / 'package'}, {other / 'package'}]"

    assert phonetics.main([*speech_of, asked]) == 0 and listen.main(clips_of) == 0
    shards = ShardDataset(work / "phonetics")
    # 40 frames, 50 slowed-down ones, two voices of 75, and a recording of 36.
    assert len(shards) == 1 + 1 + 2 * 2 + 1
    sample = shards.sample(0)
    assert sample.cache[TEACHER].shape == (2 * FRAMES, WIDTH)
    assert sample.cache["audio_features"].shape == (2 * (FRAMES + 2 * MARGIN), MelEncoder.channels)
    models: list[Any] = [
        LipShapePredictor.from_pretrained(one / "package").eval() for one in (teaching, other)
    ]
    heard = torch.cat(
        [sample.cache["audio_features"][2 * MARGIN : -2 * MARGIN], sample.cache[TEACHER]], dim=1
    )
    # Away from the clip's ends, where the recording goes on; its features were stored as halves.
    expected = torch.cat([model(heard.float()[None]) for model in models]).mean(dim=0)
    torch.testing.assert_close(sample.cache[LIPS].float()[20:-20], expected[20:-20], atol=0.05, rtol=0)

    learnt = f"data.shards=[{work / 'phonetics'}]"
    output = tmp_path / "encoder"
    assert train_phonetics.main([*encoder_words, learnt, f"train.output={output}", "train.max_steps=40"]) == 0
    explained = [row["explained"] for row in metrics(output)]
    assert explained[0] < 0.1 and np.mean(explained[-5:]) > 0.4
    encoder = load_phonetics(output / "package")
    assert encoder.channels == 5 and not torch.equal(encoder.scale, torch.ones(5))

    reader = tmp_path / "reader"
    both = f"data.shards=[{work / 'heard'}, {work / 'phonetics'}]"
    speak = [*words, both, "train.max_steps=2", "listen.input_dropout=0.3"]
    hear = f"listen.phonetics={output / 'package'}"
    assert train_speech.main([*speak, hear, f"train.output={reader}"]) == 0
    carried = load_phonetics(reader / "package")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, carried.state_dict()[name])
    assert LipEncoder(reader / "package").encode(tone(3200)).shape == (10, 8)
    tuned = [*speak, hear, "listen.tune_phonetics=true", f"train.output={tmp_path / 'tuned'}"]
    assert train_speech.main(tuned) == 0
    moved = load_phonetics(tmp_path / "tuned" / "package").state_dict()
    assert not torch.equal(moved["proj_in.weight"], encoder.state_dict()["proj_in.weight"])
    # A run that heard with another encoder is not gone on with.
    assert train_speech.main([*speak, f"train.output={reader}"]) == 2
    assert "was made with phonetics" in capfd.readouterr().err
    mixed = f"data.shards=[{work / 'heard'}, {work / 'taught'}]"
    assert train_speech.main([*words, mixed, f"train.output={tmp_path / 'x'}"]) == 2
    assert "labelled with another teacher" in capfd.readouterr().err
    unseen = [*words, learnt, hear, f"train.output={tmp_path / 'x'}"]
    assert train_speech.main(unseen) == 2
    assert "no filmed lips" in capfd.readouterr().err
    seen = f"data.shards=[{work / 'heard'}]"
    assert train_phonetics.main([*encoder_words, seen, f"train.output={tmp_path / 'x'}"]) == 2
    assert "does not hold labelled speech for a phonetic encoder" in capfd.readouterr().err
    assert phonetics.main([*speech_of, f"phonetics.readers=[{reader / 'package'}]"]) == 2
    assert "does not take teacher features" in capfd.readouterr().err


def test_speech_in_folders_is_joined_by_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seconds in (("ann/1", 12.0), ("ann/2", 9.0), ("ann/3", 1.5), ("ann/b/1", 2.0), ("bob/1", 0.4)):
        path = tmp_path / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_flac(path, tone(round(seconds * 16000)))
    (tmp_path / "ann" / "words.txt").write_text("no speech")
    (tmp_path / "bob" / "0.ogg").write_bytes(b"nothing")
    recordings = list(from_folders([str(tmp_path)]))
    assert "left out: The file" in (said := capsys.readouterr().err) and "0.ogg" in said
    assert [one.speaker for one in recordings] == ["0 ann", "0 ann", "0 ann/b", "0 bob"]
    assert len({one.key for one in recordings}) == 4
    for one, seconds in zip(recordings, (21.4, 1.7, 2.2, 0.6), strict=True):
        assert len(one.load()) == one.samples == round(seconds * 16000)
    np.testing.assert_array_equal(recordings[0].load()[12 * 16000 :][:3200], 0)

    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none' has no audio file"):
        list(from_folders([str(tmp_path / "none")]))


def test_a_reader_without_phonetics_has_none_to_give(tmp_path: Path) -> None:
    LipShapePredictor(80, 8, 1).save_pretrained(tmp_path / "reader")
    with pytest.raises(UserError, match="has no phonetic encoder"):
        load_phonetics(tmp_path / "reader")
    with pytest.raises(UserError, match="There is no phonetic encoder"):
        load_phonetics(tmp_path / "nothing")


def test_phonetics_hear_so_far_and_no_farther() -> None:
    """What the margin of its samples rests on."""
    torch.manual_seed(0)
    encoder = PhoneticEncoder(4, 8, 3).eval()
    features = torch.randn(1, 120, 4)
    changed = features.clone()
    changed[:, 60] += 1
    moved = (encoder(changed) - encoder(features)).abs().amax(dim=(0, 2)) > 0
    assert 60 - int(moved.nonzero()[0]) == int(moved.nonzero()[-1]) - 60 <= 2 * MARGIN
