"""The few-step student: a toy teacher distilled with the real trainer, and what its losses must be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

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
from hypothesis import given
from hypothesis import strategies as st
from processes import torchrun
from safetensors.torch import load_file
from torch import Tensor
from training_toys import (
    metrics,
    toy_file,
)

from common.diffusion.flow import FlowMatching
from common.diffusion.guidance import Guidance
from common.diffusion.options import SamplingOptions
from common.diffusion.sampler import EulerSampler
from common.models.adapters import Adapter
from common.models.conditions import GridOffset
from common.models.package import load_package
from common.models.package_info import read_info
from common.training.draws import Draw
from stage2_dubber.distill import main
from stage2_dubber.distillation.config import DistillConfig
from stage2_dubber.distillation.draws import FAKE, STUDENT, WARMUP, plan_step, step_kind
from stage2_dubber.distillation.losses import matching_gradient, matching_loss
from stage2_dubber.distillation.strategy import StudentStrategy
from stage2_dubber.dub.editing.editor import WindowEditor


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
    write_pairs_and_teachers(folder)
    return folder


def test_each_step_trains_one_network_and_the_package_dubs_in_few_calls(work: Path) -> None:
    result = distil(work, "run", "train.max_steps=8", "train.save_every=1", "train.keep_checkpoints=9")
    kinds = [WARMUP, WARMUP, FAKE, FAKE, STUDENT, FAKE, FAKE, STUDENT]
    names = {WARMUP: {"warmup"}, FAKE: {"fake"}, STUDENT: {"dmd", "dmd_gradient"}}
    rows = metrics(work / "run")
    assert [names[kind] for kind in kinds] == [set(row) & set.union(*names.values()) for row in rows]
    assert all(row["dmd_gradient"] > 0 for row in rows if "dmd" in row)

    states = [checkpoint(work, "run", step) for step in range(1, 9)]
    for kind, before, after in zip(kinds[1:], states, states[1:], strict=False):
        trained, other = ("auxiliary.", "student.") if kind == FAKE else ("student.", "auxiliary.")
        assert same(before["model"], after["model"], other)
        assert not same(before["model"], after["model"], trained)
        held = {name: value for name, value in before["optimizer"].items() if name.startswith(other)}
        assert all(torch.equal(value, after["optimizer"][name]) for name, value in held.items())
        assert all(name.startswith("student.") for name in after["ema"])
        assert same(before["ema"], after["ema"]) == (kind == FAKE)

    package = load_package(result.package, stage=2)
    info = package.info
    assert (info.phase, info.adapters, info.training["distill"]["steps"]) == ("student", (), [2, 4])
    name = "head.head.weight"
    torch.testing.assert_close(package.transformer.state_dict()[name], states[-1]["ema"][f"student.{name}"])
    calls: list[int] = []
    package.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    crops = np.zeros((9, 32, 32, 3), np.uint8)
    for sampling, expected in ((SamplingOptions(), 4), (SamplingOptions(num_steps=2), 2)):
        calls.clear()
        editor = WindowEditor(package, sampling)
        assert len(list(editor.stream(iter(crops), 9, np.zeros((40, 80), np.float32), 0))) == 9
        assert len(calls) == expected


def test_resume_is_exact_in_the_warm_up_and_in_the_middle_of_a_round(work: Path) -> None:
    distil(work, "whole", "train.max_steps=8")
    for steps in (1, 4, 8):
        distil(work, "cut", f"train.max_steps={steps}")
    assert losses(work, "cut") == losses(work, "whole")
    whole, cut = checkpoint(work, "whole", 8), checkpoint(work, "cut", 8)
    assert all(same(whole[group], cut[group]) for group in whole)


def test_two_processes_give_the_losses_of_one(work: Path) -> None:
    steps = ["train.max_steps=5", "distill.warmup_steps=1", "distill.fake_steps=1"]
    distil(work, "one", *steps, "train.micro_batch_size=4")
    files = ["--config", str(OVERLAY), str(toy_file(work))]
    several = words(work, "two", *steps, "train.micro_batch_size=1")
    torchrun(2, "stage2_dubber/distill.py", *files, *several)
    np.testing.assert_allclose(losses(work, "two"), losses(work, "one"), rtol=1e-3)
    one, two = checkpoint(work, "one", 5)["model"], checkpoint(work, "two", 5)["model"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-3)


def test_the_warm_up_brings_the_student_to_the_teachers_samples(work: Path) -> None:
    warm = ["distill.warmup_steps=40", "train.max_steps=40", "distill.steps=[2]", "diffusion.num_steps=2"]
    package = load_package(distil(work, "warm", *warm).package)
    strategy, model, inputs = prepared(work, 100, *warm, teacher="teacher")
    noise, conditions = inputs.rows.noise, inputs.conditions
    guided = replace(strategy.teacher.sampler, num_steps=4)
    own = replace(strategy.objective.sampler, num_steps=2)
    wanted = guided.sample(load_teacher(strategy), noise, conditions)
    before = (own.sample(model.student, noise, conditions) - wanted).square().mean()
    after = (own.sample(package.transformer, noise, conditions) - wanted).square().mean()
    assert after < 0.8 * before


def load_teacher(strategy: StudentStrategy) -> Any:
    return strategy.teacher.network


@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("num_steps", [2, 4])
def test_the_students_samples_are_those_of_inference(work: Path, num_steps: int, motion: bool) -> None:
    strategy, model, inputs = prepared(work, 4, f"train.motion_probability={float(motion)}")
    assert (inputs.conditions.motion is not None) == motion
    plan = replace(inputs.plan, num_steps=num_steps, stop=num_steps - 1)
    made = strategy.objective.rollout(model, replace(inputs, plan=plan)).sample
    assert made.requires_grad
    sampler = EulerSampler(FlowMatching(3.0), Guidance(1.0, 1.0, False), num_steps, border=1)
    dubbed = sampler.sample(model.student, inputs.rows.noise, inputs.conditions)
    assert torch.equal(made.detach(), dubbed)


def test_a_later_pass_sees_what_the_student_has_made(work: Path) -> None:
    strategy, model, inputs = prepared(work, 4, "diffusion.passes=2")
    conditions, noise = inputs.conditions, inputs.rows.noise
    seen = {
        strategy.objective.in_pass(model, replace(inputs, plan=replace(inputs.plan, passes_before=count)))
        .conditions.reference.double()
        .sum()
        .item()  # type: ignore[union-attr]
        for count in (0, 1)
    }
    assert len(seen) == 2
    plan = replace(inputs.plan, num_steps=2, stop=1, passes_before=1)
    later = strategy.objective.in_pass(model, replace(inputs, plan=plan))
    assert later.conditions.reference is not None and not later.conditions.reference.requires_grad
    made = strategy.objective.rollout(model, later).sample
    dubbed = replace(strategy.objective.sampler, num_steps=2).sample(model.student, noise, conditions)
    assert strategy.objective.sampler.passes == 2 and torch.equal(made.detach(), dubbed)
    planned = [plan_step(Draw(0, step, 0), DistillConfig(), 0.5, 0, passes=2) for step in range(200)]
    assert 60 < sum(one.passes_before for one in planned) < 140


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_student_may_be_trained_around_the_lips_alone(work: Path, step: int) -> None:
    window = ["train.lip_window=[2, 2]", "train.lip_window_share=1.0", "diffusion.passes=2"]
    strategy, model, inputs = prepared(work, step, *window, teacher="teacher")
    assert inputs.conditions.offset is not None
    rows, columns = (2 * size for size in strategy.patch_size[1:])
    clips = (inputs.batch.target_latents, inputs.conditions.reference, inputs.rows.noise)
    assert all(clip is not None and clip.shape[-2:] == (rows, columns) for clip in clips)
    assert strategy.objective.sampler.generated(inputs.rows.noise, inputs.conditions)[-1].all(), (
        "a part has no ring"
    )
    elsewhere = replace(inputs.conditions, offset=GridOffset(0, 0, 4, 4))
    one, two = (
        strategy.loss(model, replace(inputs, conditions=conditions))
        for conditions in (inputs.conditions, elsewhere)
    )
    assert one.loss.isfinite().all() and (step == 4 or not torch.equal(one.loss, two.loss))
    one.loss.mean().backward()


def test_a_fake_score_that_equals_the_teacher_gives_no_gradient(work: Path) -> None:
    strategy, model, inputs = prepared(work, 4)
    assert inputs.plan.kind == STUDENT
    same_score = strategy.loss(model, inputs)
    assert same_score.parts["dmd_gradient"].max() < 1e-4
    with torch.no_grad():
        model.auxiliary["fake"].head.head.weight.mul_(0.5)  # type: ignore[operator]
    other_score = strategy.loss(model, inputs)
    assert other_score.parts["dmd_gradient"].min() > 1e-2
    other_score.loss.mean().backward()
    assert any(value.grad is not None and value.grad.any() for value in model.student.parameters())
    assert all(value.grad is None for value in model.auxiliary["fake"].parameters())


def test_the_truth_term_looks_at_generated_lips_alone(work: Path) -> None:
    strategy, model, inputs = prepared(work, 4, "distill.truth_weight=0.5")
    with_truth = strategy.loss(model, inputs)
    assert with_truth.parts["truth"].min() > 0
    torch.testing.assert_close(with_truth.loss.detach(), sum(with_truth.parts[n] for n in ("dmd", "truth")))
    closed = replace(inputs, batch=replace(inputs.batch, lip_mask=torch.zeros_like(inputs.batch.lip_mask)))
    assert strategy.loss(model, closed).parts["truth"].max() == 0


def test_warming_up_on_the_bare_teachers_own_steps_costs_nothing(work: Path) -> None:
    strategy, model, inputs = prepared(work, 0, "distill.teacher_substeps=1")
    assert strategy.loss(model, inputs).loss.max() < 1e-8
    strategy, model, inputs = prepared(work, 0, "distill.teacher_substeps=1", teacher="teacher")
    assert strategy.loss(model, inputs).loss.min() > 1e-3


def test_the_teachers_mean_velocity_leads_where_its_sampler_does(work: Path) -> None:
    strategy, _, inputs = prepared(work, 0, "train.motion_probability=0", teacher="teacher")
    noise, conditions = inputs.rows.noise, inputs.conditions
    own = strategy.objective.sampler
    velocity = strategy.teacher.average_velocity(noise, noise, conditions, own, 1, 0, substeps=4)
    sampler = replace(strategy.teacher.sampler, num_steps=4)
    whole = sampler.sample(load_teacher(strategy), noise, conditions)
    inner = sampler.generated(noise, conditions).expand_as(noise)
    torch.testing.assert_close((noise - velocity)[inner], whole[inner], rtol=1e-4, atol=1e-4)


def test_the_matching_gradient_of_gaussians_is_the_known_one() -> None:
    """For N(m, 1) the clean mean of z at t is m + (1-t) (z - (1-t) m) / ((1-t)^2 + t^2)."""
    real_mean, rate = 2.0, 0.3
    mean = torch.zeros((), requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    everything = torch.ones(1, 4, 4, dtype=torch.bool)

    def clean_mean(z: Tensor, t: Tensor, m: float) -> Tensor:
        s = 1 - t
        return m + s * (z - s * m) / (s**2 + t**2)

    for _ in range(60):
        sample = mean + torch.randn(16, 2, 1, 4, 4, generator=generator)
        t = 0.02 + 0.96 * torch.rand(16, 1, 1, 1, 1, generator=generator)
        z = (1 - t) * sample.detach() + t * torch.randn(sample.shape, generator=generator)
        real, fake = clean_mean(z, t, real_mean), clean_mean(z, t, mean.item())
        gradient = matching_gradient(sample.detach(), real, fake, everything)
        distance = (sample.detach() - real).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
        expected = (mean.item() - real_mean) * t**2 / ((1 - t) ** 2 + t**2) / distance
        torch.testing.assert_close(gradient, expected.expand_as(gradient), rtol=1e-3, atol=1e-4)
        loss = matching_loss(sample, gradient, torch.ones(16, 1, 1, 4, 4), torch.zeros(16))
        (slope,) = torch.autograd.grad(loss.mean(), mean)
        with torch.no_grad():
            mean -= rate * slope
    assert abs(mean.item() - real_mean) < 0.1


@given(st.integers(0, 10_000), st.integers(0, 63), st.integers(0, 5), st.integers(1, 7))
def test_all_rows_of_a_step_share_its_plan(step: int, position: int, warm: int, fake: int) -> None:
    config = DistillConfig(steps=[2, 4], warmup_steps=warm, fake_steps=fake)
    plan = plan_step(Draw(3, step, 0), config, 0.5, seed=0)
    assert plan == plan_step(Draw(position, step, position), config, 0.5, seed=0)
    assert plan.num_steps in (2, 4) and 0 <= plan.stop < plan.num_steps
    kinds = [step_kind(config, step) for step in range(warm + fake + 1)]
    assert kinds == [WARMUP] * warm + [FAKE] * fake + [STUDENT]


def test_adapters_can_be_distilled_instead(work: Path) -> None:
    lora = ["phase.lora_rank=2", "phase.lora_alpha=2", "phase.lora_targets=[self_attn.to_q,ffn.net.2]"]
    result = distil(work, "lora", *lora, "train.max_steps=5")
    model = checkpoint(work, "lora", 5)["model"]
    assert {name.split(".")[0] for name in model} == {"student", "auxiliary"}
    assert all(".lora_" in name for name in model)
    package = load_package(result.package, stage=2)
    assert package.info.adapters == (Adapter("student", (0.0, 1.0)),)
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert same(load_file(work / "teacher" / name), load_file(result.package / name))
    assert (result.package / "lora_student.safetensors").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.init_from="], "train.init_from is empty"),
        (["train.init_from=/proc/nowhere"], "no model package"),
        (["train.init_from={work}/generator"], "stage 2 is needed"),
        (["train.keep_adapters=true"], "keep_adapters must be false"),
        (["train.drop_audio=0.1"], "train.drop_audio"),
        (["diffusion.audio_scale=4"], "diffusion.audio_scale"),
        (["diffusion.num_steps=3"], "diffusion.num_steps"),
        (["diffusion.shift=5"], "diffusion.shift"),
        (["distill.fake_steps=0"], "distill.fake_steps"),
        (["distill.score_range=[0,1]"], "distill.score_range"),
        (["phase.active_range=[0,0.5]"], "phase.active_range"),
        (["phase.own_references=0.3"], "phase.own_references"),
    ],
)
def test_what_cannot_become_a_student_is_refused_in_one_line(
    work: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(work=work) for word in overrides]
    assert message in refusal(work, capsys, *given)


def test_another_teacher_does_not_continue_the_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distil(work, "teacher_a", "train.max_steps=1")
    other = words(work, "teacher_a", "train.max_steps=2", teacher="bare")
    assert main(["--config", str(OVERLAY), str(toy_file(work)), *other]) == 2
    assert "init_from" in capsys.readouterr().err


def test_dry_run_says_what_each_kind_of_step_costs(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry = words(work, "dry", "train.max_steps=8", "--dry-run")
    assert main(["--config", str(OVERLAY), str(toy_file(work)), *dry]) == 0
    out = capsys.readouterr().out
    assert "warmup steps   2; forward passes without gradient: 6 of the teacher" in out
    assert "fake steps     4; forward passes without gradient: 2 of the student" in out
    assert "student steps  2" in out and not (work / "dry").exists()
    assert read_info(work / "teacher").phase in out


def test_dry_run_counts_what_a_student_without_auxiliary_networks_asks_for(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ["distill.matching_weight=0", "distill.teacher_weight=1", "distill.warmup_steps=0"]
    given = words(work, "dry", *alone, "train.max_steps=8", "--dry-run")
    assert main(["--config", str(OVERLAY), str(toy_file(work)), *given]) == 0
    out = capsys.readouterr().out
    assert "student steps  8; forward passes without gradient: 1 of the student, 6 of the teacher" in out
    assert "fake" not in out
