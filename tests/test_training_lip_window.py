"""Steps that see the lips alone: where the window lies, what is cut, positions that stay the picture's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_toys import called, tiny_inputs, tiny_transformer
from training_toys import metrics, run_editor, stage1_config, stage2_config, toy_vae, write_clips, write_pairs

from common.data.batch import DubBatch
from common.diffusion.flow import FlowMatching
from common.errors import UserError
from common.models.conditions import GridOffset
from common.models.rope import rotary_table
from common.training.conditioning import FlowInputs, flow_inputs
from common.training.config import FlowTrainConfig
from common.training.draws import Draw
from common.training.launch import open_shards, train
from common.training.lip_window import is_windowed, lip_window, window_offset
from stage1_generator.generator.strategy import GeneratorStrategy

PATCH = (1, 2, 2)
CPU = torch.device("cpu")
DRAWS = [Draw(i, 7, i) for i in range(2)]


def _config(share: float = 1.0) -> FlowTrainConfig:
    return FlowTrainConfig(lip_window=[2, 3], lip_window_share=share, motion_probability=0.5)


def _inputs(config: FlowTrainConfig, masked: bool = False) -> FlowInputs:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 10, 12, generator=generator)
    lips = torch.zeros(2, 3, 10, 12)
    lips[:, :, 7:9, 3:7] = 1
    batch = DubBatch(
        keys=("a", "b"),
        target_latents=latents,
        reference_latents=latents + 1,
        audio_features=torch.ones(2, 3, 8, 6),
        lip_mask=lips,
        face_mask=torch.ones_like(lips),
        masked_latents=latents * 2 if masked else None,
    )
    return flow_inputs(batch, DRAWS, config, FlowMatching(3.0, 5.0), 1)


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_a_window_lies_within_the_picture_around_the_lips(picture, size, row, column):
    mask = torch.zeros(1, 2, 2 * picture[0], 2 * picture[1])
    y, x = min(row, picture[0] - 1), min(column, picture[1] - 1)
    mask[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = 1
    offset = window_offset(mask, size, PATCH)
    assert (offset.height, offset.width) == picture
    assert offset.top <= y < offset.top + size[0] and offset.left <= x < offset.left + size[1]
    for start, count, whole in zip(offset[:2], size, picture, strict=True):
        assert start >= 0 and (start + count <= whole or start == 0)


def test_without_lips_the_window_is_in_the_middle():
    assert window_offset(torch.zeros(1, 1, 12, 12), (2, 2), PATCH) == GridOffset(2, 2, 6, 6)


@pytest.mark.parametrize("layout", ["spatial", "temporal"])
def test_tokens_of_a_window_keep_their_positions(layout: str):
    whole = rotary_table(12, (3, 5, 6), 2, layout, CPU).view(5, 5, 6, 6, 2)
    part = rotary_table(12, (3, 2, 3), 2, layout, CPU, GridOffset(3, 1, 5, 6)).view(5, 2, 3, 6, 2)
    torch.testing.assert_close(part, whole[:, 3:5, 1:4])


def test_the_model_sees_where_a_window_lies():
    model, inputs = tiny_transformer(), tiny_inputs(size=(4, 6))
    whole = model(**called(inputs))
    torch.testing.assert_close(model(**called(inputs, offset=GridOffset(0, 0, 2, 3))), whole)
    # Relative positions of target and reference differ in a larger picture.
    assert not torch.allclose(model(**called(inputs, offset=GridOffset(3, 2, 8, 8))), whole, atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_everything_of_the_picture_is_cut_alike_after_it_was_noised(masked: bool):
    config = _config()
    whole = _inputs(config, masked)
    cut = lip_window(whole, DRAWS, config, PATCH)
    assert cut.conditions.offset == GridOffset(3, 1, 5, 6)
    rows, columns = slice(6, 10), slice(2, 8)
    for name in ("noisy", "velocity"):
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name)[..., rows, columns])
    for name in ("target_latents", "reference_latents", "lip_mask", "face_mask", "masked_latents"):
        value = getattr(whole.batch, name)
        if value is not None:
            torch.testing.assert_close(getattr(cut.batch, name), value[..., rows, columns])
    for name in ("reference", "condition_planes", "motion"):
        value = getattr(whole.conditions, name)
        if value is not None:
            torch.testing.assert_close(getattr(cut.conditions, name), value[..., rows, columns])
    assert cut.batch.lip_mask.sum() == whole.batch.lip_mask.sum(), "lips were cut off"
    torch.testing.assert_close(cut.conditions.audio_features, whole.conditions.audio_features)
    assert torch.equal(cut.sigma, whole.sigma) and torch.equal(cut.clean_frames, whole.clean_frames)


def test_the_share_is_kept_and_all_processes_agree():
    config = _config(0.75)
    chosen = [is_windowed(step, config) for step in range(400)]
    assert 0.68 < sum(chosen) / 400 < 0.82
    assert chosen == [is_windowed(step, config) for step in range(400)]
    assert not any(is_windowed(step, _config(0.0)) for step in range(50))
    inputs = _inputs(config)
    assert lip_window(inputs, DRAWS, replace(config, lip_window=[]), PATCH) is inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    return tmp_path


def test_the_editor_trains_on_windows_and_pays_for_their_tokens(folder: Path):
    write_pairs(folder / "pairs")
    run_editor(
        folder, "train.lip_window=[1,2]", "train.lip_window_share=0.5", "train.max_steps=8", "train.seed=1"
    )
    rows = metrics(folder / "run")
    steps = [row for row in rows if "tokens_per_second" in row]
    config = stage2_config(
        folder, "train.lip_window=[1,2]", "train.lip_window_share=0.5", "train.seed=1"
    ).train
    # 12 and 24 tokens a sample; the two rates are rounded and measured one after the other.
    few = [row["tokens_per_second"] / row["samples_per_second"] < 18 for row in steps]
    assert few == [is_windowed(step, config) for step in range(8)]
    assert len(set(few)) == 2, "choose another seed: the test needs both kinds"


def test_the_generator_trains_on_windows(folder: Path):
    write_clips(folder / "clips")
    config = stage1_config(folder, "train.lip_window=[1,1]", "train.lip_window_share=1.0")
    dataset = open_shards(config.data)
    train(config, GeneratorStrategy(config, dataset), dataset)
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in metrics(folder / "run") if "loss" in row)


@pytest.mark.parametrize(
    "words", [["train.lip_window=[5]"], ["train.lip_window=[0,3]"], ["train.lip_window_share=2"]]
)
def test_windows_that_cannot_be_are_refused(folder: Path, words: list[str]):
    with pytest.raises(UserError, match="lip_window"):
        stage2_config(folder, *words)
