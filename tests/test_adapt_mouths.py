"""Insides of one person's mouth: the command, the check, and the package that dubs with them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from dub_clips import write_package
from painter_toys import SMALL, Labelled, label_talkers, short_training
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.data.dataset import ShardDataset
from common.models.package_info import read_info
from common.mouth_painter import train
from common.own_mouths.config import Renderer
from common.own_mouths.painting.model import MouthPainter
from common.own_mouths.painting.network import load_painter
from common.own_mouths.painting.shipped import SHIPPED_PAINTER, painter_folder
from stage2_dubber.adaptation import mouths, split
from stage2_dubber.dub.pipeline import DubPipeline


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return label_talkers(tmp_path_factory.mktemp("adapt"), count=36)


@pytest.fixture(scope="module")
def sets(labelled: Labelled) -> Path:
    """Open mouths to train on, and to check with."""
    folder = labelled.work / "sets"
    assert split.main([f"--pairs={labelled.shards}", f"--output={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(labelled: Labelled, sets: Path) -> tuple[Path, Path]:
    """A painter from nothing, and one that has learnt from the talkers since."""
    torch.manual_seed(3)
    before, run = labelled.work / "before", labelled.work / "run"
    MouthPainter(SMALL).save_pretrained(before)
    shards = Labelled(labelled.work, sets / "trained")
    words = ("painter.critic_weight=0", "train.max_steps=25", f"painter.init_from={before}")
    assert train.main(short_training(shards, run, *words)) == 0
    return before, run / "package"


def _finish(model: Path, before: Path, after: Path, sets: Path, output: Path) -> int:
    held_out = sets / "held_out"
    paths = {"model": model, "before": before, "after": after, "mouths": held_out, "output": output}
    return mouths.main([word for name, path in paths.items() for word in (f"--{name}", str(path))])


def test_held_out_mouths_share_no_frame_with_those_that_are_trained_on(sets: Path) -> None:
    trained, held = (
        {(one["entry"], one["start"] + i) for one in _told_of(sets / name) for i in range(one["frames"])}
        for name in ("trained", "held_out")
    )
    assert trained and held and not trained & held


def _told_of(folder: Path) -> list[dict[str, Any]]:
    dataset = ShardDataset(folder)
    return [dict(dataset.sample(number).meta) for number in range(len(dataset))]


def test_a_painter_that_has_learnt_the_person_becomes_part_of_the_package(
    trained: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = trained
    assert mouths.painting_error(after, sets / "held_out") < mouths.painting_error(before, sets / "held_out")
    model, package = write_package(tmp_path / "model"), tmp_path / "package"
    assert _finish(model, before, after, sets, package) == 0
    assert "error of held-out insides" in capsys.readouterr().err
    assert read_info(package) == read_info(model)
    # Its weights take no space of their own.
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert (package / weights).samefile(model / weights)
    assert painter_folder(model) == SHIPPED_PAINTER.folder()
    # A package that was adapted is adapted again from where it is.
    again = tmp_path / "again"
    assert _finish(package, before, painter_folder(package), sets, again) == 0
    pipelines = [DubPipeline.from_pretrained(folder) for folder in (model, package, again)]
    shipped, own, same = (pipeline._models.painter.network for pipeline in pipelines)
    assert shipped.widths != SMALL and own.widths == same.widths == SMALL
    for one, other in zip(own.parameters(), load_painter(after).parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_painter_that_is_no_better_is_refused(
    trained: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = trained
    model = write_package(tmp_path / "model")
    assert _finish(model, after, before, sets, tmp_path / "package") == 2
    assert "does not paint this person better" in capsys.readouterr().err
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("words", "recipe"),
    [([], "editor"), (["--part", "mouths"], "mouths")],
)
def test_what_is_adapted_follows_the_package_or_is_named(
    tmp_path: Path, words: list[str], recipe: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = write_package(tmp_path / "model")
    assert read_info(model).renderer is Renderer.editor
    _told(tmp_path, capfd, ["--model", str(model), *words], recipe)


def test_the_default_package_draws_own_mouths_and_gets_their_insides(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = _told(tmp_path, capfd, ["--minutes", "2"], "mouths")
    assert f"painter.init_from='{SHIPPED_PAINTER.folder()}'" in [word for line in lines for word in line]
    assert "train.time_limit_minutes=2.0" in [word for line in lines for word in line]


def _told(folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], recipe: str) -> list[list[str]]:
    """Lines of a dry run, and that they are those of this part's recipe."""
    (folder / "film").mkdir()
    told = CliRunner().invoke(
        app, ["adapt", str(folder / "film"), "--work", str(folder / "work"), *words, "--dry-run"]
    )
    assert told.exit_code == 0, told.stderr
    lines = [shlex.split(line) for line in (told.stdout or capfd.readouterr().out).splitlines()]
    last = {"editor": "stage2_dubber.adaptation.finish", "mouths": "stage2_dubber.adaptation.mouths"}
    assert last[recipe] in lines[-1]
    assert not (folder / "work").exists()
    return lines
