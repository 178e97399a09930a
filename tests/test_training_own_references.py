"""Steps whose references the editor makes itself: when, from what, with which speech, and that they train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_toys import metrics, run_editor, stage2_config, toy_vae, write_pairs

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.training.conditioning import FlowInputs, flow_inputs
from common.training.config import FlowTrainConfig
from common.training.draws import Draw
from stage2_dubber.training.own_references import OwnReference, draw_own_reference, with_own_reference

DRAWS = [Draw(i, 7, i) for i in range(3)]


def _adder(inputs: FlowInputs) -> torch.Tensor:
    """An editor that adds the mean of the speech, plus one, to its reference, from pure noise on."""
    assert inputs.conditions.motion_mask is None and float(inputs.sigma.min()) == 1
    added = 1 + inputs.conditions.audio_features.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1, 1)
    assert inputs.conditions.reference is not None
    return inputs.noisy - (inputs.conditions.reference + added)


def _inputs(drop_both: float = 0.0) -> FlowInputs:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, 3, 6, 6, generator=generator)
    batch = DubBatch(
        keys=("a", "b", "c"),
        target_latents=latents,
        reference_latents=latents + 1,
        audio_features=torch.ones(3, 3, 8, 5) * torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1, 1),
        lip_mask=torch.ones(3, 3, 6, 6),
        face_mask=torch.ones(3, 3, 6, 6),
    )
    config = FlowTrainConfig(motion_probability=0.5, drop_both=drop_both, drop_audio=0.0)
    return flow_inputs(batch, DRAWS, config, FlowMatching(3.0, 5.0), 1)


def test_steps_are_chosen_by_share_and_alike_for_all_processes():
    speech = torch.ones(2, 3, 8, 5)

    def chosen(share: float, rank: int) -> list[bool]:
        draws = [[Draw(5, step, 2 * rank), Draw(9, step, 2 * rank + 1)] for step in range(300)]
        return [draw_own_reference(d, speech, 0, share, 2.5) is not None for d in draws]

    assert chosen(0.3, 0) == chosen(0.3, 3)
    assert 0.22 < sum(chosen(0.3, 0)) / 300 < 0.38
    assert all(chosen(1.0, 0)) and not any(chosen(0.0, 0))


def test_everybody_hears_somebody_else():
    speech = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 8, 5)
    own = draw_own_reference(DRAWS, speech, 0, 1.0, 2.5)
    assert own is not None and own.audio_features[:, 0, 0, 0].tolist() == [2, 0, 1]
    assert bool((own.guidance >= 1).all()) and bool((own.guidance <= 2.5).all())
    assert len(set(own.guidance.tolist())) == 3
    rising = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 8, 5)
    alone = draw_own_reference(DRAWS[:1], rising, 0, 1.0, 1.0)
    assert alone is not None and alone.audio_features[0, :, 0, 0].tolist() == [3, 2, 1, 0]
    assert alone.guidance.tolist() == [1]


def test_a_reference_is_what_the_editor_makes_of_it():
    inputs = _inputs()
    own = OwnReference(inputs.conditions.audio_features.roll(1, dims=0), torch.tensor([1.0, 1.0, 2.0]))
    made = with_own_reference(_adder, inputs, own)
    # Adds 1 + speech; guidance goes twice as far from silence, which adds 1.
    added = torch.tensor([1 + 3.0, 1 + 1.0, 1 + 2 * 2.0]).view(-1, 1, 1, 1, 1)
    assert inputs.conditions.reference is not None
    torch.testing.assert_close(made.conditions.reference, inputs.conditions.reference + added)
    assert torch.equal(made.batch.target_latents, inputs.batch.target_latents)
    assert made.conditions.motion_frames == inputs.conditions.motion_frames
    assert torch.equal(made.sigma, inputs.sigma)
    assert torch.equal(made.noisy, inputs.noisy) and torch.equal(made.velocity, inputs.velocity)


def test_a_dropped_reference_stays_dropped():
    inputs = _inputs(drop_both=1.0)
    own = OwnReference(torch.ones(3, 3, 8, 5), torch.ones(3))
    reference = with_own_reference(_adder, inputs, own).conditions.reference
    assert reference is not None and not reference.any()


def test_the_editor_trains_on_its_own_references(tmp_path: Path):
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    losses = {}
    for share in (0.0, 0.5, 1.0):
        name = f"run{share}"
        words = [f"phase.own_references={share}", f"train.output={tmp_path / name}", "train.max_steps=6"]
        run_editor(tmp_path, *words, "train.lip_window=[1,2]", "train.learning_rate=1.0e-3")
        losses[share] = [row["loss"] for row in metrics(tmp_path / name) if "loss" in row]
        assert len(losses[share]) == 6 and all(map(torch.isfinite, torch.tensor(losses[share])))
    assert losses[0.0] != losses[1.0]
    # Steps that keep their companions begin as all of them do.
    assert losses[0.5][0] in (losses[0.0][0], losses[1.0][0])


def test_no_share_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"phase\.own_references is 2"):
        stage2_config(tmp_path, "phase.own_references=2")
