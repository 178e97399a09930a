"""Several processes, with whole or split parameters: the losses, checkpoints and packages of one."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from model_toys import called, tiny_inputs, tiny_transformer
from processes import several_processes
from safetensors.torch import load_file
from test_training_pixels import toy_expert
from torch import nn
from training_toys import metrics, saved, toy_vae, write_pairs

from common.errors import UserError
from common.models.package import load_package
from common.models.package_info import read_info
from common.training.checkpoint import latest_checkpoint
from common.training.config import OptimisationConfig
from common.training.distribute import data_mesh, fill, hollow_copy, shard_model
from stage2_dubber.train import main

WEIGHTS = "package/transformer/diffusion_pytorch_model.safetensors"
LOOSE = {"rtol": 1e-3, "atol": 1e-5}


@dataclass
class Runs:
    """Trainings that were made by one process and by two. ``words``: their common options."""

    folder: Path
    words: list[str]

    def losses(self, name: str) -> list[float]:
        return [row["loss"] for row in metrics(self.folder / name) if "loss" in row]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    toy_vae(folder)
    write_pairs(folder / "pairs")
    write_pairs(folder / "long", frames=21)
    write_pairs(folder / "others", 3)
    look = [f"data.held_out=[{folder / 'others'}]", "diffusion.num_steps=2", "train.sample_clips=1"]
    words = ["--config", str(folder / "toy.yaml"), f"vae.path={folder / 'vae'}", "train.lr_schedule=constant"]
    pairs = [*words, f"data.shards=[{folder / 'pairs'}]"]
    lip = [
        *(*words, f"data.shards=[{folder / 'long'}]", "geometry.clip_frames=21", "train.max_steps=3"),
        *(
            "phase.name=lip",
            "phase.lora_rank=2",
            "phase.lora_alpha=2",
            f"train.init_from={folder}/one/package",
        ),
        *("phase.lora_targets=[self_attn.to_q,ffn.net.2]", "phase.sync.weight=0.05"),
        f"phase.sync.model={toy_expert(folder / 'expert')}",
    ]

    def run(name: str, *options: str) -> list[str]:
        return [*options, f"train.output={folder / name}"]

    assert main(run("one", *pairs, *look, "train.max_steps=4")) == 0
    assert main(run("one_lip", *lip)) == 0
    for name in ("one_to_two", "full"):
        assert main(run(name, *pairs, "train.max_steps=2")) == 0
    # Two processes with two passes of one sample each.
    two, split = "train.micro_batch_size=1", "train.sharding=fsdp2"
    jobs = [
        {"words": run("two_whole", *pairs, two, "train.max_steps=4")},
        {"words": run("two_split", *pairs, *look, two, split, "train.max_steps=4", "train.save_every=2")},
        {"words": run("two_lip", *lip, two, split, "model.gradient_checkpointing=true")},
        {"words": run("one_to_two", *pairs, two, split, "train.max_steps=4")},
        {
            "words": run("full", *pairs, two, split, "train.max_steps=4", "train.save_every=1"),
            "limit": 30_000,
            "code": 2,
        },
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    several_processes(2, "tests/several_runs.py", str(folder / "jobs.json"))
    return Runs(folder, pairs)


@pytest.mark.parametrize("name", ["two_whole", "two_split"])
def test_two_processes_give_the_losses_of_one(runs: Runs, name: str) -> None:
    np.testing.assert_allclose(runs.losses(name), runs.losses("one"), rtol=1e-4)
    for group in ("model", "ema"):
        one, two = saved(runs.folder / "one", 4, group), saved(runs.folder / name, 4, group)
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, **LOOSE)
    package = load_package(runs.folder / name / "package", stage=2).transformer.state_dict()
    for key, value in saved(runs.folder / name, 4, "ema").items():
        assert torch.equal(package[key], value)


def test_two_processes_look_together_at_the_model_that_they_have_split(runs: Runs) -> None:
    def seen(name: str) -> dict[int, dict[str, float]]:
        rows = [row for row in metrics(runs.folder / name) if "held_out" in row]
        return {row["step"]: row["held_out"] for row in rows}

    one, two = seen("one"), seen("two_split")
    assert set(one) == {0, 4} and set(two) == {0, 2, 4} and one[4]["mean"] < one[0]["mean"]
    for step, values in one.items():
        assert two[step] == pytest.approx(values, rel=1e-4)
    assert (runs.folder / "two_split" / "samples" / "step-00000004.png").is_file()


def test_two_processes_with_split_parameters_train_an_adapter_with_a_pixel_loss(runs: Runs) -> None:
    np.testing.assert_allclose(runs.losses("two_lip"), runs.losses("one_lip"), rtol=1e-4)
    assert all(row["sync"] > 0 for row in metrics(runs.folder / "two_lip"))
    one, two = saved(runs.folder / "one_lip", 3), saved(runs.folder / "two_lip", 3)
    assert one.keys() == two.keys() and all(".lora_" in name for name in two)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, **LOOSE)
    # The frozen weights come through being split and gathered bit by bit.
    base, after = load_file(runs.folder / "one" / WEIGHTS), load_file(runs.folder / "two_lip" / WEIGHTS)
    assert base.keys() == after.keys() and all(torch.equal(base[key], after[key]) for key in base)
    assert [adapter.name for adapter in read_info(runs.folder / "two_lip" / "package").adapters] == ["lip"]


def test_two_processes_resume_what_one_began_and_the_other_way_round(runs: Runs) -> None:
    np.testing.assert_allclose(runs.losses("one_to_two"), runs.losses("one"), rtol=1e-4)
    cut = runs.folder / "two_to_one"
    shutil.copytree(runs.folder / "two_split", cut)
    shutil.rmtree(cut / "step-00000004")
    first, second = map(load_file, sorted((cut / "step-00000002" / "model").iterdir()))
    whole = saved(cut, 2)
    assert first.keys() == second.keys() == whole.keys()  # each process held and wrote a part of each
    assert all(first[key].numel() == second[key].numel() == whole[key].numel() / 2 for key in whole)
    assert main([*runs.words, "train.max_steps=4", f"train.output={cut}"]) == 0
    assert runs.losses("two_to_one")[:2] == runs.losses("two_split")[:2]
    np.testing.assert_allclose(runs.losses("two_to_one"), runs.losses("one"), rtol=1e-4)


def test_two_processes_agree_that_the_disk_of_one_is_full(runs: Runs) -> None:
    assert len(runs.losses("full")) == 4  # it went on to the end
    checkpoint = latest_checkpoint(runs.folder / "full")
    assert checkpoint is not None and checkpoint.step == 2 and checkpoint.tensors("optimizer")
    assert not list((runs.folder / "full").glob(".part-*"))


def test_one_process_with_split_parameters_resumes_exactly(runs: Runs) -> None:
    words = [*runs.words, "train.sharding=fsdp2", f"train.output={runs.folder / 'alone'}"]
    for steps in (2, 4):
        assert main([*words, f"train.max_steps={steps}"]) == 0
    np.testing.assert_allclose(runs.losses("alone"), runs.losses("one"), rtol=1e-6)


def test_bfloat16_leaves_master_weights_and_time_embedding_in_float32() -> None:
    def forward(model: nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(**called(tiny_inputs()))

    model = tiny_transformer().train()
    expected = forward(model)
    hollow, before = hollow_copy(model), {name: value.clone() for name, value in model.state_dict().items()}
    seen: dict[str, torch.dtype] = {}

    def look(module: nn.Module, *_: object) -> None:
        seen.update({name: value.dtype for name, value in module.named_parameters()})

    try:
        shard_model(model, data_mesh(torch.device("cpu")), bf16=True)
        model.blocks[0].register_forward_pre_hook(look)
        model.time_projection.register_forward_hook(look)
        torch.testing.assert_close(forward(model), expected, rtol=0.05, atol=0.05)
        forward(model).square().mean().backward()
        assert seen["modulation"] == seen["norm4.weight"] == seen["weight"] == torch.float32
        assert seen["ffn.net.2.weight"] == torch.bfloat16
        for value in model.parameters():
            assert value.dtype == torch.float32 and (value.grad is None or value.grad.dtype == torch.float32)
        fill(hollow, dict(model.named_parameters()), keep=True)
    finally:
        dist.destroy_process_group()
    assert all(torch.equal(value, before[name]) for name, value in hollow.state_dict().items())


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="muon"):
        OptimisationConfig(optimizer="muon", sharding="fsdp2")
    scalar = nn.Module()
    scalar.scale = nn.Parameter(torch.tensor(1.0))
    try:
        with pytest.raises(UserError, match="scale is a single number"):
            shard_model(scalar, data_mesh(torch.device("cpu")), bf16=False)
    finally:
        dist.destroy_process_group()
