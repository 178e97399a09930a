"""Flow matching: identities between noising, target and estimates; the density of t; the sampler's levels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.diffusion.flow import FlowMatching


def test_a_perfect_velocity_gives_the_clean_latents_back() -> None:
    flow = FlowMatching()
    clean, noise = torch.randn(3, 4, 2, 2, 2), torch.randn(3, 4, 2, 2, 2)
    t = torch.tensor([0.0, 0.3, 1.0])
    noisy = flow.add_noise(clean, noise, t)
    assert torch.equal(noisy[0], clean[0])
    assert torch.equal(noisy[2], noise[2])
    velocity = flow.velocity_target(clean, noise)
    torch.testing.assert_close(flow.estimate_clean(noisy, velocity, t), clean)
    torch.testing.assert_close(flow.estimate_clean_capped(clean, velocity, velocity, t), clean)


def test_the_capped_estimate_bounds_what_a_wrong_velocity_does() -> None:
    flow = FlowMatching()
    clean, noise = torch.randn(2, 1, 1, 2, 2), torch.randn(2, 1, 1, 2, 2)
    t = torch.tensor([0.5, 0.9])
    target = flow.velocity_target(clean, noise)
    wrong = target + 1
    plain = flow.estimate_clean(flow.add_noise(clean, noise, t), wrong, t)
    capped = flow.estimate_clean_capped(clean, target, wrong, t)
    torch.testing.assert_close(capped[0], plain[0])
    torch.testing.assert_close(capped[1], clean[1] - 0.6)


@pytest.mark.parametrize(("a", "median"), [(5.0, 5 / 6), (1.5, 0.6), (0.2, 1 / 6), (0.0, 0.5)])
def test_density_of_t_prefers_the_noise_of_its_phase(a: float, median: float) -> None:
    flow = FlowMatching(timestep_a=a)
    t = flow.sample_sigma(20000, torch.Generator().manual_seed(0))
    assert t.min() >= 0
    assert t.max() <= 1
    assert t.median().item() == pytest.approx(median, abs=0.01)  # t of u = 1/2 is a / (1 + a)
    again = flow.sample_sigma(20000, torch.Generator().manual_seed(0))
    assert torch.equal(t, again)


@settings(deadline=None)
@given(steps=st.integers(1, 60), shift=st.floats(0.5, 12))
def test_noise_levels_fall_from_one_to_zero(steps: int, shift: float) -> None:
    sigmas = FlowMatching(shift).sigmas(steps)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0].item() == pytest.approx(1)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    s = torch.linspace(1, 0, steps + 1)
    assert math.isclose((shift * s / (1 + (shift - 1) * s) - sigmas).abs().max().item(), 0, abs_tol=1e-6)
