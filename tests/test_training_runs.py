"""Whole training runs at toy size: both stages, phases, continuing, several processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_toys import (
    metrics,
    run_editor,
    saved,
    stage1_config,
    toy_vae,
    write_clips,
    write_pairs,
    write_raw_pairs,
)

from common.errors import UserError
from common.models.package import load_package
from common.models.package_info import read_info
from common.training.launch import train
from stage1_generator.generator.strategy import GeneratorStrategy
from stage2_dubber.train import main

REPOSITORY = Path(__file__).resolve().parent.parent
TARGETS = "[self_attn.to_q,ffn.net.2]"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    return tmp_path


def _losses(run: Path) -> list[float]:
    return [row["loss"] for row in metrics(run)]


def test_the_editor_learns_and_leaves_a_package(work: Path) -> None:
    write_pairs(work / "pairs")
    result = run_editor(work, "train.max_steps=24")
    losses = _losses(work / "run")
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:4])
    package = load_package(result.package, stage=2)
    assert package.info.phase == "structure" and package.info.adapters == ()
    averaged = saved(work / "run", 24, "ema")
    torch.testing.assert_close(
        package.transformer.state_dict()["head.head.weight"], averaged["head.head.weight"]
    )
    assert any((work / "run" / "tensorboard").iterdir())
    record = json.dumps(package.info.training)
    assert str(work) not in record and package.info.training["data"][0]["samples"] == 8
    row = metrics(work / "run")[-1]
    assert {"loss_by_t", "grad_norm", "learning_rate", "samples_per_second"} <= set(row)


def test_the_generator_learns_from_masked_clips(work: Path) -> None:
    dataset = write_clips(work / "clips")
    config = stage1_config(work, "train.max_steps=24")
    result = train(config, GeneratorStrategy(config, dataset), dataset)
    losses = _losses(work / "run")
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:4])
    package = load_package(result.package, stage=1)
    assert package.transformer.condition_channels == 4


def test_resume_equals_the_uninterrupted_run(work: Path) -> None:
    write_pairs(work / "pairs")
    run_editor(work, "train.max_steps=6", f"train.output={work / 'whole'}", "train.lr_schedule=constant")
    for steps in (3, 6):
        run_editor(
            work, f"train.max_steps={steps}", f"train.output={work / 'cut'}", "train.lr_schedule=constant"
        )
    assert _losses(work / "cut") == _losses(work / "whole")
    for name in ("model", "ema", "optimizer"):
        whole = saved(work / "whole", 6, name)
        cut = saved(work / "cut", 6, name)
        assert whole.keys() == cut.keys() and all(torch.equal(whole[key], cut[key]) for key in whole)


def test_steps_after_the_last_checkpoint_are_made_again(work: Path) -> None:
    write_pairs(work / "pairs")
    run_editor(work, "train.max_steps=4", "train.save_every=2")
    before = _losses(work / "run")
    # As if the run had been killed after step 4 was logged and before it was saved.
    shutil.rmtree(work / "run" / "step-00000004")
    (work / "run" / ".part-x").mkdir()
    with (work / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "lo')
    run_editor(work, "train.max_steps=4", "train.save_every=2")
    assert _losses(work / "run") == before
    assert not list((work / "run").glob(".part-*"))


def test_another_model_is_not_continued(work: Path) -> None:
    write_pairs(work / "pairs")
    run_editor(work, "train.max_steps=1")
    with pytest.raises(UserError, match="model"):
        run_editor(work, "train.max_steps=2", "model.num_layers=1")
    with pytest.raises(UserError, match="global_batch_size"):
        run_editor(work, "train.max_steps=2", "train.global_batch_size=8")


def test_lora_phases_train_the_adapter_alone_and_stack_in_the_package(work: Path) -> None:
    write_pairs(work / "pairs")
    base = run_editor(work, "train.max_steps=2", f"train.output={work / 'structure'}").package
    lora = ["phase.lora_rank=2", "phase.lora_alpha=2", f"phase.lora_targets={TARGETS}", "train.max_steps=3"]
    lip = run_editor(
        work,
        *lora,
        "phase.name=lip",
        "phase.active_range=[0.4,0.8]",
        f"train.init_from={base}",
        f"train.output={work / 'lip'}",
    ).package
    trained = saved(work / "lip", 3)
    assert trained and all(".lora_" in name and ".lip." in name for name in trained)
    assert any(value.abs().max() > 0 for name, value in trained.items() if "lora_B" in name)

    texture = run_editor(
        work,
        *lora,
        "phase.name=texture",
        "phase.active_range=[0.0,0.3]",
        f"train.init_from={lip}",
        f"train.output={work / 'texture'}",
    ).package
    info = read_info(texture)
    assert [(a.name, a.active_range) for a in info.adapters] == [("lip", (0.4, 0.8)), ("texture", (0.0, 0.3))]
    name = "transformer/diffusion_pytorch_model.safetensors"
    first, last = load_file(base / name), load_file(texture / name)
    assert first.keys() == last.keys() and all(torch.equal(first[key], last[key]) for key in first)
    before, after = (load_file(package / "lora_lip.safetensors") for package in (lip, texture))
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    load_package(texture)

    # Running a finished adapter phase again changes nothing.
    again = [*lora, "phase.name=lip", f"train.init_from={base}", f"train.output={work / 'lip'}"]
    assert run_editor(work, *again).step == 3


def test_a_later_phase_can_train_everything(work: Path) -> None:
    write_pairs(work / "pairs")
    base = run_editor(work, "train.max_steps=1", f"train.output={work / 'structure'}").package
    full = run_editor(
        work,
        "phase.name=lip",
        f"train.init_from={base}",
        f"train.output={work / 'lip'}",
        "diffusion.timestep_a=1.5",
        "train.learning_rate=1e-2",
    ).package
    assert read_info(full).phase == "lip" and not read_info(full).adapters
    name = "transformer/diffusion_pytorch_model.safetensors"
    first, last = load_file(base / name), load_file(full / name)
    assert not torch.equal(first["blocks.0.ffn.net.2.weight"], last["blocks.0.ffn.net.2.weight"])


def test_a_new_first_phase_leaves_earlier_adapters_behind(work: Path) -> None:
    write_pairs(work / "pairs")
    base = run_editor(work, "train.max_steps=1", f"train.output={work / 'structure'}").package
    lora = ["phase.name=lip", "phase.lora_rank=2", "phase.lora_alpha=2", f"phase.lora_targets={TARGETS}"]
    again = ["train.max_steps=1", f"train.init_from={work / 'lip' / 'package'}"]
    run_editor(work, *lora, "train.max_steps=1", f"train.init_from={base}", f"train.output={work / 'lip'}")
    with pytest.raises(UserError, match="keep_adapters"):
        run_editor(work, *again, f"train.output={work / 'refused'}")
    bare = ["train.keep_adapters=false", "train.learning_rate=1e-9", "train.ema_decay=0"]
    package = run_editor(work, *again, *bare, f"train.output={work / 'bare'}").package
    assert read_info(package).phase == "structure" and not read_info(package).adapters
    name = "transformer/diffusion_pytorch_model.safetensors"
    first, last = load_file(base / name), load_file(package / name)
    assert first.keys() == last.keys()
    torch.testing.assert_close(last["blocks.0.ffn.net.2.weight"], first["blocks.0.ffn.net.2.weight"])


def test_the_editor_can_start_from_the_generator(work: Path) -> None:
    dataset = write_clips(work / "clips")
    config = stage1_config(work, "train.max_steps=2", f"train.output={work / 'generator'}")
    package = train(config, GeneratorStrategy(config, dataset), dataset).package
    write_pairs(work / "pairs")
    overrides = [
        f"train.init_from={package}",
        "train.max_steps=1",
        "train.learning_rate=1e-9",
        "train.ema_decay=0",
    ]
    started = load_package(run_editor(work, *overrides).package, stage=2).transformer.state_dict()
    generator = load_package(package).transformer.state_dict()
    torch.testing.assert_close(started["blocks.1.ffn.net.2.weight"], generator["blocks.1.ffn.net.2.weight"])
    torch.testing.assert_close(started["patch_embedding.weight"], generator["patch_embedding.weight"][:, :4])


def test_accumulation_changes_nothing_but_memory(work: Path) -> None:
    write_pairs(work / "pairs")
    for micro in (1, 4):
        run_editor(work, f"train.micro_batch_size={micro}", f"train.output={work / str(micro)}")
    np.testing.assert_allclose(_losses(work / "1"), _losses(work / "4"), rtol=1e-4)


def test_uncached_pairs_are_encoded_while_training(
    work: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]
) -> None:
    write_raw_pairs(work / "pairs", 3, 17, moving_frames, tone)
    run_editor(work, "train.max_steps=2")
    losses = _losses(work / "run")
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_longer_cached_clips_are_used_from_their_beginning(work: Path) -> None:
    write_pairs(work / "pairs", frames=17)
    run_editor(work, "train.max_steps=1")
    assert np.isfinite(_losses(work / "run")).all()


def test_a_time_limit_ends_the_run_with_a_checkpoint_and_a_package(work: Path) -> None:
    write_pairs(work / "pairs")
    result = run_editor(
        work, "train.max_steps=100000", "train.time_limit_minutes=0.01", "train.log_every=1000"
    )
    assert 0 < result.step < 100000
    assert (work / "run" / f"step-{result.step:08d}").is_dir() and (result.package / "bootdub.json").is_file()


def test_shards_of_another_autoencoder_are_refused(work: Path) -> None:
    write_pairs(work / "pairs", vae="0123")
    with pytest.raises(UserError, match="encoded with another vae"):
        run_editor(work)


def test_loader_workers_change_nothing(work: Path) -> None:
    write_pairs(work / "pairs")
    for workers in (0, 2):
        run_editor(
            work, "train.max_steps=2", f"train.num_workers={workers}", f"train.output={work / str(workers)}"
        )
    assert _losses(work / "0") == _losses(work / "2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["phase.lora_rank=4"], "init_from"),
        (["phase.rank=4"], "unknown key"),
        (["model.reference_layout=temporal"], "reference_layout"),
        (["train.global_batch_size=3"], "global_batch_size"),
        (["train.output=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_settings_are_one_line_and_exit_code_2(
    work: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(work / "pairs")
    known = [f"vae.path={work / 'vae'}", f"data.shards=[{work / 'pairs'}]", f"train.output={work / 'run'}"]
    assert main(["--config", str(work / "toy.yaml"), *known, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1


def test_dry_run_prints_derived_numbers_and_writes_nothing(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"train.output={work / 'run'}", "--dry-run"]
    assert main(["--config", str(work / "toy.yaml"), *words]) == 0
    out = capsys.readouterr().out
    assert "parameters, transformer" in out and "global batch" in out
    assert not (work / "run").exists()
