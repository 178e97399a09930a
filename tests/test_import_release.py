"""bootdub import-xdub on a toy release: the whole chain, from public files to a dub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, picture, write_speech
from release_dubs import assert_package_dubs_as_parts, converted
from release_toys import OPTIONS, Toy, empty_prompt, write_release
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.config import load_config
from common.diffusion.config import DiffusionConfig
from common.diffusion.sampler import EulerSampler
from common.diffusion.windows import WindowRule
from common.geometry import GeometryConfig
from common.media import write_video
from common.models.conventions import RELEASE, Conventions, CropRule, NoiseRule, PasteRule, SeamRule
from common.models.convert_whisper import from_openai_whisper
from common.models.package import load_package
from common.models.package_info import PackageInfo
from common.speech.build import build_speech_encoder
from common.speech.config import SpeechConfig
from common.speech.pretrained import PretrainedEncoder
from common.training.start import load_start, starting_model
from stage1_generator.config import Stage1Config
from stage1_generator.config import check as check_pairs
from stage2_dubber.adaptation.describe import describe
from stage2_dubber.config import Stage2Config, check

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return write_release(tmp_path_factory.mktemp("download") / "checkpoints")


@pytest.fixture(scope="module")
def package(toy: Toy) -> Path:
    output = toy.folder.parent / "imported"
    code, _, err = run(toy, output, "--shard-size", "30KB")
    assert code == 0, err
    return output


@pytest.fixture
def copy(toy: Toy, tmp_path: Path) -> Path:
    """The release, to be damaged."""
    return Path(shutil.copytree(toy.folder, tmp_path / "copy"))


def run(toy: Toy, output: Path, *flags: str, folder: Path | None = None) -> tuple[int, str, str]:
    arguments = [str(folder or toy.folder), "--output", str(output), *toy.options, *OPTIONS, *flags]
    result = CliRunner().invoke(app, ["import-xdub", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(toy: Toy, folder: Path, tmp_path: Path, *flags: str) -> str:
    """What is said about ``folder``: exit code 2, one line, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    code, _, err = run(toy, tmp_path / "out", *flags, folder=folder)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(lines) == 1 and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before
    return lines[0]


def test_it_can_be_adapted_to_a_person(package: Path, tmp_path: Path) -> None:
    describe(package, tmp_path)
    layers = [tmp_path / "stage2.yaml", CONFIGS / "adapt.yaml"]
    config = check(load_config(Stage2Config, layers, [f"train.init_from={package}"]))
    start = load_start(config.train.init_from, config.model, config.vae)
    assert start.context is not None and starting_model(start, config.model) is start.package.transformer
    assert config.geometry == start.package.info.geometry and config.diffusion.num_steps == 2
    layers = [CONFIGS / "stage1.yaml", tmp_path / "stage1.yaml", CONFIGS / "adapt_pairs.yaml"]
    pairs = check_pairs(load_config(Stage1Config, layers))
    assert pairs.prepare.crops is CropRule.release and pairs.pairs.clip_frames == config.geometry.clip_frames
    assert build_speech_encoder(pairs.speech).fingerprint == start.package.info.speech_fingerprint


# ----------------------------------------------------------------------------------------------- what is made


def test_every_part_has_the_weights_of_the_release(toy: Toy, package: Path) -> None:
    made = load_package(package, stage=2)
    state = toy.transformer.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.transformer.state_dict().items())
    assert dict(made.transformer.config)["num_heads"] == 2
    state = toy.vae.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.codec.vae.state_dict().items())
    np.testing.assert_allclose(made.codec.config.latents_std, toy.vae.config.latents_std)
    assert made.info.phase == "released" and made.info.speech.path == str(package / "speech")
    assert made.info.geometry.crop_size == 64 and made.info.diffusion.num_steps == 2
    assert (made.info.diffusion.reference_scale, made.info.diffusion.audio_scale) == (2.5, 10.0)
    assert made.info.conventions == Conventions(
        CropRule.release,
        WindowRule.full,
        NoiseRule.none,
        42,
        SeamRule.average,
        pasting=PasteRule.square,
    )
    assert (
        list((package / "transformer").glob("*.index.json"))
        and len(list((package / "transformer").glob("*.safetensors"))) > 1
    )


def test_the_prompt_is_encoded_once_and_kept(toy: Toy, package: Path) -> None:
    context = load_package(package).context
    assert context is not None
    expected = empty_prompt(toy.text.bfloat16().float())
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 0.1 and not context[:, 1:].any()


def test_a_dub_is_that_of_the_parity_path(toy: Toy, package: Path, tmp_path: Path) -> None:
    """The converters that tools/parity.py checks, without any package, against the command line."""
    files = [toy.folder / name for name in ("X-Dub_model.safetensors", "Wan2.2_VAE.safetensors")]
    transformer, codec = converted(*files, toy.statistics)
    whisper = torch.load(toy.folder / "whisper" / "large-v2.pt", weights_only=True)["model_state_dict"]
    from_openai_whisper(whisper, heads=2).save_pretrained(tmp_path / "encoders" / "whisper")
    toy.wav2vec2.wav2vec2.save_pretrained(tmp_path / "encoders" / "wav2vec2")
    speech = PretrainedEncoder(tmp_path / "encoders")
    info = PackageInfo(
        stage=2,
        phase="",
        geometry=GeometryConfig(crop_size=64, clip_frames=13),
        speech=SpeechConfig(channels=speech.channels),
        diffusion=DiffusionConfig(num_steps=2, reference_scale=2.5, audio_scale=10.0),
        conventions=RELEASE,
    )
    context = empty_prompt(toy.text.bfloat16().float())
    assert_package_dubs_as_parts(package, info, (transformer, codec, context), speech, tmp_path)


def test_it_starts_from_an_inversion_and_averages_windows(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EdiDub's options of the sampler, on a package that was not trained with them."""
    for name, seconds in (("own", 0.72), ("new", 0.5)):
        write_speech(tmp_path / f"{name}.wav", seconds)
    frames = np.stack([picture(index) for index in range(18)])
    write_video(tmp_path / "v.mkv", frames, rate=25, audio_from=tmp_path / "own.wav")
    sampled: list[torch.Tensor] = []
    sample = EulerSampler.sample

    def kept(*given: Any) -> torch.Tensor:
        sampled.append(sample(*given))
        return sampled[-1]

    monkeypatch.setattr(EulerSampler, "sample", kept)
    place = ["--box", ",".join(str(round(value)) for value in BOX), "--dtype", "float32", "--overwrite"]
    given = ["--video", tmp_path / "v.mkv", "--audio", tmp_path / "new.wav", "--output", tmp_path / "o.mkv"]
    words = list(map(str, ["dub", *given, "--model", package, *place]))

    def latents(*more: str) -> list[torch.Tensor]:
        sampled.clear()
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == 0, done.stderr
        return list(sampled)

    plain = latents()
    inverted = latents("--start-from", "inversion", "--inversion-steps", "1", "--inversion-strength", "0.25")
    assert len(plain) == len(inverted) == 2
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(plain, inverted, strict=True))
    (averaged,) = latents("--windows", "multidiffusion", "--section-frames", "21", "--window-stride", "4")
    assert averaged.shape[2] > plain[0].shape[2] and averaged.isfinite().all()


def test_again_does_nothing_and_other_content_is_not_replaced(
    toy: Toy, package: Path, tmp_path: Path
) -> None:
    file = package / "bootdub.json"
    before = file.stat().st_mtime_ns
    code, out, _ = run(toy, package, "--shard-size", "30KB")
    assert code == 0 and "already" in out and file.stat().st_mtime_ns == before
    code, _, err = run(toy, package, "--shard-size", "1MB")
    assert code == 2 and "--overwrite" in err
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "precious.txt").write_text("x")
    for flags in ((), ("--overwrite",)):
        code, _, err = run(toy, stranger, *flags)
        assert code == 2 and "mine" in err
    assert [file.name for file in stranger.iterdir()] == ["precious.txt"]
    moved = Path(shutil.copytree(package, tmp_path / "moved"))
    code, _, err = run(toy, moved, "--shard-size", "1MB", "--dtype", "bfloat16", "--overwrite")
    assert code == 0, err
    assert not list((moved / "transformer").glob("*.index.json"))  # nothing of the old one stays
    assert load_package(moved, dtype=torch.bfloat16).info.speech.path == str(moved / "speech")


def test_a_dry_run_says_what_would_be_made(toy: Toy, tmp_path: Path) -> None:
    code, out, _ = run(toy, tmp_path / "out", "--dry-run")
    assert code == 0 and not list(tmp_path.iterdir())
    for words in ("dim 24", "num_layers 2", "transformer: ", "speech/whisper: ", "clips: 13 frames of 64"):
        assert words in out


def test_numbers_are_narrowed_but_not_those_that_must_not_be(toy: Toy, tmp_path: Path) -> None:
    assert run(toy, tmp_path / "out", "--dtype", "float16")[0] == 0
    stored = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert stored["blocks.0.self_attn.to_q.weight"].dtype == torch.float16
    assert stored["time_projection.weight"].dtype == torch.float32
    assert stored["blocks.0.modulation"].dtype == torch.float32


def test_a_given_context_replaces_the_text_encoder(
    toy: Toy, copy: Path, package: Path, tmp_path: Path
) -> None:
    (copy / "models_t5_umt5-xxl-enc-bf16.safetensors").unlink()
    shutil.rmtree(copy / "umt5-xxl")
    given = package / "context.safetensors"
    assert run(toy, tmp_path / "out", "--context", str(given), folder=copy)[0] == 0
    assert torch.equal(
        load_file(tmp_path / "out" / "context.safetensors")["context"], load_file(given)["context"]
    )
    save_file({"context": torch.zeros(1, 3, 11)}, tmp_path / "narrow.safetensors")
    assert "width 11" in refused(
        toy, copy, tmp_path, "--overwrite", "--context", str(tmp_path / "narrow.safetensors")
    )


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "name",
    [
        "X-Dub_model.safetensors",
        "Wan2.2_VAE.safetensors",
        "models_t5_umt5-xxl-enc-bf16.safetensors",
        "umt5-xxl",
        "whisper/large-v2.pt",
        "wav2vec2-base-960h",
        "wav2vec2-base-960h/model.safetensors",
    ],
)
def test_a_missing_file_is_named(toy: Toy, copy: Path, tmp_path: Path, name: str) -> None:
    if (copy / name).is_dir():
        shutil.rmtree(copy / name)
    else:
        (copy / name).unlink()
    assert name in refused(toy, copy, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "X-Dub_model.safetensors",
        "Wan2.2_VAE.safetensors",
        "models_t5_umt5-xxl-enc-bf16.safetensors",
        "whisper/large-v2.pt",
        "wav2vec2-base-960h/model.safetensors",
    ],
)
@pytest.mark.parametrize("kept", [0.9, 0.0])
def test_a_truncated_file_is_named(toy: Toy, copy: Path, tmp_path: Path, name: str, kept: float) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(kept * len(content))])
    assert name in refused(toy, copy, tmp_path)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("place", ["beside", "within", "old format"])
def test_a_payload_is_not_run(toy: Toy, copy: Path, tmp_path: Path, place: str) -> None:
    file = copy / "whisper" / "large-v2.pt"
    content = torch.load(file, weights_only=True)
    (content if place == "beside" else content["model_state_dict"])["encoder.x"] = Payload(tmp_path / "owned")
    torch.save(content, file, _use_new_zipfile_serialization=place != "old format")
    assert "large-v2.pt" in refused(toy, copy, tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("X-Dub_model.safetensors", "blocks.1.audio_attn.k.bias"),
        ("Wan2.2_VAE.safetensors", "decoder.middle.1.to_qkv.bias"),
        ("models_t5_umt5-xxl-enc-bf16.safetensors", "blocks.1.ffn.fc2.weight"),
        ("wav2vec2-base-960h/model.safetensors", "wav2vec2.encoder.layers.1.final_layer_norm.bias"),
    ],
)
@pytest.mark.parametrize("damage", ["lacks the tensor", "stranger", "(1, 1)"])
def test_a_tensor_that_is_missing_foreign_or_misshapen_is_named(
    toy: Toy, copy: Path, tmp_path: Path, name: str, tensor: str, damage: str
) -> None:
    state = load_file(copy / name)
    if damage == "stranger":
        state["stranger"] = torch.zeros(1)
    elif damage == "(1, 1)":
        state[tensor] = torch.zeros(1, 1)
    else:
        del state[tensor]
    save_file(state, copy / name)
    said = refused(toy, copy, tmp_path)
    assert damage in said and name.split("/")[0] in said
    # Of the text encoder the name in transformers is said, since there are two file formats.
    assert damage == "stranger" or tensor.replace("ffn.fc2", "wo").rsplit(".", 2)[1] in said or "fc2" in said


def test_whisper_must_be_whole_and_agree_with_its_dimensions(toy: Toy, copy: Path, tmp_path: Path) -> None:
    file = copy / "whisper" / "large-v2.pt"
    for section, key, words in [
        ("model_state_dict", "encoder.ln_post.bias", "layer_norm.bias"),
        ("dims", "n_audio_head", "dims"),
        ("dims", "n_audio_state", "n_audio_state"),
    ]:
        whole = torch.load(toy.folder / "whisper" / "large-v2.pt", weights_only=True)
        del whole[section][key]
        torch.save(whole, file)
        assert words in refused(toy, copy, tmp_path)


@pytest.mark.parametrize(("value", "words"), [(1e5, "more than float16"), (float("nan"), "no numbers")])
def test_values_that_do_not_fit_are_named(
    toy: Toy, copy: Path, tmp_path: Path, value: float, words: str
) -> None:
    file = copy / "X-Dub_model.safetensors"
    state = load_file(file)
    state["blocks.1.ffn.2.weight"][3, 4] = value
    save_file(state, file)
    said = refused(toy, copy, tmp_path, "--dtype", "float16")
    assert "blocks.1.ffn.2.weight" in said and words in said
    if value == 1e5:
        assert run(toy, tmp_path / "out", "--dtype", "bfloat16", folder=copy)[0] == 0


def test_parts_of_different_models_are_refused(toy: Toy, tmp_path: Path) -> None:
    other = write_release(tmp_path / "deaf", audio_channels=30)
    assert "30 speech channels" in refused(other, other.folder, tmp_path)
    other = write_release(tmp_path / "wide", latent_channels=6)
    assert "6 latent channels" in refused(other, other.folder, tmp_path)
    other = write_release(tmp_path / "mute", text_dim=12)
    assert "width 10" in refused(other, other.folder, tmp_path)


def test_what_cannot_be_guessed_is_asked_for(toy: Toy, tmp_path: Path) -> None:
    arguments = [str(toy.folder), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["import-xdub", *arguments, *toy.options])
    assert done.exit_code == 2 and "heads.transformer" in done.stderr
    done = CliRunner().invoke(app, ["import-xdub", *arguments, *OPTIONS])
    assert done.exit_code == 2 and "--latent-statistics" in done.stderr
    done = CliRunner().invoke(app, ["import-xdub", *arguments, *toy.options, *OPTIONS, "geometry.size=3"])
    assert done.exit_code == 2 and "geometry.size" in done.stderr
    for flags in (["--shard-size", "big"], ["geometry.crop_size=40"], ["speech.encoder=mel"]):
        code, _, err = run(toy, tmp_path / "out", *flags)
        assert code == 2 and err.startswith("error: ")
    assert not list(tmp_path.iterdir())
