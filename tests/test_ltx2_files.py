"""Folders of LTX-2 and public LoRAs: ``bootdub info``, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from ltx2_toys import tiny_joint_model, write_joint_folder, write_lora
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.models.ltx2.folder import inspect_folder
from common.models.ltx2.lora import attach_lora, read_lora


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_joint_folder(tmp_path_factory.mktemp("ltx2") / "model")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def test_info_describes_a_folder_and_a_lora(whole: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.safetensors", {"reference_downscale_factor": "2"})
    result = CliRunner().invoke(app, ["info", str(whole), "--lora", str(lora)])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["version"] == "2.0"
    assert said["parameters"]["transformer"] == sum(p.numel() for p in tiny_joint_model().parameters())
    assert said["lora"] == {"parameters": 96, "reference_downscale": 2}


def test_the_newer_version_is_told_and_others_refused(folder: Path) -> None:
    def store(**changes: object) -> None:
        shutil.rmtree(folder / "transformer")
        tiny_joint_model(**changes).save_pretrained(folder / "transformer")  # type: ignore[arg-type]

    store(version="2.3")
    assert inspect_folder(folder).version == "2.3"
    store(version="2.3", ff_bias=False, use_prompt_adaln_single=False)
    with pytest.raises(UserError, match="neither"):
        inspect_folder(folder)
    store(in_channels=64)
    with pytest.raises(UserError, match="64 latent channels"):
        inspect_folder(folder)
    store(audio_in_channels=64)
    with pytest.raises(UserError, match="64 audio channels"):
        inspect_folder(folder)


@pytest.mark.parametrize("part", ["transformer", "connectors", "vae", "audio_vae", "vocoder"])
def test_folders_that_are_not_whole(folder: Path, part: str) -> None:
    weights = folder / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    first = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, weights)
    with pytest.raises(UserError, match=f"lacks the tensor {first}"):
        inspect_folder(folder)
    save_file(tensors | {first: torch.zeros(1, 1, 1, 1, 1, 1)}, weights)
    with pytest.raises(UserError, match=f"the tensor {first} is not one"):
        inspect_folder(folder)
    weights.unlink()
    with pytest.raises(UserError, match=part):
        inspect_folder(folder)
    (folder / part / "config.json").write_text('{"_class_name": "Another"}')
    with pytest.raises(UserError, match="'Another'"):
        inspect_folder(folder)
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"lacks {part}"):
        inspect_folder(folder)


def test_info_refuses_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "vocoder")
    refused = CliRunner().invoke(app, ["info", str(folder)])
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1 and "vocoder" in refused.stderr
    lora = write_lora(tmp_path / "lora.safetensors")
    refused = CliRunner().invoke(app, ["info", str(tmp_path), "--lora", str(lora)])
    assert refused.exit_code == 2 and "--lora" in refused.stderr


def test_loras_of_another_model_and_damaged_ones(tmp_path: Path) -> None:
    model = tiny_joint_model()
    path = tmp_path / "lora.safetensors"
    for changes, words in (
        ({"width": 32}, "another version"),
        ({"layer": "attn1.to_gate_logits"}, "another version"),
        ({"metadata": {"reference_downscale_factor": "half"}}, "'half'"),
        ({"metadata": {"reference_downscale_factor": "1.5"}}, "1.5"),
        ({"metadata": {"reference_temporal_scale_factor": "2"}}, "frame rate"),
    ):
        with pytest.raises(UserError, match=words):
            read_lora(write_lora(path, **changes), model)  # type: ignore[arg-type]
    write_lora(path)
    tensors = load_file(path)
    half = {name: tensor for name, tensor in tensors.items() if "lora_A" in name}
    save_file(half, path)
    with pytest.raises(UserError, match="lora_B"):
        read_lora(path, model)
    save_file({"blocks.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no in-context LoRA"):
        read_lora(path, model)
    with pytest.raises(UserError, match=r"LoRA '.*none\.safetensors' does not exist"):
        read_lora(tmp_path / "none.safetensors", model)
    path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="not readable"):
        read_lora(path, model)


def test_a_lora_adds_its_product(tmp_path: Path) -> None:
    model = tiny_joint_model()
    layer = model.transformer_blocks[1].attn1.to_q
    weight, bias = layer.weight.clone(), layer.bias.clone()
    path = write_lora(tmp_path / "lora.safetensors")
    down, up = (
        load_file(path)[f"diffusion_model.transformer_blocks.1.attn1.to_q.lora_{s}.weight"] for s in "AB"
    )
    read = read_lora(path, model)
    assert read.reference_downscale == 1
    attach_lora(model, read, "dub")
    x = torch.randn(3, 24)
    expected = x @ (weight + up @ down).T + bias
    torch.testing.assert_close(model.transformer_blocks[1].attn1.to_q(x), expected)
