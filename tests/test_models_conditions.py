"""The conditions of a batch: what dropping, picking a row and joining batches leave as it was."""

from dataclasses import fields

import pytest
import torch

from common.models.conditions import GridOffset, ModelConditions


def _conditions(text_rows: int, seed: int = 0) -> ModelConditions:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return ModelConditions(
        audio_features=randn(2, 3, 8, 6),
        reference=randn(2, 4, 3, 4, 6),
        text=randn(text_rows, 5, 10),
        condition_planes=randn(2, 4, 3, 4, 6),
        motion=randn(2, 4, 1, 4, 6),
        motion_mask=torch.tensor([True, False]),
        offset=GridOffset(1, 2, 8, 8),
    )


@pytest.mark.parametrize("text_rows", [1, 2])
def test_rows_join_to_the_batch_that_they_come_from(text_rows: int) -> None:
    whole = _conditions(text_rows)
    rows = [whole.row(index) for index in range(2)]
    assert all(len(row.audio_features) == 1 and row.text is not None and len(row.text) == 1 for row in rows)
    joined = ModelConditions.concatenate(rows)
    for field in fields(whole):
        value, expected = getattr(joined, field.name), getattr(whole, field.name)
        if field.name == "text" and text_rows == 2:
            continue  # a single row of text counts as shared
        assert value == expected if field.name == "offset" else torch.equal(value, expected), field.name


def test_dropped_conditions_are_zeros_and_the_others_stay() -> None:
    whole = _conditions(1)
    silent = whole.without(audio=True)
    assert not silent.audio_features.any() and silent.audio_features.shape == whole.audio_features.shape
    assert silent.reference is whole.reference and whole.audio_features.any()
    bare = whole.without(reference=True, audio=True)
    assert bare.reference is not None and not bare.reference.any() and bare.motion is whole.motion
    alone = ModelConditions(whole.audio_features)
    assert alone.without(reference=True).reference is None and alone.motion_frames == 0
    assert whole.motion_frames == 1
