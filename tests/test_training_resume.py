"""Runs that end before their time: killed anywhere, out of disk, or continued over something else."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from processes import errors, kill, start_command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_toys import metrics, saved, toy_vae, write_pairs

from common.files import remove_partial
from common.training.checkpoint import latest_checkpoint, save_checkpoint
from common.training.durable import DiskFullError, DurableFile, summary_writer
from stage2_dubber.train import main

STEPS = "train.max_steps=8"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    return [
        *("--config", str(tmp_path / "toy.yaml"), f"vae.path={tmp_path / 'vae'}"),
        *(f"data.shards=[{tmp_path / 'pairs'}]", "train.lr_schedule=constant", "train.save_every=3"),
    ]


def _losses(run: Path) -> list[float]:
    return [row["loss"] for row in metrics(run)]


def _run_and_kill(words: list[str], folder: Path, now: Callable[[], bool]) -> None:
    """Start a training as its users do, and kill it as soon as ``now``."""
    running = start_command(folder / "log", "stage2_dubber/train.py", *words)
    try:
        while running.poll() is None and not now():
            time.sleep(0.001)
    finally:
        kill(running)
    assert running.returncode == -signal.SIGKILL, errors(folder / "log")


def _check_whole(run: Path) -> None:
    """What a kill left: no checkpoint yet, or ``latest`` names one that can be read."""
    named = run / "latest"
    if named.exists():
        assert (run / named.read_text().strip() / "checkpoint.json").is_file()
    checkpoint = latest_checkpoint(run)
    for group in ("model", "optimizer", "ema") if checkpoint is not None else ():
        assert checkpoint.tensors(group)


@pytest.mark.parametrize("phase", ["structure", "lip"])
def test_resume_after_kills_equals_the_uninterrupted_run(
    tmp_path: Path, words: list[str], phase: str
) -> None:
    """With a moving average and two passes per step; with another number of workers each time."""
    if phase == "lip":
        assert main([*words, "train.max_steps=1", f"train.output={tmp_path / 'base'}"]) == 0
        words += ["phase.name=lip", "phase.lora_rank=2", "phase.lora_targets=[self_attn.to_q]"]
        words += [f"train.init_from={tmp_path / 'base' / 'package'}"]
    assert main([*words, STEPS, f"train.output={tmp_path / 'whole'}"]) == 0
    cut = tmp_path / "cut"
    words += [STEPS, f"train.output={cut}"]
    log = cut / "metrics.jsonl"
    if phase == "structure":
        _run_and_kill(words, tmp_path, lambda: log.exists() and log.read_text().count("\n") >= 5)
        _check_whole(cut)
    often = [*words, "train.num_workers=2", "train.save_every=1"]
    _run_and_kill(often, tmp_path, lambda: any(cut.glob(".part-step-*")))
    _check_whole(cut)
    if phase == "lip":  # the package that the run started from may lie elsewhere by now
        (tmp_path / "base").rename(tmp_path / "moved")
        words += [f"train.init_from={tmp_path / 'moved' / 'package'}"]
    assert main([*words, "train.num_workers=1"]) == 0
    assert _losses(cut) == _losses(tmp_path / "whole")
    for group in ("model", "ema", "optimizer"):
        one, two = saved(tmp_path / "whole", 8, group), saved(cut, 8, group)
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_resume_finds_a_whole_checkpoint_wherever_a_save_was_killed(tmp_path: Path) -> None:
    """Each call that a save makes to move its bytes to the disk is once its last one."""

    def save(step: int) -> None:
        tensors = {"a": torch.full((3,), float(step))}
        save_checkpoint(tmp_path, step, {"model": tensors, "optimizer": tensors}, {}, keep=1)

    found = []
    for calls in range(100):
        for folder in tmp_path.glob("step-*"):
            shutil.rmtree(folder)
        save(1)
        child = os.fork()
        if not child:
            try:
                _die_at_call(calls)
                save(2)
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitpid(child, 0)[1]
        assert not code or os.WTERMSIG(code) == signal.SIGKILL
        checkpoint = latest_checkpoint(tmp_path)
        assert checkpoint is not None
        for group in ("model", "optimizer"):
            assert checkpoint.tensors(group)["a"].tolist() == [float(checkpoint.step)] * 3
        found.append(checkpoint.step)
        remove_partial(tmp_path)
        if not code:
            break
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2 and len(found) > 8


def _die_at_call(number: int) -> None:
    """Let this process die at the call of this number, from 0, among those that sync, rename or remove."""
    left = number

    def deadly(call: Callable[..., object]) -> Callable[..., object]:
        def die_or_call(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return die_or_call

    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_resume_after_a_full_disk(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*words, "train.max_steps=7", f"train.output={tmp_path / 'whole'}"]) == 0
    assert main([*words, "train.max_steps=3", f"train.output={run}"]) == 0
    capsys.readouterr()
    with _largest_file(30_000):
        assert main([*words, "train.max_steps=7", f"train.output={run}"]) == 2
    error = capsys.readouterr().err
    assert error.count("warning: step 6 is not saved") == 1
    assert "the checkpoint of step 7 and the model package could not be written" in error.splitlines()[-1]
    assert (run / "latest").read_text() == "step-00000003\n" and not list(run.glob(".part-*"))
    _check_whole(run)
    assert main([*words, "train.max_steps=7", f"train.output={run}"]) == 0
    assert _losses(run) == _losses(tmp_path / "whole")


def test_a_log_is_completed_when_there_is_space_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = DurableFile(tmp_path / "rows")
    rows.append(b"first\n")
    with _largest_file(9):
        rows.append(b"second\n")
        rows.append(b"third\n")
        assert (tmp_path / "rows").read_bytes() == b"first\n"
    rows.append(b"fourth\n")
    assert (tmp_path / "rows").read_bytes() == b"first\nsecond\nthird\nfourth\n"
    assert capsys.readouterr().err.count("warning") == 1

    board = summary_writer(tmp_path / "board", purge_step=1)
    with _largest_file(1):
        board.add_scalar("loss", 1.0, 1)
    board.add_scalar("loss", 2.0, 2)
    board.close()
    events = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(1, 1.0), (2, 2.0)]


def test_a_save_without_space_leaves_what_was_there(tmp_path: Path) -> None:
    tensors = {"model": {"a": torch.zeros(5000)}}
    save_checkpoint(tmp_path, 1, tensors, {}, keep=1)
    with _largest_file(10_000), pytest.raises(DiskFullError, match="too large"):
        save_checkpoint(tmp_path, 2, tensors, {}, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_resume_is_refused_over_other_data_and_goes_on_where_it_was_moved(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words += [f"train.output={tmp_path / 'run'}"]
    assert main([*words, "train.max_steps=1"]) == 0
    write_pairs(tmp_path / "other", count=9)
    assert main([*words, "train.max_steps=2", f"data.shards=[{tmp_path / 'other'}]"]) == 2
    assert main([*words, "train.max_steps=2", "data.weights=[2.0]"]) == 2
    assert capsys.readouterr().err.count("made with data") == 2
    shutil.move(tmp_path / "pairs", tmp_path / "moved")
    assert main([*words, "train.max_steps=2", f"data.shards=[{tmp_path / 'moved'}]"]) == 0
