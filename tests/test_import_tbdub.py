"""bootdub import-tbdub on a toy release: from the published files to a dub."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from release_dubs import assert_package_dubs_as_parts, converted
from release_toys import TbdubToy, write_tbdub
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.config import DiffusionConfig
from common.geometry import GeometryConfig
from common.models.conventions import TBDUB_STUDENT, TBDUB_TEACHER, PasteRule
from common.models.package import load_package
from common.models.package_info import PackageInfo
from common.speech.config import SpeechConfig
from common.speech.hubert import HubertEncoder
from stage2_dubber.importing import tbdub
from stage2_dubber.importing.config import Variant

CONVENTIONS = {"student": TBDUB_STUDENT, "teacher": TBDUB_TEACHER}
SAMPLING = {
    "student": DiffusionConfig(
        num_steps=2, shift=1.0, reference_scale=1.0, audio_scale=1.0, border_at_end=True
    ),
    "teacher": DiffusionConfig(num_steps=3, reference_scale=2.0, audio_scale=6.0, audio_floor=0.5),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> TbdubToy:
    return write_tbdub(tmp_path_factory.mktemp("download") / "checkpoints")


@pytest.fixture(scope="module")
def packages(toy: TbdubToy) -> dict[str, Path]:
    made = {}
    for variant in CONVENTIONS:
        made[variant] = toy.folder.parent / variant
        code, _, err = run(toy, made[variant], "--variant", variant)
        assert code == 0, err
    return made


@pytest.fixture
def copy(toy: TbdubToy, tmp_path: Path) -> Path:
    """The release, to be damaged."""
    return Path(shutil.copytree(toy.folder, tmp_path / "copy"))


def run(toy: TbdubToy, output: Path, *flags: str, folder: Path | None = None) -> tuple[int, str, str]:
    arguments = [str(folder or toy.folder), "--output", str(output), *toy.options]
    result = CliRunner().invoke(
        app, ["import-tbdub", *arguments, "heads.transformer=2", "heads.audio=2", *flags]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(toy: TbdubToy, folder: Path, tmp_path: Path, *flags: str) -> str:
    """What is said: one line, exit code 2, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    code, _, err = run(toy, tmp_path / "out", *flags, folder=folder)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and sorted(tmp_path.iterdir()) == before, err
    return lines[0]


@pytest.mark.parametrize("variant", sorted(CONVENTIONS))
def test_a_package_has_the_weights_and_the_conventions_of_its_variant(
    toy: TbdubToy, packages: dict[str, Path], variant: str
) -> None:
    made = load_package(packages[variant], stage=2)
    state = toy.transformer.float().state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.transformer.state_dict().items())
    assert made.context is not None and torch.equal(made.context, toy.context.float())
    assert made.info.conventions == CONVENTIONS[variant]
    assert made.info.diffusion == SAMPLING[variant]
    assert (made.info.speech.encoder, made.info.speech.channels) == ("hubert", 64)
    assert made.info.geometry.crop_size == 32 and made.info.geometry.clip_frames == 13


@pytest.mark.parametrize("variant", sorted(CONVENTIONS))
def test_a_dub_is_that_of_the_parity_path(
    toy: TbdubToy, packages: dict[str, Path], tmp_path: Path, variant: str
) -> None:
    """The converters that tools/parity.py checks, without any package, against the command line."""
    files = [toy.folder / name for name in (f"tbdub_{variant}.safetensors", "Wan2.2_VAE.safetensors")]
    transformer, codec = converted(*files, toy.statistics)
    toy.hubert.save_pretrained(tmp_path / "encoders" / "hubert")
    speech = HubertEncoder(tmp_path / "encoders")
    info = PackageInfo(
        stage=2,
        phase="",
        geometry=GeometryConfig(crop_size=32, clip_frames=13),
        speech=SpeechConfig(encoder="hubert", channels=speech.channels),
        diffusion=SAMPLING[variant],
        conventions=CONVENTIONS[variant],
    )
    parts = (transformer, codec, toy.context.float())
    assert_package_dubs_as_parts(packages[variant], info, parts, speech, tmp_path)


def test_the_settings_of_the_release_and_the_command_line_count(toy: TbdubToy, copy: Path) -> None:
    said = json.loads((copy / "config.json").read_text())
    said["variants"]["student"]["num_inference_steps"] = 4
    (copy / "config.json").write_text(json.dumps(said))
    code, out, err = run(toy, copy / "out", "--dry-run", "diffusion.shift=3", folder=copy)
    assert code == 0 and "4 steps, shift 3" in out, err
    assert "clips: 13 frames of 32" in out and "speech: hubert, 64 channels" in out
    assert "unknown" not in err and not (copy / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "tbdub_student.safetensors",
        "Wan2.2_VAE.safetensors",
        "null_prompt_emb.pt",
        "config.json",
        "hubert-large-ll60k",
        "hubert-large-ll60k/pytorch_model.bin",
    ],
)
def test_a_missing_file_is_named(toy: TbdubToy, copy: Path, tmp_path: Path, name: str) -> None:
    if (copy / name).is_dir():
        shutil.rmtree(copy / name)
    else:
        (copy / name).unlink()
    said = refused(toy, copy, tmp_path)
    assert name.split("/")[0] in said


def test_the_folder_of_another_release_is_told_from_a_damaged_one(toy: TbdubToy, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    said = refused(toy, tmp_path / "other", tmp_path)
    assert "lacks config.json, tbdub_student.safetensors of TBDub" in said


@pytest.mark.parametrize("damage", ["lacks the tensor", "stranger", "(1, 1)"])
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("tbdub_student.safetensors", "audio_embedding.proj_in.bias"),
        ("hubert-large-ll60k/pytorch_model.bin", "encoder.layers.3.final_layer_norm.bias"),
    ],
)
def test_a_tensor_that_is_missing_foreign_or_misshapen_is_named(
    toy: TbdubToy, copy: Path, tmp_path: Path, name: str, tensor: str, damage: str
) -> None:
    file = copy / name
    pickled = file.suffix == ".bin"
    state = torch.load(file, weights_only=True) if pickled else load_file(file)
    if damage == "stranger":
        state["stranger"] = torch.zeros(1)
    elif damage == "(1, 1)":
        state[tensor] = torch.zeros(1, 1)
    else:
        del state[tensor]
    if pickled:
        torch.save(state, file)
    else:
        save_file(state, file)
    said = refused(toy, copy, tmp_path)
    assert damage in said and (damage == "stranger" or tensor in said)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("format_version",), 3, "format 3"),
        (("variants", "student", "sparsity"), 1, "sparsity"),
        (("variants", "student", "motion_from_latents"), False, "motion_from_latents"),
        (("variants", "student", "checkpoints"), ["a", "b"], "one whole file"),
        (("variants", "student"), None, "no student"),
    ],
)
def test_settings_that_no_package_can_have_are_refused(
    toy: TbdubToy, copy: Path, tmp_path: Path, place: tuple[str, ...], value: Any, words: str
) -> None:
    said = json.loads((copy / "config.json").read_text())
    section = said
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    (copy / "config.json").write_text(json.dumps(said))
    assert words in refused(toy, copy, tmp_path)


def test_parts_of_other_models_are_refused(toy: TbdubToy, copy: Path, tmp_path: Path) -> None:
    torch.save(torch.zeros(2, 7, 10), copy / "null_prompt_emb.pt")
    assert "null_prompt_emb.pt" in refused(toy, copy, tmp_path)
    torch.save({"context": torch.zeros(1, 7, 10)}, copy / "null_prompt_emb.pt")
    assert "not one tensor" in refused(toy, copy, tmp_path)
    torch.save(torch.zeros(1, 7, 11), copy / "null_prompt_emb.pt")
    assert "width 11" in refused(toy, copy, tmp_path)
    assert "hubert" in refused(toy, copy, tmp_path, "speech.encoder=mel")
    assert "fresh" in refused(toy, copy, tmp_path, "fresh.seed=1")
    deaf = write_tbdub(tmp_path / "deaf", audio_channels=30)
    assert "30 speech channels" in refused(toy, deaf.folder, tmp_path)


def test_again_does_nothing_and_the_other_variant_is_not_put_in_its_place(
    toy: TbdubToy, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (packages["student"] / "bootdub.json").read_bytes()
    code, out, _ = run(toy, packages["student"])
    assert code == 0 and "already" in out
    code, _, err = run(toy, packages["student"], "--variant", "teacher")
    assert code == 2 and "--overwrite" in err
    monkeypatch.setitem(tbdub._CONVENTIONS, Variant.student, replace(TBDUB_STUDENT, pasting=PasteRule.change))
    code, _, err = run(toy, packages["student"])
    assert code == 2 and "--overwrite" in err, "what this program makes of the files has changed"
    assert (packages["student"] / "bootdub.json").read_bytes() == before
    assert asdict(load_package(packages["student"]).info.diffusion)["border_at_end"]
