"""The phonetic encoder: what a large speech encoder hears, learnt by a small one for lip-shape predictors."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
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
from common.data.prepared import load_prepared
from common.errors import UserError
from common.lip_shapes import label as label_lips
from common.lip_shapes import train as train_speech
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.lip_shapes.network import load_phonetics
from common.media import save_flac
from common.phonetics import label as phonetics
from common.phonetics import train as train_phonetics
from common.phonetics.label import LIPS, MARGIN, TEACHER
from common.phonetics.model import PhoneticEncoder, PhoneticTransformerEncoder
from common.phonetics.recordings import from_folders, played
from common.phonetics.teacher import OnnxWhisper
from common.speech.mel import MelEncoder
from stage1_generator import prepare

WINDOW, WIDTH = 64, 6
FRAMES = 29  # of a sample


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


@dataclass(frozen=True)
class Chain:
    """All steps from clips to a lip-shape predictor that carries the phonetic encoder, made by the commands.

    Attributes:
        root: ``work`` holds the shards of the steps, ``mute`` phonetic shards without lips; ``first`` and
            ``second`` predictors with teacher features, ``encoder``, and ``predictor`` that carries it.
        label: words of the commands that label speech. predict, encode: of the two trainings.
    """

    root: Path
    label: list[str]
    predict: list[str]
    encode: list[str]

    def shards(self, *names: str) -> str:
        folders = [self.root / "mute" if name == "mute" else self.root / "work" / name for name in names]
        return f"data.shards=[{', '.join(map(str, folders))}]"

    def package(self, name: str) -> Path:
        return self.root / name / "package"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("phonetics")
    videos, work = root / "videos", root / "work"
    videos.mkdir()
    write_clip(videos, "ann", 40, 1, speaker="ann")
    (root / "speech" / "eve").mkdir(parents=True)
    save_flac(root / "speech" / "eve" / "1.flac", tone(20000))
    teacher = [
        f"work={work}",
        f"phonetics.teacher={write_teacher(root / 't.onnx')}",
        "phonetics.output=hidden",
        "samples_per_shard=4",
    ]
    clips_of = [*teacher, "geometry.clip_frames=9"]
    speech_of = [
        *teacher,
        "phonetics.speeds=[1.0, 0.8]",
        f"phonetics.frames={FRAMES}",
        "phonetics.synthesised_minutes=0.1",
        "phonetics.synthesised_seconds=3",
        f"phonetics.folders=[{root / 'speech'}]",
    ]
    training = [
        *("train.learning_rate=1e-2", "train.warmup_steps=1", "train.mixed_precision=float32"),
        *("train.global_batch_size=2", "train.micro_batch_size=2", "train.num_workers=0"),
        *("train.save_every=100", "train.log_every=1", "train.max_steps=2"),
    ]
    predict = [*training, "geometry.clip_frames=9"]
    made = Chain(root, speech_of, predict, [*training, "phonetics.width=16", "phonetics.channels=5"])

    assert prepare.main(write_config(root, videos, work, "prepare.min_seconds=0.4")) == 0
    # Predictors that are given the teacher's features label all other speech with lips.
    assert label_lips.main([*clips_of, "lip_shapes.teacher_features=true"]) == 0
    with_teacher = [*predict, "lip_shapes.silence=0", made.shards("lip_clips_teacher")]
    for seed, name in enumerate(("first", "second")):
        assert train_speech.main([*with_teacher, f"train.output={root / name}", f"train.seed={seed}"]) == 0
    assert phonetics.main([*speech_of, "phonetics.folders=[]"]) == 0
    shutil.copytree(work / "phonetics", root / "mute")
    labelled_by = f"phonetics.lip_predictors=[{made.package('first')}, {made.package('second')}]"
    assert phonetics.main([*speech_of, labelled_by]) == 0 and label_lips.main(clips_of) == 0
    encoder = [made.shards("phonetics"), f"train.output={root / 'encoder'}", "train.max_steps=40"]
    assert train_phonetics.main([*made.encode, *encoder]) == 0
    assert train_speech.main([*_carrying(made), f"train.output={root / 'predictor'}"]) == 0
    return made


def _carrying(chain: Chain) -> list[str]:
    """Words of a training whose predictor carries the phonetic encoder."""
    encoder = f"lip_shapes.phonetics={chain.package('encoder')}"
    return [*chain.predict, chain.shards("lip_clips", "phonetics"), "lip_shapes.input_dropout=0.3", encoder]


def test_labelled_clips_hold_the_teachers_features(chain: Chain) -> None:
    clips = ShardDataset(chain.root / "work" / "lip_clips_teacher")
    assert clips.sample(0).cache["audio_features"].shape[1] == MelEncoder.channels + WIDTH


def test_speech_is_labelled_with_the_mean_of_the_predictors(chain: Chain) -> None:
    shards = ShardDataset(chain.root / "work" / "phonetics")
    # 40 frames, 50 slowed-down ones, two voices of 75, and a recording of 36.
    assert len(shards) == 1 + 1 + 2 * 2 + 1
    sample = shards.sample(0)
    assert sample.cache[TEACHER].shape == (2 * FRAMES, WIDTH)
    assert sample.cache["audio_features"].shape == (2 * (FRAMES + 2 * MARGIN), MelEncoder.channels)
    models: list[Any] = [
        LipShapePredictor.from_pretrained(chain.package(name)).eval() for name in ("first", "second")
    ]
    features = torch.cat(
        [sample.cache["audio_features"][2 * MARGIN : -2 * MARGIN], sample.cache[TEACHER]], dim=1
    )
    # Away from the clip's ends, where the recording goes on; its features were stored as halves.
    expected = torch.cat([model(features.float()[None]) for model in models]).mean(dim=0)
    torch.testing.assert_close(sample.cache[LIPS].float()[20:-20], expected[20:-20], atol=0.05, rtol=0)


def test_the_encoder_learns_what_the_teacher_gives(chain: Chain) -> None:
    explained = [row["explained"] for row in metrics(chain.root / "encoder")]
    assert explained[0] < 0.1 and np.mean(explained[-5:]) > 0.4
    encoder = load_phonetics(chain.package("encoder"))
    assert encoder.channels == 5 and not torch.equal(encoder.scale, torch.ones(5))


def test_a_predictor_carries_the_encoder_unchanged_or_tuned(chain: Chain) -> None:
    encoder = load_phonetics(chain.package("encoder")).state_dict()
    carried = load_phonetics(chain.package("predictor")).state_dict()
    for name, value in encoder.items():
        assert torch.equal(value, carried[name])
    assert LipEncoder(chain.package("predictor")).encode(tone(3200)).shape == (10, 8)
    words = [*_carrying(chain), "lip_shapes.tune_phonetics=true", f"train.output={chain.root / 'tuned'}"]
    assert train_speech.main(words) == 0
    tuned = load_phonetics(chain.package("tuned")).state_dict()
    assert not torch.equal(tuned["proj_in.weight"], encoder["proj_in.weight"])


def test_a_transformer_is_learnt_and_carried_as_convolutions_are(chain: Chain) -> None:
    words = [*chain.encode, "phonetics.kind=transformer", "phonetics.heads=2", chain.shards("phonetics")]
    root = chain.root / "transformer"
    assert train_phonetics.main([*words, f"train.output={root}", "train.max_steps=40"]) == 0
    explained = [row["explained"] for row in metrics(root)]
    assert explained[0] < 0.1 and np.mean(explained[-5:]) > 0.4
    encoder = load_phonetics(root / "package")
    carrying = [word for word in _carrying(chain) if not word.startswith("lip_shapes.phonetics=")]
    output = chain.root / "predictor_of_transformer"
    words = [*carrying, f"lip_shapes.phonetics={root / 'package'}", f"train.output={output}"]
    assert train_speech.main(words) == 0
    carried = load_phonetics(output / "package")
    assert carried.settings == encoder.settings
    sound = torch.randn(1, 50, MelEncoder.channels)
    torch.testing.assert_close(carried.normalized(sound), encoder.normalized(sound))


@pytest.mark.parametrize(
    ("shards", "more", "message"),
    [
        (("lip_clips_teacher",), ("lip_shapes.silence=0.1",), "set lip_shapes.silence=0"),
        (("mute",), (), "holds no lips"),
        (("lip_clips", "lip_clips_teacher"), (), "labelled with another teacher"),
        (("phonetics",), ("lip_shapes.phonetics=ENCODER",), "no filmed lips"),
    ],
)
def test_predictors_refuse_shards_that_do_not_fit(
    chain: Chain,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    shards: tuple[str, ...],
    more: tuple[str, ...],
    message: str,
) -> None:
    settings = [word.replace("ENCODER", str(chain.package("encoder"))) for word in more]
    words = [*chain.predict, *settings, chain.shards(*shards), f"train.output={tmp_path / 'x'}"]
    assert train_speech.main(words) == 2
    assert message in capfd.readouterr().err


def test_a_run_with_another_encoder_is_not_continued(chain: Chain, capfd: pytest.CaptureFixture[str]) -> None:
    words = [word for word in _carrying(chain) if not word.startswith("lip_shapes.phonetics=")]
    assert train_speech.main([*words, f"train.output={chain.root / 'predictor'}"]) == 2
    assert "was made with phonetics" in capfd.readouterr().err


def test_encoders_refuse_shards_without_teacher_features(
    chain: Chain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*chain.encode, chain.shards("lip_clips"), f"train.output={tmp_path / 'x'}"]
    assert train_phonetics.main(words) == 2
    assert "does not hold labelled speech for a phonetic encoder" in capfd.readouterr().err


def test_labelling_needs_a_teacher_and_predictors_that_take_its_features(
    chain: Chain, capfd: pytest.CaptureFixture[str]
) -> None:
    assert phonetics.main([*chain.label, "phonetics.teacher=''"]) == 2
    assert "phonetics.teacher is empty" in capfd.readouterr().err
    assert phonetics.main([*chain.label, f"phonetics.lip_predictors=[{chain.package('predictor')}]"]) == 2
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


def test_a_predictor_without_phonetics_has_none_to_give(tmp_path: Path) -> None:
    LipShapePredictor(80, 8, 1).save_pretrained(tmp_path / "predictor")
    with pytest.raises(UserError, match="has no phonetic encoder"):
        load_phonetics(tmp_path / "predictor")
    with pytest.raises(UserError, match="There is no phonetic encoder"):
        load_phonetics(tmp_path / "nothing")


@pytest.mark.parametrize("count", [401, 480, 700, 1801])
def test_a_transformer_reads_long_speech_in_windows(count: int) -> None:
    """Each comes from a window that reaches 60 features to both sides of it, where there are so many."""
    torch.manual_seed(0)
    encoder = PhoneticTransformerEncoder(4, 8, 3, 1, 2).eval()
    features = torch.randn(1, count, 4)
    with torch.no_grad():
        made = encoder(features)
        assert made.shape == (1, count, 3)
        for at in (0, 90, 179, 180, 250, count - 1):
            first = max(0, min(at // 180 * 180 - 60, count - 300))
            window = encoder(features[:, first : first + 300])
            torch.testing.assert_close(made[:, at], window[:, at - first])
            assert at - first >= min(at, 60) and first + 300 - at > min(count - 1 - at, 60)


def test_a_transformer_hears_when_something_was_said_not_at_which_second() -> None:
    torch.manual_seed(0)
    encoder = PhoneticTransformerEncoder(4, 8, 3, 2, 2).eval()
    said = torch.randn(1, 20, 4)
    early, late = torch.zeros(1, 200, 4), torch.zeros(1, 200, 4)
    early[:, 60:80], late[:, 100:120] = said, said
    with torch.no_grad():
        first, second = encoder(early)[:, 60:80], encoder(late)[:, 100:120]
        assert (first - second).abs().max() < 0.3 * (first - encoder(early)[:, 20:40]).abs().max()
        # How far away something else was said does matter, even beyond what the convolutions see.
        near, far = torch.zeros(1, 200, 4), torch.zeros(1, 200, 4)
        near[:, 60:70], far[:, 60:70] = said[:, :10], said[:, :10]
        near[:, 90:100], far[:, 130:140] = said[:, 10:], said[:, 10:]
        assert (encoder(near)[:, 65] - encoder(far)[:, 65]).abs().max() > 1e-3


def test_heads_that_do_not_divide_the_width_are_refused(
    chain: Chain, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*chain.encode, "phonetics.kind=transformer", "phonetics.heads=3", chain.shards("phonetics")]
    assert train_phonetics.main([*words, f"train.output={chain.root / 'x'}"]) == 2
    assert "give a multiple of twice phonetics.heads, 6" in capfd.readouterr().err
    assert train_phonetics.main([*chain.encode, "phonetics.kind=recurrent"]) == 2
    assert "phonetics.kind" in capfd.readouterr().err


def test_short_clips_of_a_speaker_are_joined(chain: Chain) -> None:
    entries = load_prepared(chain.root / "work" / "prepared")
    (one,) = played(entries, 25, [1.0])
    pause = 3200
    many = list(played([*entries] * 30, 25, [1.0, 0.8]))
    assert [recording.samples for recording in many if recording.key.endswith("-100")] == [
        12 * one.samples,
        12 * one.samples,
        6 * one.samples,
    ]
    sound = many[0].load()
    assert len(sound) == many[0].samples
    np.testing.assert_array_equal(sound[one.samples - pause : one.samples], 0)
    np.testing.assert_array_equal(sound[one.samples :][: one.samples], one.load())
    for slow in many:
        assert len(slow.load()) == slow.samples


def test_phonetics_hear_so_far_and_no_farther() -> None:
    """What the margin of its samples rests on."""
    torch.manual_seed(0)
    encoder = PhoneticEncoder(4, 8, 3).eval()
    features = torch.randn(1, 120, 4)
    changed = features.clone()
    changed[:, 60] += 1
    moved = (encoder(changed) - encoder(features)).abs().amax(dim=(0, 2)) > 0
    assert 60 - int(moved.nonzero()[0]) == int(moved.nonzero()[-1]) - 60 <= 2 * MARGIN
