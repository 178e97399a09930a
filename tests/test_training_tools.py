"""The commands around training: all phases in one, and the bench of a step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_python import forked_python
from training_toys import metrics, toy_vae, write_pairs

from common.models.package_info import read_info

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "tools" / "train_stage2.sh"
SBATCH = REPOSITORY / "tools" / "slurm" / "train_stage2.sbatch"
sys.path.insert(0, str(REPOSITORY / "tools" / "bench"))


def _script(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHON": forked_python(),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=900
    )


def _toy(work: Path) -> list[str]:
    toy_vae(work)
    write_pairs(work / "a 'set' of pairs")
    lora = ["phase.lora_rank=2", "phase.lora_targets=[self_attn.to_q]"]
    return [
        *("--pairs", str(work / "a 'set' of pairs"), "--work", str(work / "out"), "train.max_steps=2"),
        *("--config", str(work / "toy.yaml"), f"structure:vae.path={work / 'vae'}"),
        *(f"{phase}:{word}" for phase in ("lip", "texture") for word in lora),
        # The phases' own batches are for more than a toy.
        *("train.global_batch_size=4", "train.micro_batch_size=2"),
    ]


def test_all_phases_run_in_order_and_go_on_where_they_were_cut(tmp_path: Path) -> None:
    words = _toy(tmp_path)
    cut = _script(*words, "lip:train.nonsense=1")
    assert cut.returncode != 0 and "train.nonsense" in cut.stderr
    package = tmp_path / "out" / "structure" / "package"
    assert read_info(package).phase == "structure" and not (tmp_path / "out" / "lip").exists()

    whole = _script(*words)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert [line for line in whole.stderr.splitlines() if line.startswith("==")] == [
        "== structure",
        "== lip",
        "== texture",
    ]
    info = read_info(tmp_path / "out" / "texture" / "package")
    assert info.phase == "texture"
    assert [(adapter.name, adapter.active_range) for adapter in info.adapters] == [
        ("lip", (0.4, 0.8)),
        ("texture", (0.0, 0.3)),
    ]
    # The finished phase trained nothing again.
    assert [row["step"] for row in metrics(tmp_path / "out" / "structure")] == [1, 2]


def test_a_dry_run_plans_its_phases_and_writes_nothing(tmp_path: Path) -> None:
    words = [*_toy(tmp_path), "--parts", "lip"]
    done = _script(*words, "--dry-run", "--processes", "2", "--expert", str(tmp_path / "expert"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("4 = 2 micro x 1 accumulation x 2 world") == 1
    assert done.stdout.count("memory per GPU") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--pairs is missing"),
        (["--pairs"], "--pairs needs a value"),
        (["--pairs", "x", "--processes", "two"], "--processes is 'two'"),
        (["--pairs", "x", "--nodes", "2"], "--rendezvous"),
        (["--pairs", "x", "train.output=y"], "train.output is set for every phase"),
        (["--pairs", "x", "--pears"], "unknown argument '--pears'"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(words: list[str], message: str) -> None:
    done = _script(*words)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", [SCRIPT, SBATCH], ids=lambda path: path.name)
def test_scripts_are_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", [SCRIPT, SBATCH], ids=lambda path: path.name)
def test_scripts_are_clean(shellcheck: Callable[[Path], None], script: Path) -> None:
    shellcheck(script)


def test_the_slurm_recipe_starts_the_script_on_every_machine_with_one_rendezvous(tmp_path: Path) -> None:
    """With a stand-in for SLURM's own commands."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, body in (("srun", 'printf "%s\\n" "$@"'), ("scontrol", "echo node7; echo node8")):
        (stand_ins / name).write_text(f"#!/bin/sh\n{body}\n")
        (stand_ins / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(REPOSITORY),
        "SLURM_JOB_ID": "1234567",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_GPUS_ON_NODE": "8",
    }
    done = subprocess.run(
        ["bash", str(SBATCH), "--pairs", "a b"], env=environment, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert said[1:3] == ["bash", "tools/train_stage2.sh"] and said[-2:] == ["--pairs", "a b"]
    given = dict(zip(said[3::2], said[4::2], strict=True))
    assert given["--nodes"] == "2" and given["--rendezvous"] == "node7:34567"
    assert given["--id"] == "1234567-0" and given["--processes"] == "8"


def test_the_bench_compares_with_its_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    import train_bench

    words = ["--size", "tiny", "--frames", "5", "--crop", "32", "--steps", "2", "--warmup", "1"]
    assert train_bench.main([*words, "--checkpointing", "--baseline", "no-checkpointing"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    baseline, asked = found["variants"]
    assert baseline["name"] == "no-checkpointing" and asked["checkpointing"]
    for row in (baseline, asked):
        assert set(row["parts"]) == {"forward", "backward", "optimizer"}
        assert row["seconds_per_step"] == pytest.approx(sum(row["parts"].values()))
        assert row["mfu"] > 0 and row["tokens_per_second"] > 0 and row["peak_memory_gib"] > 0
    # The same weights and inputs: only the time and the memory differ.
    assert asked["loss"] == pytest.approx(baseline["loss"], rel=1e-4)
    ratio = found["ratios"]["seconds_per_step / no-checkpointing"]
    assert ratio == pytest.approx(asked["seconds_per_step"] / baseline["seconds_per_step"])


def test_the_bench_trains_adapters_and_refuses_to_compare_a_thing_with_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import train_bench

    words = ["--size", "tiny", "--frames", "5", "--crop", "32", "--steps", "1", "--warmup", "1"]
    assert train_bench.main([*words, "--lora", "4"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["trains"] == "lora"
    assert train_bench.main([*words, "--baseline", "float32"]) == 2
    assert "nothing to compare" in capsys.readouterr().err
