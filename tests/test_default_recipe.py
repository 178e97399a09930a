"""The recipe of the default model: its parts in order, and what users get of a trained package."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked_python import forked_python
from model_toys import tiny_codec, tiny_transformer
from processes import run_command
from safetensors.torch import load_file

from common.diffusion.config import DiffusionConfig
from common.geometry import GeometryConfig
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.models.package import load_package, save_package
from common.models.package_info import PackageInfo, read_info
from common.own_mouths.config import Renderer
from common.speech.config import SpeechConfig

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "tools" / "train_default.sh"
SHIP = REPOSITORY / "tools" / "ship_model.py"
AVERAGE = REPOSITORY / "tools" / "average_models.py"


def _script(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": forked_python(), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True)


def test_every_part_starts_from_the_one_before(tmp_path: Path) -> None:
    work = tmp_path / "the 'work'"
    words = ("--videos", "the clips", "--work", str(work), "--processes", "2", "--scale", "0.4", "--dry-run")
    done = _script(*words, "lip:train.learning_rate=1.0e-3")
    assert done.returncode == 0, done.stderr
    assert not work.exists()
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    given = [dict(word.split("=", 1) for word in words if "=" in word) for words in commands]
    # An apostrophe is doubled in YAML.
    starts = [
        words["train.init_from"].strip("'").replace("''", "'")
        for words in given
        if "train.init_from" in words
    ]
    assert starts == [
        str(work / part / "package")
        for part in ("stage1/generator", "stage2/structure", "stage2/lip", "stage2/texture")
    ]
    outputs = [
        words["train.output"].strip("'").replace("''", "'") for words in given if "train.output" in words
    ]
    assert outputs == [str(work / "stage2" / part) for part in ("structure", "lip", "texture", "student")]
    rates = [words["train.learning_rate"] for words in given if "train.learning_rate" in words]
    assert rates == ["1.0e-3"]
    heard = {words["speech.path"].strip("'").replace("''", "'") for words in given if "speech.path" in words}
    assert heard == {str(work / "stage1" / "speech" / "package")}
    # Everything after the encoding knows the autoencoder that it was encoded with.
    assert len({words["vae.path"] for words in given if words.get("vae.path", "''") != "''"}) == 1
    # 90 minutes for the first phase on a CPU.
    assert any(words.get("train.time_limit_minutes") == "36.00" for words in given)


@pytest.mark.parametrize("teacher", ["", "the teacher.onnx"])
def test_the_lip_shape_predictor_takes_a_new_or_the_shipped_phonetic_encoder(
    tmp_path: Path, teacher: str
) -> None:
    parts = "teaching,phonetics,speech"
    words = ["--videos", "clips", "--work", str(tmp_path), "--parts", parts, "--dry-run"]
    done = _script(*words, *(["--teacher", teacher, "--recordings", "my speech"] if teacher else []))
    assert done.returncode == 0, done.stderr
    given = {
        name: value.strip("'")
        for line in done.stdout.splitlines()
        for name, value in (word.split("=", 1) for word in shlex.split(line) if "=" in word)
    }
    if teacher:
        assert given["phonetics.teacher"] == teacher
        assert given["phonetics.folders"] == "['my speech']"
        assert given["lip_shapes.phonetics"] == str(tmp_path / "stage1" / "phonetic_encoder" / "package")
        teaching = [f"'{tmp_path}/stage1/teaching-{seed}/package'" for seed in range(4)]
        assert given["phonetics.lip_predictors"] == f"[{', '.join(teaching)}]"
        filmed, labelled = (f"'{tmp_path}/stage1/{name}'" for name in ("lip_clips", "phonetics"))
        assert given["data.shards"] == f"[{filmed}, {labelled}]"
        assert given["lip_shapes.tune_phonetics"] == "true"
    else:
        assert "phonetics.teacher" not in given and "common.phonetics" not in done.stdout
        assert "data.shards" not in given and "lip_shapes.tune_phonetics" not in given
        shipped = Path(given["lip_shapes.phonetics"])
        assert shipped == REPOSITORY / "models" / "bootdub-small" / "speech"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--videos is missing"),
        (["--videos"], "--videos needs a value"),
        (["--videos", "x", "--parts", "prepare,encod"], "--parts names 'encod'"),
        (["--videos", "x", "--processes", "3"], "--processes is '3'"),
        (["--videos", "x", "--batch", "half"], "--batch is 'half'"),
        (["--videos", "x", "lips:a=1"], "names no part"),
        (["--videos", "x", "--recordings", "y"], "name its --teacher"),
        (["--videos", "x", "--nonsense"], "unknown argument '--nonsense'"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(words: list[str], message: str) -> None:
    done = _script(*words)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_the_script_is_clean(shellcheck: Callable[[Path], None]) -> None:
    shellcheck(SCRIPT)


def _ship(*words: str) -> subprocess.CompletedProcess[str]:
    return run_command(str(SHIP), *words)


def test_a_shipped_package_is_half_as_large_and_samples_as_told(tmp_path: Path) -> None:
    model, codec = tiny_transformer(), tiny_codec()
    speech = SpeechConfig(encoder="mel", channels=6)
    info = PackageInfo(2, "student", GeometryConfig(crop_size=32), speech, DiffusionConfig())
    save_package(tmp_path / "trained", info, model, codec)
    words = ("--num-steps", "2", "--renderer", "auto")
    done = _ship(str(tmp_path / "trained"), "--output", str(tmp_path / "shipped"), *words)
    assert done.returncode == 0, done.stderr
    assert read_info(tmp_path / "shipped").diffusion == DiffusionConfig(num_steps=2)
    assert read_info(tmp_path / "trained").renderer is Renderer.editor
    assert read_info(tmp_path / "shipped").renderer is Renderer.auto
    shipped = load_package(tmp_path / "shipped", stage=2)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(shipped.transformer.state_dict()[name], tensor, rtol=1e-3, atol=1e-6), name
    stored = load_file(next((tmp_path / "shipped" / "transformer").glob("*.safetensors")))
    assert stored["blocks.0.ffn.net.2.weight"].dtype == torch.float16


def test_an_autoencoder_is_shipped_alone_and_has_no_sampler(tmp_path: Path) -> None:
    tiny_codec().vae.save_pretrained(tmp_path / "vae")
    done = _ship(str(tmp_path / "vae"), "--output", str(tmp_path / "shipped"))
    assert done.returncode == 0, done.stderr
    stored = load_file(next((tmp_path / "shipped").glob("*.safetensors")))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    refused = _ship(str(tmp_path / "vae"), "--output", str(tmp_path / "more"), "--audio-scale", "2")
    assert (
        refused.returncode == 2 and "no model package" in refused.stderr and not (tmp_path / "more").exists()
    )


def test_a_better_lip_shape_predictor_is_put_into_a_trained_package(tmp_path: Path) -> None:
    for name, seed in (("old", 0), ("new", 1)):
        torch.manual_seed(seed)
        LipShapePredictor(80, 16, 1).save_pretrained(tmp_path / name)
    speech = SpeechConfig(encoder="lips", channels=8, path=str(tmp_path / "old"))
    mark = LipEncoder(tmp_path / "old").fingerprint
    info = PackageInfo(2, "lip", GeometryConfig(crop_size=32), speech, DiffusionConfig(), mark)
    save_package(tmp_path / "trained", info, tiny_transformer(audio_channels=8), tiny_codec())
    words = ("--output", str(tmp_path / "shipped"), "--lip-shape-predictor", str(tmp_path / "new"))
    done = _ship(str(tmp_path / "trained"), *words)
    assert done.returncode == 0, done.stderr
    found = read_info(tmp_path / "shipped")
    assert found.speech.path == str(tmp_path / "shipped" / "speech")
    assert found.speech_fingerprint == LipEncoder(tmp_path / "new").fingerprint != mark
    mel = replace(info, speech=SpeechConfig(encoder="mel", channels=6))
    save_package(tmp_path / "mel", mel, tiny_transformer(), tiny_codec())
    refused = _ship(str(tmp_path / "mel"), "--output", str(tmp_path / "no"), *words[2:])
    assert refused.returncode == 2 and "not lip shapes" in refused.stderr and not (tmp_path / "no").exists()


def test_the_mean_of_two_packages_has_the_mean_of_their_weights(tmp_path: Path) -> None:
    models, codec = [tiny_transformer(), tiny_transformer()], tiny_codec()
    generator = torch.Generator().manual_seed(1)
    for parameter in models[1].parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator)
    speech = SpeechConfig(encoder="mel", channels=6)
    info = PackageInfo(2, "lip", GeometryConfig(crop_size=32), speech, DiffusionConfig())
    for name, model in zip("ab", models, strict=True):
        save_package(tmp_path / name, info, model, codec)
    save_package(tmp_path / "other", replace(info, geometry=GeometryConfig(crop_size=64)), models[0], codec)

    def run(*names: str) -> subprocess.CompletedProcess[str]:
        packages = [str(tmp_path / name) for name in names]
        return run_command(str(AVERAGE), *packages, "--output", str(tmp_path / "mean"))

    for refused, why in ((run("a"), "two or more"), (run("a", "other"), "not of one model")):
        assert refused.returncode == 2 and why in refused.stderr and not (tmp_path / "mean").exists()
    done = run("a", "b")
    assert done.returncode == 0, done.stderr
    mean = load_package(tmp_path / "mean", stage=2)
    assert [Path(name).name for name in mean.info.training["mean_of"]] == ["a", "b"]
    states = [model.state_dict() for model in models]
    for name, tensor in mean.transformer.state_dict().items():
        torch.testing.assert_close(tensor, (states[0][name] + states[1][name]) / 2)
