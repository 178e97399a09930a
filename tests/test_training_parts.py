"""The pieces of training: draws, inputs, losses, averages, checkpoints, schedule."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_toys import run_editor, toy_vae, write_pairs

from common.arithmetic import resolve_precision
from common.data.batch import DubBatch
from common.data.shuffle import ShuffledOrder
from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.training.checkpoint import (
    latest_checkpoint,
    load_optimizer,
    optimizer_tensors,
    save_checkpoint,
)
from common.training.conditioning import draw_sample, flow_inputs
from common.training.config import FlowTrainConfig
from common.training.draws import Draw, DrawSampler
from common.training.ema import ParameterAverage
from common.training.losses import masked_flow_loss, noise_weights, region_weights, weighted_flow_loss
from common.training.schedule import learning_rate

FLOW = FlowMatching(5.0, 5.0)


def _batch(size: int = 4, frames: int = 5) -> DubBatch:
    torch.manual_seed(0)
    latents = torch.randn(size, 2, frames, 4, 4)
    masks = torch.ones(size, frames, 4, 4)
    return DubBatch(
        keys=tuple("abcdefgh"[:size]),
        target_latents=latents,
        reference_latents=latents + 1,
        audio_features=torch.ones(size, frames, 8, 3),
        lip_mask=masks,
        face_mask=masks,
    )


@settings(deadline=None, max_examples=25)
@given(
    step=st.integers(0, 50),
    micro=st.sampled_from([1, 2, 4]),
    world=st.sampled_from([1, 2]),
    seed=st.integers(0, 9),
)
def test_every_position_is_drawn_once_whatever_the_world(
    step: int, micro: int, world: int, seed: int
) -> None:
    def draws(world: int, micro: int) -> list[Draw]:
        order = ShuffledOrder([np.arange(5), np.arange(5, 7)], 8, seed)
        out = []
        for rank in range(world):
            batches = iter(DrawSampler(order, 8, micro, world, rank, step))
            out += [draw for _ in range(8 // world // micro) for draw in next(batches)]
        return out

    assert draws(world, micro) == draws(1, 8)


def test_a_draw_depends_on_its_place_alone() -> None:
    config = FlowTrainConfig(seed=3)
    one, again = (draw_sample(Draw(7, 5, 2), config, FLOW, (2, 3, 4, 4)) for _ in range(2))
    other = draw_sample(Draw(7, 5, 3), config, FLOW, (2, 3, 4, 4))
    assert one.sigma == again.sigma and torch.equal(one.noise, again.noise)
    assert one.sigma != other.sigma and not torch.equal(one.noise, other.noise)


def test_conditions_are_dropped_as_often_as_configured_and_only_in_the_guidance_branches() -> None:
    config = FlowTrainConfig(drop_both=0.05, drop_audio=0.10, motion_probability=0.5)
    drawn = [draw_sample(Draw(0, step, 0), config, FLOW, (1, 1, 1, 1)) for step in range(3000)]
    both = np.mean([one.drop_reference for one in drawn])
    audio = np.mean([one.drop_audio and not one.drop_reference for one in drawn])
    assert abs(both - 0.05) < 0.015 and abs(audio - 0.10) < 0.02
    assert all(one.drop_audio for one in drawn if one.drop_reference)
    assert abs(np.mean([one.motion for one in drawn]) - 0.5) < 0.04


def test_motion_frames_are_clean_and_dropped_conditions_are_zero() -> None:
    config = FlowTrainConfig(drop_both=0.3, drop_audio=0.3, motion_probability=0.5)
    batch = _batch(8)
    draws = [Draw(i, 0, i) for i in range(8)]
    inputs = flow_inputs(batch, draws, config, FLOW, motion_latents=2)
    for i, draw in enumerate(draws):
        one = draw_sample(draw, config, FLOW, batch.target_latents.shape[1:])
        clean = inputs.noisy[i] == batch.target_latents[i]
        assert inputs.clean_frames[i] == (2 if one.motion else 0)
        assert clean[:, :2].all() == one.motion and not clean[:, 2:].any()
        assert bool((inputs.conditions.reference[i] == 0).all()) == one.drop_reference
        assert bool((inputs.conditions.audio_features[i] == 0).all()) == one.drop_audio
        expected = (1 - one.sigma) * batch.target_latents[i, :, 2:] + one.sigma * one.noise[:, 2:]
        torch.testing.assert_close(inputs.noisy[i, :, 2:], expected)
    torch.testing.assert_close(inputs.velocity, inputs.velocity)
    mask = inputs.conditions.motion_mask
    assert mask is not None and mask.any() and not mask.all()
    assert inputs.conditions.motion_frames == 2


def test_loss_weighs_face_and_lips_and_leaves_motion_frames_out() -> None:
    target = torch.zeros(2, 3, 4, 2, 2)
    velocity = torch.ones_like(target)
    velocity[:, :, :2] = 100.0  # an error where the first sample has its motion frames
    face = torch.zeros(2, 4, 2, 2)
    face[:, 2:] = 1
    lips = torch.zeros_like(face)
    lips[:, 3] = 1
    weights = region_weights(face, lips, 0.3, 0.3)
    loss = weighted_flow_loss(velocity, target, weights, torch.tensor([2, 0]))
    assert loss[0].item() == pytest.approx((1.3 + 1.6) / 2)
    assert loss[1].item() == pytest.approx((1e4 + 1e4 + 1.3 + 1.6) / 4)


def test_loss_weighs_single_cells_of_the_latent_grid() -> None:
    """(1 + .3 M_face + .3 M_lip) (v - v_hat)^2 by hand, with masks and errors that differ in every axis."""
    generator = torch.Generator().manual_seed(0)
    velocity, target = torch.randn(2, 2, 3, 4, 2, 5, generator=generator)
    face, lips = (torch.rand(2, 2, 4, 2, 5, generator=generator) < 0.5).float()
    config = FlowTrainConfig()
    weights = region_weights(face, lips, config.face_weight, config.lip_weight)
    loss = weighted_flow_loss(velocity, target, weights, torch.tensor([0, 1]))
    for b, first in enumerate((0, 1)):
        cells = [
            (1 + 0.3 * float(face[b, f, y, x]) + 0.3 * float(lips[b, f, y, x]))
            * float(velocity[b, c, f, y, x] - target[b, c, f, y, x]) ** 2
            for c, f, y, x in np.ndindex(3, 4, 2, 5)
            if f >= first
        ]
        assert loss[b].item() == pytest.approx(np.mean(cells), rel=1e-5)


def test_a_masked_loss_is_the_error_over_the_masked_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    velocity, target = torch.randn(2, 3, 3, 4, 2, 5, generator=generator)
    mask = (torch.rand(3, 4, 2, 5, generator=generator) < 0.4).float()
    mask[2] = 0
    loss = masked_flow_loss(velocity, target, mask, torch.tensor([0, 1, 0]))
    for b, first in enumerate((0, 1)):
        inside = mask[b, first:].bool().expand(3, -1, -1, -1)
        error = (velocity[b, :, first:] - target[b, :, first:]).square()
        assert loss[b].item() == pytest.approx(error[inside].mean().item(), rel=1e-5)
    assert loss[2] == 0, "nothing is masked"


def test_a_training_of_a_region_sees_no_error_elsewhere_and_names_what_is_missing(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    steps = ["train.max_steps=1", "train.learning_rate=0"]
    whole = run_editor(tmp_path, *steps, "train.face_weight=0", "train.lip_weight=0")
    lips = run_editor(tmp_path, *steps, "train.loss_region=lips", f"train.output={tmp_path / 'lips'}")
    assert lips.loss == pytest.approx(whole.loss), "the toy's lips are all of the picture"
    words = [*steps, "train.loss_region=lower_face", f"train.output={tmp_path / 'face'}"]
    with pytest.raises(UserError, match="no lower_face_mask: pack them again"):
        run_editor(tmp_path, *words)
    with pytest.raises(UserError, match=r"train\.loss_region"):
        FlowTrainConfig(loss_region="mouth")


def test_average_follows_and_can_be_put_in_and_out() -> None:
    layer = nn.Linear(2, 2)
    parameters = dict(layer.named_parameters())
    average = ParameterAverage(parameters, decay=0.5)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    average.update()  # early decay is (1 + 1) / (10 + 1)
    with average.applied():
        torch.testing.assert_close(layer.weight.detach(), before + 1 - 2 / 11)
    torch.testing.assert_close(layer.weight.detach(), before + 1)


def _stepped() -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(1)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return layer, optimizer


def test_checkpoint_brings_back_weights_and_optimiser_without_pickle(tmp_path: Path) -> None:
    layer, optimizer = _stepped()
    named = dict(layer.named_parameters())
    groups = {"model": named, "optimizer": optimizer_tensors(optimizer, named)}
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, groups, {"note": "x"}, keep=2)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-00000002", "step-00000003"]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json", ""}

    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.step == 3
    fresh = nn.Linear(3, 2)
    named = dict(fresh.named_parameters())
    again = torch.optim.AdamW(fresh.parameters(), lr=0.1)
    checkpoint.read("model", named)
    load_optimizer(again, named, checkpoint)
    for module, optim in ((layer, optimizer), (fresh, again)):
        module.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optim.step()
    assert torch.equal(layer.weight, fresh.weight)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    layer, _ = _stepped()
    save_checkpoint(tmp_path, 1, {"model": dict(layer.named_parameters())}, {}, keep=1)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    with pytest.raises(UserError, match="shape"):
        checkpoint.read("model", dict(nn.Linear(4, 2).named_parameters()))
    next((checkpoint.folder / "model").iterdir()).write_bytes(b"cut short")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.tensors("model")


def test_a_broken_latest_file_falls_back_to_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    layer, _ = _stepped()
    save_checkpoint(tmp_path, 4, {"model": dict(layer.named_parameters())}, {}, keep=2)
    (tmp_path / "step-00000009").mkdir()  # no checkpoint.json: not whole
    (tmp_path / "latest").write_text("step-00000009\n")
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 4


def test_schedule_warms_up_and_falls() -> None:
    config = FlowTrainConfig(learning_rate=1.0, warmup_steps=10, lr_schedule="cosine")
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 50, 0.5) == pytest.approx(0.5)
    assert learning_rate(config, 99, 1.0) == pytest.approx(0.0)
    assert learning_rate(FlowTrainConfig(learning_rate=1.0, warmup_steps=0), 7, 0.9) == 1.0
    straight = FlowTrainConfig(learning_rate=1.0, warmup_steps=0, lr_schedule="linear")
    assert learning_rate(straight, 7, 0.25) == pytest.approx(0.75)


def test_precision_names_are_checked() -> None:
    assert resolve_precision("float32", "cpu") == torch.float32
    assert resolve_precision("auto", "cpu") in (torch.float32, torch.bfloat16)
    with pytest.raises(UserError, match="fp8"):
        resolve_precision("fp8", "cpu")


def test_a_loss_of_the_sample_is_the_error_of_the_clean_clip() -> None:
    t, generator = torch.tensor([0.1, 0.5, 1.0]), torch.Generator().manual_seed(0)
    clean, noise, guess = (torch.randn(3, 2, 3, 2, 2, generator=generator) for _ in range(3))
    flow, ones, none = FlowMatching(), torch.ones(3, 1, 3, 2, 2), torch.zeros(3, dtype=torch.int64)
    noisy = flow.add_noise(clean, noise, t)
    velocity = (noisy - guess) / t.view(-1, 1, 1, 1, 1)
    loss = weighted_flow_loss(velocity, flow.velocity_target(clean, noise), ones, none)
    error = (guess - clean).square().mean(dim=(1, 2, 3, 4))
    assert torch.allclose(loss * noise_weights(t, "sample"), error, rtol=1e-4)
    assert torch.equal(loss * noise_weights(t, "velocity"), loss)
