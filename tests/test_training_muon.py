"""The optimiser of small models from scratch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.training.muon import Muon, is_matrix, orthogonalised


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.5 and values.max() < 1.4


def test_gains_and_biases_are_no_matrices() -> None:
    assert is_matrix(torch.zeros(4, 3, 3, 3, 3)) and is_matrix(torch.zeros(4, 5))
    assert not any(is_matrix(torch.zeros(s)) for s in [(5,), (1, 6, 5), (5, 1, 1, 1), (1, 5)])


def test_a_badly_scaled_regression_is_learnt_in_few_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -2, 16)
    truth = torch.randn(8, 16, generator=generator)
    model = nn.Linear(16, 8)
    optimizer = Muon(model.parameters(), lr=0.2)
    losses = []
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.2 * (1 - step / 200)
        x = torch.randn(64, 16, generator=generator) * scale
        loss = (model(x) - x @ truth.T - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    assert torch.allclose(model.bias, torch.full((8,), 0.5), atol=0.1)
