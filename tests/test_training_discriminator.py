"""The discriminator of a distillation: what it learns, what the student learns from it, what is trained."""

from __future__ import annotations

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
from processes import several_processes
from torch import Tensor
from training_toys import metrics, toy_file

from common.autoencoder.codec import VideoCodec
from common.models.config import ModelConfig
from common.models.package import load_package, save_package
from common.training.losses import with_gradient
from stage2_dubber.distillation.config import DiscriminatorConfig, DistillConfig
from stage2_dubber.distillation.discriminator import (
    LatentDiscriminator,
    discriminator_inputs,
    discriminator_loss,
    student_gradient,
)
from stage2_dubber.distillation.draws import FAKE, STUDENT, WARMUP, step_kind

DISCRIMINATED = [
    "distill.discriminator.weight=0.1",
    "distill.discriminator.width=2",
    "distill.discriminator.num_layers=2",
]
ALONE = [*DISCRIMINATED, "distill.matching_weight=0", "distill.teacher_weight=1", "distill.warmup_steps=0"]
MODEL = ModelConfig(latent_channels=4, audio_channels=3, audio_dim=16, audio_heads=2, audio_layers=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("discriminator")
    write_pairs_and_teachers(folder)
    return folder


def clips(seed: int, batch: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Filmed clips whose brightness is what is said, soft ones of the same kind, and the speech."""
    generator = torch.Generator().manual_seed(seed)
    speech = torch.randn(batch, 3, 4, 3, generator=generator)
    said = speech.mean(dim=2)[..., :1].transpose(1, 2)[..., None, None]  # (B, 1, F, 1, 1)
    detail = torch.randn(batch, 4, 3, 6, 6, generator=generator)
    soft = torch.nn.functional.avg_pool3d(detail, (1, 3, 3), 1, (0, 1, 1))
    return 2 * said + detail, 2 * said + soft, speech


def trained_discriminator(config: DiscriminatorConfig, steps: int = 60) -> LatentDiscriminator:
    torch.manual_seed(0)
    discriminator = LatentDiscriminator(MODEL, config)
    optimizer = torch.optim.Adam(discriminator.parameters(), 3e-3)
    for seed in range(steps):
        filmed, soft, speech = clips(seed)
        noise = torch.randn(filmed.shape, generator=torch.Generator().manual_seed(seed))
        given = discriminator_inputs(filmed, soft, speech, speech.roll(1, 0), noise, config)
        loss = discriminator_loss(discriminator(**given), torch.ones(8, 1, 3, 6, 6), config).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return discriminator.eval()


def test_it_tells_soft_clips_and_others_speech_and_points_the_way_back() -> None:
    config = DiscriminatorConfig(weight=1.0, width=3, num_layers=2, wrong_speech=1.0)
    discriminator = trained_discriminator(config)
    filmed, soft, speech = clips(1000, batch=32)
    with torch.no_grad():
        right, blurred, wrong = (
            discriminator(latents, said).mean()
            for latents, said in ((filmed, speech), (soft, speech), (filmed, speech.roll(1, 0)))
        )
    assert right > blurred + 1 and right > wrong + 0.2
    weights = torch.ones(32, 1, 3, 6, 6)
    values, gradient = student_gradient(discriminator, soft, speech, weights)
    moved = soft - 0.1 * soft.norm() / gradient.norm() * gradient
    better, _ = student_gradient(discriminator, moved, speech, weights)
    assert better.mean() < values.mean()
    assert all(
        parameter.grad is None or not parameter.grad.isnan().any() for parameter in discriminator.parameters()
    )


def test_without_wrong_speech_it_does_not_mind_what_is_said() -> None:
    discriminator = trained_discriminator(
        DiscriminatorConfig(weight=1.0, width=3, num_layers=2, wrong_speech=0.0)
    )
    filmed, _, speech = clips(1000, batch=32)
    with torch.no_grad():
        right, wrong = discriminator(filmed, speech).mean(), discriminator(filmed, speech.roll(1, 0)).mean()
    assert abs(right - wrong) < 0.2


def test_a_penalty_makes_its_logits_steady() -> None:
    filmed, _, speech = clips(1000, batch=32)
    noise = torch.randn(filmed.shape, generator=torch.Generator().manual_seed(1))

    def shaken(penalty: float) -> float:
        discriminator = trained_discriminator(
            DiscriminatorConfig(weight=1.0, width=3, num_layers=2, noise=0.1, penalty=penalty)
        )
        with torch.no_grad():
            difference = discriminator(filmed, speech) - discriminator(filmed + 0.1 * noise, speech)
        return float(difference.square().mean())

    assert shaken(100.0) < 0.5 * shaken(0.0)


def test_cells_without_weight_are_not_looked_at() -> None:
    torch.manual_seed(0)
    discriminator = LatentDiscriminator(MODEL, DiscriminatorConfig(width=2, num_layers=1))
    filmed, soft, speech = clips(0, batch=2)
    weights = torch.zeros(2, 1, 3, 6, 6)
    weights[..., :2, :2] = 1.0
    _, gradient = student_gradient(discriminator, soft, speech, weights)
    assert gradient[..., :2, :2].abs().sum() > 0
    given = discriminator_inputs(filmed, soft, speech, speech, torch.zeros_like(soft), DiscriminatorConfig())
    logits = discriminator(**given).detach().clone()
    expected = discriminator_loss(logits, weights, DiscriminatorConfig())
    logits[..., 2:, :] = 1e3
    logits[..., 2:] = -1e3
    torch.testing.assert_close(discriminator_loss(logits, weights, DiscriminatorConfig()), expected)


def test_a_value_carries_the_gradient_that_it_is_given() -> None:
    sample, gradient = torch.randn(2, 4, 3, 6, 6, requires_grad=True), torch.randn(2, 4, 3, 6, 6)
    values = torch.tensor([3.0, -1.0])
    carried = with_gradient(values, sample, gradient)
    torch.testing.assert_close(carried.detach(), values, atol=1e-4, rtol=0)
    carried.sum().backward()
    torch.testing.assert_close(sample.grad, gradient)


def test_the_auxiliary_networks_learn_alone_first_and_at_their_own_rate(work: Path) -> None:
    plan = ["distill.auxiliary_steps=2", "distill.fake_steps=1", "distill.auxiliary_rate=4"]
    several = ["train.max_steps=6", "train.save_every=1", "train.keep_checkpoints=9", "train.warmup_steps=0"]
    result = distil(work, "run", *ALONE, *plan, *several)
    rows = metrics(work / "run")
    kinds = [FAKE, FAKE, FAKE, STUDENT, FAKE, STUDENT]
    names = {FAKE: {"discriminator"}, STUDENT: {"teacher", "adversarial", "adversarial_gradient"}}
    known = set.union(*names.values()) | {"fake", "dmd"}
    assert [names[kind] for kind in kinds] == [set(row) & known for row in rows]
    rate = min(row["learning_rate"] for row in rows)
    np.testing.assert_allclose([row["learning_rate"] / rate for row in rows], [4, 4, 4, 1, 4, 1])
    states = [checkpoint(work, "run", step)["model"] for step in range(1, 7)]
    assert {name.split(".")[1] for name in states[0] if name.startswith("auxiliary.")} == {"discriminator"}
    for kind, before, after in zip(kinds[1:], states, states[1:], strict=False):
        trained, other = ("auxiliary.", "student.") if kind == FAKE else ("student.", "auxiliary.")
        assert same(before, after, other) and not same(before, after, trained)
    assert load_package(result.package, stage=2).info.phase == "student"


def test_the_discriminator_goes_beside_distribution_matching(work: Path) -> None:
    distil(
        work, "both", *DISCRIMINATED, "distill.warmup_steps=1", "distill.fake_steps=1", "train.max_steps=3"
    )
    rows = metrics(work / "both")
    assert {"fake", "discriminator"} <= set(rows[1]) and {"dmd", "adversarial"} <= set(rows[2])


def test_two_processes_give_the_losses_of_one(work: Path) -> None:
    steps = [
        "train.max_steps=5",
        "distill.fake_steps=1",
        "distill.discriminator.wrong_speech=0",
        *DISCRIMINATED,
    ]
    distil(work, "one", *steps, "distill.warmup_steps=0", "train.micro_batch_size=4")
    files = ["--config", str(OVERLAY), str(toy_file(work))]
    several_processes(
        2,
        "stage2_dubber/distill.py",
        *files,
        *words(work, "two", *steps, "distill.warmup_steps=0", "train.micro_batch_size=1"),
    )
    np.testing.assert_allclose(losses(work, "two"), losses(work, "one"), rtol=1e-3)


def test_the_students_step_leaves_the_discriminator_without_a_gradient(work: Path) -> None:
    strategy, model, inputs = prepared(work, 1, *ALONE, "distill.fake_steps=1")
    assert inputs.plan.kind == STUDENT
    result = strategy.loss(model, inputs)
    assert result.parts["adversarial_gradient"].min() > 0
    result.loss.mean().backward()
    assert any(value.grad is not None and value.grad.any() for value in model.student.parameters())
    assert all(value.grad is None for value in model.auxiliary.parameters())
    plan = replace(inputs.plan, kind=FAKE)
    model.zero_grad(set_to_none=True)
    strategy.loss(model, replace(inputs, plan=plan)).loss.mean().backward()
    assert all(value.grad is None for value in model.student.parameters())
    assert all(value.grad is not None for value in model.auxiliary.parameters())


def test_the_teacher_may_be_another_than_the_start(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["distill.warmup_steps=9", "distill.teacher_substeps=1"]
    strategy, model, inputs = prepared(work, 0, *own, f"distill.teacher={work / 'teacher'}")
    other = strategy.loss(model, inputs).loss
    strategy, model, inputs = prepared(work, 0, *own)
    assert other.min() > 1e-3 and strategy.loss(model, inputs).loss.max() < 1e-8
    assert "stage 2 is needed" in refusal(work, capsys, f"distill.teacher={work / 'generator'}")


def test_a_teacher_with_other_encoders_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = load_package(work / "bare")
    info, model, codec = package.info, package.transformer, package.codec
    save_package(work / "deaf", replace(info, speech_fingerprint="other"), model, codec)
    assert "speech encoder" in refusal(work, capsys, f"distill.teacher={work / 'deaf'}")
    with torch.no_grad():
        next(codec.vae.parameters()).add_(1.0)
    save_package(work / "blind", info, model, VideoCodec(codec.vae))
    assert "another autoencoder" in refusal(work, capsys, f"distill.teacher={work / 'blind'}")


def test_the_steps_come_in_their_order() -> None:
    config = DistillConfig(warmup_steps=2, auxiliary_steps=3, fake_steps=2)
    kinds = [step_kind(config, step) for step in range(11)]
    assert kinds == [WARMUP] * 2 + [FAKE] * 5 + [STUDENT] + [FAKE] * 2 + [STUDENT]


def test_without_auxiliary_networks_the_student_follows_its_teacher_on_its_own_way(work: Path) -> None:
    alone = ["distill.matching_weight=0", "distill.teacher_weight=1", "distill.warmup_steps=0"]
    fewer = ["distill.steps=[2]", "diffusion.num_steps=2", "distill.teacher_substeps=1"]
    assert step_kind(DistillConfig(matching_weight=0, teacher_weight=1, warmup_steps=1), 1) == STUDENT
    distil(work, "alone", *alone, *fewer, "train.max_steps=40")
    rows = metrics(work / "alone")
    assert all({"teacher"} == set(row) & {"teacher", "fake", "discriminator", "dmd"} for row in rows)
    assert not any(name.startswith("auxiliary.") for name in checkpoint(work, "alone", 40)["model"])
    strategy, model, inputs = prepared(work, 0, *alone, *fewer)
    plan = replace(inputs.plan, num_steps=2, stop=1)
    own = strategy.objective.rollout(model, replace(inputs, plan=plan)).latents
    assert strategy.loss(model, replace(inputs, plan=plan)).loss.max() < 1e-8, "the bare teacher's own step"
    clean, noise = inputs.batch.target_latents, inputs.rows.noise
    assert not torch.allclose(own, 0.25 * clean + 0.75 * noise, atol=1e-2), "not from the filmed clip"
    mean = np.mean([row["loss"] for row in rows[:8]]), np.mean([row["loss"] for row in rows[-8:]])
    assert mean[1] < 0.8 * mean[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distill.matching_weight=0"], "all 0"),
        (["distill.discriminator.weight=-1"], "distill.discriminator.weight"),
        (["distill.discriminator.num_layers=0"], "distill.discriminator.num_layers"),
        (["distill.auxiliary_rate=0"], "distill.auxiliary_rate"),
        (["distill.auxiliary_steps=-1"], "distill.auxiliary_steps"),
    ],
)
def test_auxiliary_networks_that_cannot_be_are_refused_in_one_line(
    work: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(work, capsys, *overrides)
