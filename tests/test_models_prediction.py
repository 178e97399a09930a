"""What the layers put out, read as the same velocity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from model_toys import called, tiny_inputs, tiny_transformer

from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.models.config import ModelConfig
from common.models.prediction import LEAST_SIGMA, as_velocity, seen_latents
from common.models.transformer import DubbingTransformer

T = torch.tensor([0.3, 0.9])


def _clip(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_the_clean_clip_as_output_is_the_velocity_that_training_asks_for():
    flow, clean, noise, source = FlowMatching(), _clip(0), _clip(1), _clip(2)
    noisy, target = flow.add_noise(clean, noise, T), flow.velocity_target(clean, noise)
    for prediction, output in (("velocity", target), ("sample", clean), ("edit", clean - source)):
        made = as_velocity(prediction, output, noisy, 1000 * T, source)
        assert torch.allclose(made, target, atol=1e-5), prediction


def test_layers_see_the_best_linear_guess_at_the_clean_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 4, 3, 64, 64, generator=generator) for _ in range(2))
    noisy = FlowMatching().add_noise(clean, noise, T)
    assert torch.equal(seen_latents("velocity", noisy, 1000 * T), noisy)
    seen = seen_latents("edit", noisy, 1000 * T)
    for row in range(2):
        # Orthogonality: what a linear guess gets wrong has nothing of what it was made from.
        assert abs(float(((seen - clean) * noisy)[row].mean())) < 0.02
    assert not seen_latents("sample", noisy, torch.full((2,), 1000.0)).any()


def test_clean_motion_frames_are_seen_as_they_are() -> None:
    noisy = _clip(0)
    seen = seen_latents("edit", noisy, 1000 * T, 2, torch.tensor([True, False]))
    assert torch.equal(seen[0, :, :2], noisy[0, :, :2])
    assert torch.equal(seen[1], seen_latents("edit", noisy, 1000 * T)[1])
    assert torch.equal(seen_latents("edit", noisy, 1000 * T, 3), noisy)


def test_errors_count_no_more_below_the_least_time():
    clean = _clip(0)
    at = as_velocity("sample", clean + 1, clean, torch.tensor([0.0, 1000 * LEAST_SIGMA]), None)
    assert torch.allclose(at, torch.full_like(at, -1 / LEAST_SIGMA))


@pytest.mark.parametrize("layout", ["spatial", "temporal"])
def test_an_editor_that_has_learnt_nothing_gives_its_source_back(layout: str):
    condition = 4 if layout == "temporal" else 0
    model = tiny_transformer(prediction="edit", reference_layout=layout, condition_channels=condition)
    model.init_weights()
    inputs = tiny_inputs()
    source = inputs["reference"]
    if condition:
        source = inputs["condition_planes"] = torch.randn_like(inputs["latents"])
    t = inputs["timestep"].view(-1, 1, 1, 1, 1) / 1000
    made = inputs["latents"] - t * model(**called(inputs))
    assert torch.allclose(made, source, atol=1e-5)


def test_an_edit_without_a_source_of_its_shape_is_refused():
    model = tiny_transformer(prediction="edit")
    inputs = tiny_inputs()
    with pytest.raises(ValueError, match="source"):
        model(**called({**inputs, "reference": None}))
    with pytest.raises(ValueError, match="source"):
        model(**called({**inputs, "reference": inputs["reference"][:, :, :1]}))


def test_unknown_predictions_are_refused():
    with pytest.raises(UserError, match=r"model\.prediction"):
        ModelConfig(prediction="noise")
    with pytest.raises(ValueError, match="prediction"):
        tiny_transformer(prediction="noise")


def test_a_saved_model_keeps_its_prediction(tmp_path: Path):
    model = tiny_transformer(prediction="edit")
    model.save_pretrained(tmp_path)
    assert DubbingTransformer.from_pretrained(tmp_path).prediction == "edit"
