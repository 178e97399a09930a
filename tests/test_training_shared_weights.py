"""Distillation on one frozen copy of the weights, and to the steps of the public two-step student."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distill_toys import (
    OVERLAY,
    checkpoint,
    distil,
    losses,
    prepared,
    refusal,
    same,
    words,
    write_pairs_and_teachers,
)
from processes import torchrun
from safetensors.torch import load_file
from training_toys import metrics, toy_file

from common.diffusion.config import DiffusionConfig
from common.geometry import GeometryConfig
from common.models.adapters import Adapter
from common.models.conventions import TBDUB_STUDENT, Conventions, CropRule, PasteRule
from common.models.package import load_package
from common.models.package_info import PackageInfo, read_info, write_info
from common.speech.config import SpeechConfig
from stage2_dubber.distill import main
from stage2_dubber.distillation.draws import FAKE, STUDENT, WARMUP
from stage2_dubber.distillation.target import target_conventions
from stage2_dubber.dub.editing.editor import WindowEditor

CONFIGS = OVERLAY.parent
LORA = ["phase.lora_rank=2", "phase.lora_alpha=2", "phase.lora_targets=[self_attn.to_q,ffn.net.2]"]
SHARED = [*LORA, "distill.shared_weights=true"]
TBDUB = [
    "distill.target=tbdub",
    "distill.steps=[2]",
    "diffusion.num_steps=2",
    "diffusion.shift=1.0",
    "diffusion.border_at_end=true",
    "train.motion_probability=1",
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_pairs_and_teachers(folder)
    return folder


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_shared_weights_learn_what_copies_learn(work: Path, checkpointing: str) -> None:
    """The teacher has an adapter of its own; checkpointed blocks are computed again after it was active."""
    given = ["train.max_steps=5", f"model.gradient_checkpointing={checkpointing}"]
    distil(work, f"copies_{checkpointing}", *LORA, *given)
    distil(work, f"shared_{checkpointing}", *SHARED, *given)
    copies, shared = losses(work, f"copies_{checkpointing}"), losses(work, f"shared_{checkpointing}")
    np.testing.assert_allclose(shared, copies, rtol=1e-4)
    one = checkpoint(work, f"copies_{checkpointing}", 5)["model"]
    two = checkpoint(work, f"shared_{checkpointing}", 5)["model"]
    for name, value in one.items():
        ours = name.replace("auxiliary.fake.", "student.")
        if name.startswith("auxiliary."):
            ours = ours.replace(".student.weight", ".fake.weight")
        torch.testing.assert_close(two[ours], value, rtol=1e-2, atol=1e-5)


def test_each_step_trains_one_adapter_and_the_package_has_the_students(work: Path) -> None:
    result = distil(
        work, "run", *SHARED, "train.max_steps=5", "train.save_every=1", "train.keep_checkpoints=9"
    )
    kinds = [WARMUP, WARMUP, FAKE, FAKE, STUDENT]
    states = [checkpoint(work, "run", step) for step in range(1, 6)]
    assert all(".lora_" in name and "lip" not in name for name in states[0]["model"])
    for kind, before, after in zip(kinds[1:], states, states[1:], strict=False):
        for adapter in ("student", "fake"):
            names = [name for name in before["model"] if f".{adapter}.weight" in name]
            moved = any(not torch.equal(before["model"][name], after["model"][name]) for name in names)
            assert names and moved == ((kind == FAKE) == (adapter == "fake"))
        assert all(".student.weight" in name for name in after["ema"])
        assert same(before["ema"], after["ema"]) == (kind == FAKE)
    package = load_package(result.package, stage=2)
    assert package.info.adapters == (Adapter("student", (0.0, 1.0)),)
    assert sorted(path.name for path in result.package.glob("lora_*")) == ["lora_student.safetensors"]
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert same(load_file(work / "teacher" / name), load_file(result.package / name))
    learnt = load_file(result.package / "lora_student.safetensors")
    key = "blocks.0.ffn.net.2.lora_B.weight"
    kept = states[-1]["ema"]["student.blocks.0.ffn.net.2.lora_B.student.weight"]
    assert torch.equal(learnt[key], kept) and kept.any()
    crops = np.zeros((9, 32, 32, 3), np.uint8)
    editor = WindowEditor(package)
    assert len(list(editor.stream(iter(crops), 9, np.zeros((40, 80), np.float32), 0))) == 9


def test_resume_is_exact(work: Path) -> None:
    distil(work, "whole", *SHARED, "train.max_steps=6")
    for steps in (4, 6):
        distil(work, "cut", *SHARED, f"train.max_steps={steps}")
    assert losses(work, "cut") == losses(work, "whole")
    whole, cut = checkpoint(work, "whole", 6), checkpoint(work, "cut", 6)
    assert all(same(whole[group], cut[group]) for group in whole)


def test_split_over_processes_the_losses_are_those_of_one(work: Path) -> None:
    steps = [*SHARED, "train.max_steps=3", "distill.warmup_steps=1", "distill.fake_steps=1"]
    distil(work, "one", *steps, "train.micro_batch_size=4")
    files = ["--config", str(OVERLAY), str(toy_file(work))]
    several = words(work, "two", *steps, "train.micro_batch_size=1", "train.sharding=fsdp2")
    torchrun(2, "stage2_dubber/distill.py", *files, *several)
    np.testing.assert_allclose(losses(work, "two"), losses(work, "one"), rtol=1e-3)
    assert (work / "two" / "package" / "lora_student.safetensors").is_file()


def test_the_two_step_student_sees_and_dubs_as_the_public_one(work: Path) -> None:
    strategy, model, inputs = prepared(work, 4, *TBDUB)
    assert inputs.plan.motion and inputs.plan.num_steps == 2
    sampler = strategy.objective.sampler
    assert sampler.flow.sigmas(2).tolist() == [1.0, 0.5, 0.0]
    made = strategy.objective.rollout(model, replace(inputs, plan=replace(inputs.plan, stop=1))).sample
    assert made.requires_grad
    package = load_package(distil(work, "tbdub", *SHARED, *TBDUB, "train.max_steps=5").package)
    info = package.info
    assert info.conventions == replace(TBDUB_STUDENT, crops=CropRule.head, pasting=PasteRule.change)
    assert (info.diffusion.num_steps, info.diffusion.shift, info.diffusion.border_at_end) == (2, 1.0, True)
    dubbed = replace(sampler, num_steps=2, border=1, border_at_end=True).sample(
        model.student, inputs.rows.noise, inputs.conditions
    )
    inner = (slice(None), slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert torch.equal(made.detach()[inner], dubbed[inner]) and not torch.equal(made.detach(), dubbed)
    crops = np.random.default_rng(0).integers(0, 255, (21, 32, 32, 3), dtype=np.uint8)
    editor = WindowEditor(package)
    first = editor.windows(21)[0]
    assert first.start == -first.new_from < 0 and first.motion_latents == info.geometry.motion_latents
    assert len(list(editor.stream(iter(crops), 21, np.zeros((60, 80), np.float32), 0))) == 21
    assert all(np.isfinite(row["loss"]) for row in metrics(work / "tbdub"))


def test_a_student_keeps_its_teachers_conventions(work: Path) -> None:
    released = replace(TBDUB_STUDENT, crops=CropRule.release)
    assert target_conventions("tbdub", released).crops is CropRule.release
    assert target_conventions("teacher", released) == released
    info = read_info(work / "bare")
    write_info(work / "bare", replace(info, conventions=replace(Conventions(), seed=7)))
    try:
        package = distil(work, "kept", f"train.init_from={work / 'bare'}", "train.max_steps=1").package
    finally:
        write_info(work / "bare", info)
    assert read_info(package).conventions.seed == 7


@pytest.mark.parametrize(("shared", "fitting"), [(True, {"ddp", "fsdp2"}), (False, {"fsdp2"})])
def test_a_dry_run_tells_what_a_5b_student_takes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    fitting: set[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    xdub = DiffusionConfig(reference_scale=2.5, audio_scale=10.0)
    (tmp_path / "teacher").mkdir()
    write_info(tmp_path / "teacher", PackageInfo(2, "released", GeometryConfig(), SpeechConfig(), xdub))
    names = ("wan5b", "distill", "distill_two_steps", "wan5b_distill")
    files = [str(CONFIGS / f"{name}.yaml") for name in names if shared or name != "wan5b_distill"]
    given = [f"train.init_from={tmp_path / 'teacher'}", "train.mixed_precision=bfloat16", "data.shards=[]"]
    assert main(["--config", *files, "--dry-run", *given]) == 0
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    memory = {name: rows[f"memory per GPU, {name}"] for name in ("ddp", "fsdp2")}
    assert {name for name, row in memory.items() if "fits a100, h100" in row} == fitting
    model, added = 6_291_936_960, 64 * 30 * (8 * (3072 + 3072) + 2 * (3072 + 14336))
    weights = model + 2 * added if shared else 2 * model
    assert f"weights {4 * weights / 8 / 2**30:.1f}," in memory["fsdp2"]
    assert ("teacher 11.7" in memory["fsdp2"]) != shared
    assert ("one frozen copy" in rows.get("weights", "")) == shared
    if not shared:
        # 500 steps of 12 calls of the teacher, 5,000 of 1.5 of the student, 1,000 of half a one, 3 and 1. The
        # backward pass of one forward pass costs two.
        forwards = 1 + (500 * 12 + 5000 * 1.5 + 1000 * 4.5) / 6500
        found = re.search(r"forward ([\d.]+), backward ([\d.]+)", rows["compute per step"])
        assert found and float(found[1]) / float(found[2]) == pytest.approx(forwards / 2, rel=0.02)
    assert "h in all" in rows["time on 8 x h100"] and "t = 1 and 1/2" in rows["target"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distill.shared_weights=true"], "distill.shared_weights needs"),
        ([*SHARED, "distill.teacher=elsewhere"], "distill.teacher is another"),
        ([word for word in TBDUB if "shift" not in word], "diffusion.shift is 3.0, but distill.target=tbdub"),
        ([word for word in TBDUB if "motion" not in word], "train.motion_probability"),
        ([word for word in TBDUB if "distill.steps" not in word], "distill.steps"),
        (["diffusion.border_at_end=true"], "diffusion.border_at_end"),
        (["distill.target=other"], "distill.target"),
    ],
)
def test_what_contradicts_itself_is_refused(
    work: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(work, capsys, *overrides)
