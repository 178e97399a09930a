"""The sampler: guidance branches, motion latents, border replacement, hooks, determinism."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from model_toys import tiny_inputs, tiny_transformer

from common.diffusion.border import Border, ring_mask
from common.diffusion.flow import FlowMatching
from common.diffusion.guidance import CONDITIONAL, REFERENCE_ONLY, UNCONDITIONAL, Guidance, reference_factor
from common.diffusion.sampler import EulerSampler
from common.models.conditions import ModelConditions

SHAPE = (1, 4, 3, 4, 6)


def conditions(batch: int = 1, **more: Any) -> ModelConditions:
    inputs = tiny_inputs(batch)
    return ModelConditions(inputs["audio_features"], inputs["reference"], **more)


class Recorder:
    """A model whose velocity is known: 1 without any condition, +1 with the reference, +2 with speech."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self, latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions
    ) -> torch.Tensor:
        self.calls.append({"latents": latents.clone(), "conditions": conditions})
        assert conditions.reference is not None and len(timestep) == len(latents)
        reference = conditions.reference.flatten(1).abs().sum(1) > 0
        audio = conditions.audio_features.flatten(1).abs().sum(1) > 0
        value = 1 + reference.float() + 2 * audio.float()
        return value.view(-1, 1, 1, 1, 1).expand_as(latents)


def sampler(reference: float = 1, audio: float = 1, dynamic: bool = False, **more: Any) -> EulerSampler:
    return EulerSampler(FlowMatching(5.0), Guidance(reference, audio, dynamic), **({"num_steps": 4} | more))


@pytest.mark.parametrize(
    ("reference", "audio", "branches"),
    [
        (1, 1, [CONDITIONAL]),
        (1, 3, [REFERENCE_ONLY, CONDITIONAL]),
        (3, 3, [UNCONDITIONAL, CONDITIONAL]),
        (2, 0, [UNCONDITIONAL, REFERENCE_ONLY]),
        (1, 0, [REFERENCE_ONLY]),
        (2, 7, [UNCONDITIONAL, REFERENCE_ONLY, CONDITIONAL]),
    ],
)
@pytest.mark.parametrize("batched", [False, True])
def test_only_branches_with_a_weight_are_run(
    reference: float, audio: float, branches: list[Any], batched: bool
) -> None:
    guidance = Guidance(reference, audio, dynamic=False)
    assert list(guidance.weights(0.5)) == branches
    assert sum(guidance.weights(0.5).values()) == pytest.approx(1)
    model, given = Recorder(), conditions()
    euler = sampler(reference, audio, batch_branches=batched)
    velocity = euler.velocity(model, torch.zeros(SHAPE), 0.5, given)
    # v00 + s_ref (v10 - v00) + s_aud (v11 - v10)
    assert velocity.unique().tolist() == [1 + reference * 1 + audio * 2]
    assert sum(len(call["latents"]) for call in model.calls) == len(branches)
    assert len(model.calls) == (1 if batched else len(branches))


def test_the_audio_scale_has_a_floor_where_one_is_given() -> None:
    floored = Guidance(2.0, 6.0, audio_floor=0.5)
    assert floored.scales(0.81) == (pytest.approx(Guidance(2.0, 6.0).scales(0.81)[0]), pytest.approx(4.374))
    assert floored.scales(0.1)[1] == pytest.approx(3.0)
    assert Guidance(2.0, 6.0, audio_floor=0.5).scales(0.64)[1] == pytest.approx(6 * 0.512)
    assert Guidance(1.0, 1.0, audio_floor=0.5).scales(0.1) == (1.0, 1.0)


def test_the_border_can_be_left_to_the_end() -> None:
    given, noise = conditions(), torch.randn(SHAPE)
    ring = ring_mask(SHAPE[2:], 1)
    assert given.reference is not None
    for at_end in (False, True):
        model = Recorder()
        made = sampler(border=1, border_at_end=at_end).sample(model, noise, given)
        last = model.calls[-1]["latents"]
        follows = torch.equal(
            last[..., ring], Border(given.reference, noise, 1).renoise(last, 5 / 8)[..., ring]
        )
        assert follows is not at_end
        assert torch.equal(made[..., ring], given.reference[..., ring])


def test_dynamic_scales_follow_the_release_and_leave_a_scale_of_one_alone() -> None:
    guidance = Guidance(2.0, 8.0)
    assert guidance.scales(1.0) == (2.0, 8.0)
    assert guidance.scales(0.25) == (pytest.approx(0.6), pytest.approx(1.0))
    assert Guidance(1.0, 8.0).scales(0.25)[0] == 1
    assert list(Guidance(1.0, 1.0).weights(0.25)) == [CONDITIONAL]
    factors = [reference_factor(k / 200) for k in range(201)]
    assert factors == sorted(factors)
    assert max(b - a for a, b in pairwise(factors)) < 0.04  # no jump


@pytest.mark.parametrize("text_tokens", [0, 3])
def test_batched_and_separate_branches_agree(text_tokens: int) -> None:
    model = tiny_transformer(text_tokens=text_tokens)
    text = torch.randn(1, 3, 10) if text_tokens else None
    given = conditions(2, text=text, motion=torch.randn(2, 4, 1, 4, 6))
    noise = torch.randn(2, *SHAPE[1:])
    euler = sampler(2.5, 6.0, True, border=1)
    assert not euler.batch_branches
    alone = euler.sample(model, noise, given)
    together = replace(euler, batch_branches=True).sample(model, noise, given)
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_a_known_velocity_is_integrated_exactly() -> None:
    noise = torch.randn(SHAPE)
    out = sampler(1, 1, num_steps=7).sample(Recorder(), noise, conditions())
    torch.testing.assert_close(out, noise - 4)  # velocity 4 from t = 1 to 0


def test_sampling_is_a_pure_function() -> None:
    model, noise, given = tiny_transformer(), torch.randn(SHAPE), conditions()
    kept = noise.clone()
    first = sampler(2, 3, True, border=1).sample(model, noise, given)
    assert torch.equal(first, sampler(2, 3, True, border=1).sample(model, noise, given))
    assert torch.equal(noise, kept)


def test_motion_latents_are_clean_in_every_step_and_in_the_result() -> None:
    model, motion = Recorder(), torch.randn(1, 4, 2, 4, 6)
    out = sampler().sample(model, torch.randn(SHAPE), conditions(motion=motion))
    assert torch.equal(out[:, :, :2], motion)
    assert all(torch.equal(call["latents"][:, :, :2], motion) for call in model.calls)
    assert {call["conditions"].motion_frames for call in model.calls} == {2}


def test_border_follows_the_reference_and_spares_motion_latents() -> None:
    given = conditions(motion=torch.randn(1, 4, 1, 4, 6))
    model, noise = Recorder(), torch.randn(SHAPE)
    assert given.reference is not None
    out = sampler(border=1).sample(model, noise, given)
    ring = ring_mask((3, 4, 6), 1, first_frame=1)
    assert torch.equal(out[..., ring], given.reference[..., ring])
    assert torch.equal(out[:, :, 0], given.motion[:, :, 0])  # type: ignore[index]
    first = model.calls[0]["latents"]
    expected = 0.05 * given.reference + 0.95 * noise  # t = 1 is capped
    torch.testing.assert_close(first[..., ring], expected[..., ring])
    inner = ~ring_mask((3, 4, 6), 1)
    inner[0] = False
    torch.testing.assert_close(out[..., inner], noise[..., inner] - 4)


def test_ring_of_a_grid_that_is_all_border() -> None:
    assert ring_mask((2, 4, 4), 2).all()
    assert ring_mask((2, 3, 5), 4).all()
    assert not ring_mask((2, 4, 4), 0).any()
    assert ring_mask((1, 4, 5), 1).sum() == 20 - 6
    source, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    border = Border(source, noise, 1)
    assert torch.equal(border.restore(source), source)


def test_border_without_an_aligned_reference_is_refused() -> None:
    inputs = tiny_inputs(1, reference_frames=2)
    given = ModelConditions(inputs["audio_features"], inputs["reference"])
    with pytest.raises(ValueError, match="aligned"):
        sampler(border=1).sample(Recorder(), torch.randn(SHAPE), given)


def test_hook_and_progress_see_every_step() -> None:
    levels: list[float] = []
    steps: list[tuple[int, int]] = []
    euler = sampler(num_steps=3, before_step=levels.append)
    euler.sample(
        Recorder(), torch.randn(SHAPE), conditions(), lambda done, total: steps.append((done, total))
    )
    assert levels == pytest.approx(FlowMatching(5.0).sigmas(3)[:-1].tolist())
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_second_pass_starts_from_what_the_first_has_made() -> None:
    told: list[tuple[int, int]] = []
    noise, given, once = torch.randn(SHAPE), conditions(), sampler(1, 1, border=1)

    class Halfway(Recorder):
        def __call__(
            self, latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions
        ) -> torch.Tensor:
            super().__call__(latents, timestep, conditions)
            assert conditions.reference is not None
            return noise - conditions.reference / 2

    model = Halfway()
    made = replace(once, passes=3).sample(model, noise, given, lambda *steps: told.append(steps))
    assert given.reference is not None
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(made[inner], given.reference[inner] / 8)
    first = once.sample(Halfway(), noise, given)
    assert torch.equal(model.calls[4]["conditions"].reference, first)
    ring = ring_mask(noise.shape[2:], 1)
    assert torch.equal(made[..., ring], given.reference[..., ring])
    assert told == [(step, 12) for step in range(1, 13)]


def test_a_second_pass_without_an_aligned_reference_is_refused() -> None:
    stills = replace(conditions(), reference=torch.zeros(1, 4, 1, 4, 6))
    with pytest.raises(ValueError, match="second pass"):
        sampler(passes=2).sample(Recorder(), torch.randn(SHAPE), stills)


def test_stage_one_samples_with_condition_channels_and_still_references() -> None:
    model = tiny_transformer(reference_layout="temporal", condition_channels=4)
    inputs = tiny_inputs(1, reference_frames=2)
    given = ModelConditions(
        inputs["audio_features"], inputs["reference"], condition_planes=torch.randn(SHAPE)
    )
    separate = sampler(1, 4).sample(model, torch.ones(SHAPE), given)
    assert separate.shape == SHAPE
    together = sampler(1, 4, batch_branches=True).sample(model, torch.ones(SHAPE), given)
    torch.testing.assert_close(separate, together, atol=1e-4, rtol=1e-4)
