"""Training with windows that several processes share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from processes import several_processes
from training_toys import metrics, run_editor, saved, toy_file, toy_vae, write_pairs

from common.errors import UserError
from common.training.layout import ProcessLayout

LORA = ["phase.name=lip", "phase.lora_rank=2", "phase.lora_alpha=2"]
LORA += ["phase.lora_targets=[self_attn.to_q,audio_attn.to_v,ffn.net.2]"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    return tmp_path


@pytest.mark.parametrize("what", ["everything", "lora"])
def test_two_processes_that_share_windows_train_as_one_alone(work: Path, what: str) -> None:
    words = ["model.gradient_checkpointing=true", "train.micro_batch_size=2", "train.max_steps=4"]
    words += ["train.motion_probability=0.5"]
    if what == "lora":
        base = run_editor(work, "train.max_steps=2", f"train.output={work / 'base'}").package
        words += [*LORA, f"train.init_from={base}"]
    run_editor(work, *words, f"train.output={work / 'one'}")
    several_processes(
        2,
        *("stage2_dubber/train.py", "--config", str(toy_file(work)), f"vae.path={work / 'vae'}"),
        *(f"data.shards=[{work / 'pairs'}]", *words, f"train.output={work / 'two'}"),
        "train.context_parallel=2",
    )
    one, two = metrics(work / "one"), metrics(work / "two")
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose([row[name] for row in two], [row[name] for row in one], rtol=1e-4)
    assert len({row["loss"] for row in one}) == 4
    for group in ("model", "ema"):
        alone, shared = (saved(work / run, 4, group) for run in ("one", "two"))
        assert alone.keys() == shared.keys()
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-5)


def test_processes_come_in_groups_of_neighbours() -> None:
    layouts = [ProcessLayout(6, rank, 2) for rank in range(6)]
    assert [layout.data_rank for layout in layouts] == [0, 0, 1, 1, 2, 2]
    assert layouts[0].data_world == 3 and layouts[0].accumulation(12, 2) == 2
    with pytest.raises(UserError, match="does not divide the 4 processes"):
        ProcessLayout(4, 0, 3)


def test_one_process_cannot_share_a_window(work: Path) -> None:
    with pytest.raises(UserError, match="context_parallel is 2"):
        run_editor(work, "train.context_parallel=2")


def test_a_model_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UserError, match="a Linear cannot be shared"):
        ProcessLayout(2, 0, 2).share(torch.nn.Linear(1, 1), "cpu")
