"""A toy teacher and a toy distillation, for the tests of the student and of what it is trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_toys import fingerprints, metrics, saved, stage2_config, toy_file, toy_vae, write_pairs

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import load_config
from common.data.order import build_order
from common.diffusion.config import DiffusionConfig
from common.models.adapters import Adapter, add_adapter
from common.models.package import save_package
from common.models.package_info import PackageInfo
from common.models.transformer import build_transformer
from common.training.draws import DrawSampler
from common.training.launch import open_shards, train
from common.training.loading import DrawnSamples
from common.training.trainer import TrainResult
from stage2_dubber.distill import main
from stage2_dubber.distillation.config import StudentConfig, check_student
from stage2_dubber.distillation.networks import DistillationNetworks
from stage2_dubber.distillation.objective import StudentInputs
from stage2_dubber.distillation.strategy import StudentStrategy

OVERLAY = Path(__file__).resolve().parent.parent / "configs" / "distill.yaml"
CPU = torch.device("cpu")
SHORT = ["distill.warmup_steps=2", "distill.fake_steps=2", "distill.teacher_substeps=2"]


def write_pairs_and_teachers(folder: Path) -> None:
    """Pairs, and two teachers: one with guidance and an adapter, one whose path is its bare velocity."""
    toy_vae(folder)
    write_pairs(folder / "pairs")
    guided = DiffusionConfig(shift=3.0, num_steps=4, reference_scale=1.5, audio_scale=3.0)
    write_teacher(folder, "teacher", guided, adapter=True)
    write_teacher(folder, "bare", replace(guided, reference_scale=1.0, audio_scale=1.0))
    write_teacher(folder, "generator", guided, stage=1)


def write_teacher(
    folder: Path, name: str, diffusion: DiffusionConfig, adapter: bool = False, stage: int = 2
) -> None:
    config = stage2_config(folder)
    torch.manual_seed(1)
    model = build_transformer(config.model)
    torch.nn.init.normal_(model.head.head.weight, std=0.3)
    adapters: tuple[Adapter, ...] = ()
    if adapter:
        add_adapter(model, "lip", 2, 2, ["ffn.net.2"])
        adapters = (Adapter("lip", (0.4, 0.8)),)
        for parameter in (value for key, value in model.named_parameters() if "lora_B" in key):
            torch.nn.init.normal_(parameter)
    speech = fingerprints(folder)["speech"]
    info = PackageInfo(stage, "texture", config.geometry, config.speech, diffusion, speech, adapters=adapters)
    save_package(folder / name, info, model, VideoCodec(build_vae(config.vae)))


def words(work: Path, output: str, *overrides: str, teacher: str = "teacher") -> list[str]:
    known = [f"vae.path={work / 'vae'}", f"data.shards=[{work / 'pairs'}]", f"train.output={work / output}"]
    toy = ["diffusion.shift=3.0", "train.global_batch_size=4", "train.learning_rate=3.0e-3"]
    return [*known, *toy, *SHORT, f"train.init_from={work / teacher}", *overrides]


def config_of(work: Path, output: str, *overrides: str, teacher: str = "teacher") -> StudentConfig:
    # The toy comes last: its batch and learning rate are not those of a large model.
    files = [OVERLAY, toy_file(work)]
    return check_student(load_config(StudentConfig, files, words(work, output, *overrides, teacher=teacher)))


def distil(work: Path, output: str, *overrides: str) -> TrainResult:
    config = config_of(work, output, *overrides)
    dataset = open_shards(config.data)
    return train(config, StudentStrategy(config, dataset), dataset)


def prepared(
    work: Path, step: int, *overrides: str, teacher: str = "bare"
) -> tuple[StudentStrategy, DistillationNetworks, StudentInputs]:
    """A strategy, its model as at the start, and the inputs of one optimiser step."""
    config = config_of(work, "unused", *overrides, teacher=teacher)
    dataset = open_shards(config.data)
    strategy = StudentStrategy(config, dataset)
    model = strategy.build_model()
    assert isinstance(model, DistillationNetworks)
    draws = next(iter(DrawSampler(build_order(dataset, config.data, 4, 0), 4, 4, 1, 0, step)))
    samples = DrawnSamples(dataset)
    return strategy, model, strategy.prepare(strategy.collate()([samples[draw] for draw in draws]), CPU)


def refusal(work: Path, capsys: pytest.CaptureFixture[str], *given: str) -> str:
    """The one line with which the command refuses these words, having written nothing."""
    assert main(["--config", str(OVERLAY), str(toy_file(work)), *words(work, "refused", *given)]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert not (work / "refused").exists()
    return error


def checkpoint(work: Path, output: str, step: int) -> dict[str, dict[str, Tensor]]:
    return {name: saved(work / output, step, name) for name in ("model", "ema", "optimizer")}


def same(one: dict[str, Tensor], two: dict[str, Tensor], prefix: str = "") -> bool:
    names = {name for name in {*one, *two} if name.startswith(prefix)}
    assert names
    return all(name in one and name in two and torch.equal(one[name], two[name]) for name in names)


def losses(work: Path, output: str) -> list[float]:
    return [row["loss"] for row in metrics(work / output)]
