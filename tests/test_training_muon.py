"""The optimiser of small models from scratch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from processes import several_processes
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


def _moved() -> dict[str, torch.Tensor]:
    """Parameters after three steps on gradients that are the same in every process."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.Linear(7, 5), nn.Linear(5, 9), nn.Linear(9, 1))
    optimizer = Muon(model.parameters(), lr=0.1)
    for _ in range(3):
        for name, parameter in model.named_parameters():
            # Some have none, as parts that are not trained in this step.
            parameter.grad = None if name == "1.weight" else torch.randn_like(parameter)
        optimizer.step()
    return model.state_dict()


def test_processes_share_the_work_and_end_alike(tmp_path: Path) -> None:
    several_processes(2, str(Path(__file__).resolve()), str(tmp_path))
    alone = _moved()
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in alone.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value)
    done = [int((tmp_path / f"{rank}.count").read_text()) for rank in range(2)]
    assert sum(done) == 3 * 2 and min(done) > 0, "each matrix once, and none idle"


if __name__ == "__main__":
    import sys

    import common.training.muon as muon

    dist.init_process_group("gloo")
    made = []
    whole = muon.orthogonalised
    muon.orthogonalised = lambda matrix: made.append(1) or whole(matrix)  # type: ignore[func-returns-value]
    folder, rank = Path(sys.argv[1]), dist.get_rank()
    torch.save(_moved(), folder / f"{rank}.pt")
    (folder / f"{rank}.count").write_text(str(len(made)))
    dist.destroy_process_group()
