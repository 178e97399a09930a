"""An editor adapted to one person: the configurations, the sets of clips, the check, and the package."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import write_package
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file
from stage1_clips import OVERLAY, write_clip
from torch import Tensor
from training_toys import metrics, run_editor, stage2_config, toy_vae, write_pairs
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.config import load_config
from common.data.dataset import ShardDataset
from common.data.prepared import load_prepared
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face import build_detector, track_face
from common.face.release_crops import release_crop_track
from common.media import VideoReader
from common.models.conditions import ModelConditions
from common.models.conventions import RELEASE
from common.models.package import load_package
from common.models.package_info import read_info, write_info
from common.training.held_out import HeldOutLoss
from common.training.launch import open_shards, train
from stage1_generator import own_mouths, pack, prepare
from stage2_dubber.adaptation import describe, finish, split
from stage2_dubber.config import Stage2Config, check
from stage2_dubber.training.strategy import EditorStrategy

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ADAPTER = "lora_adapt.safetensors"
SHORT = ["train.max_steps=2", "train.mixed_precision=float32", "train.evaluate_samples=2"]


def _run(main: Any, **paths: Path) -> int:
    return int(main([word for name, path in paths.items() for word in (f"--{name}", str(path))]))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package ``model``, film of one person, and all that an adaptation makes."""
    folder = tmp_path_factory.mktemp("adapted")
    model, work = write_package(folder / "model"), folder / "work"
    info = read_info(model)
    write_info(model, replace(info, conventions=RELEASE))
    (folder / "film").mkdir()
    write_clip(folder / "film", "person", 75, 1)
    (folder / "overlay.yaml").write_text(OVERLAY)
    assert _run(describe.main, model=model, output=work / "configs") == 0
    layers = [CONFIGS / "stage1.yaml", folder / "overlay.yaml", work / "configs" / "stage1.yaml"]
    words = ["--config", *map(str, layers), str(CONFIGS / "adapt_pairs.yaml")]
    words += [f"work={work / 'pairs'}", f"prepare.videos={folder / 'film'}", "filters.sharpness_min=0"]
    for step in (prepare, own_mouths, pack):
        assert step.main(words) == 0
    assert _run(split.main, pairs=work / "pairs" / "pairs_own_mouths", output=work / "sets") == 0
    data = [
        f"data.{key}=[{work / 'sets' / name}]"
        for key, name in (("shards", "trained"), ("held_out", "held_out"))
    ]
    start = [f"train.init_from={model}", f"train.output={work / 'run'}", "train.learning_rate=1e-2"]
    files = [work / "configs" / "stage2.yaml", CONFIGS / "adapt.yaml"]
    config = check(load_config(Stage2Config, files, [*SHORT, *data, *start]))
    dataset = open_shards(config.data)
    train(config, EditorStrategy(config, dataset), dataset)
    return folder


def test_pairs_are_cut_as_the_model_saw_faces_and_both_sets_have_no_frame_in_common(adapted: Path) -> None:
    film = adapted / "film" / "person.mp4"
    finder = build_detector("box", track_file=str(film.with_name("person.track.safetensors")))
    with VideoReader(film) as reader:
        track = track_face((frame.image for frame in reader), finder)
        squares = release_crop_track(track, reader.info.width, reader.info.height).boxes
    (entry,) = load_prepared(adapted / "work" / "pairs" / "prepared")
    stored = load_numpy(entry.folder / "track.safetensors")["boxes"]
    np.testing.assert_allclose(stored, squares - 0.5, atol=0.51)  # they may be a pixel wider than high
    frames: dict[str, set[int]] = {}
    for name in ("trained", "held_out"):
        clips = [sample.meta for sample in ShardDataset(adapted / "work" / "sets" / name)]
        frames[name] = {n for clip in clips for n in range(clip["start"], clip["start"] + clip["frames"])}
    assert frames["trained"] and frames["held_out"] and not frames["trained"] & frames["held_out"]


def _edited(run: Path, after: dict[str, float]) -> Path:
    """The training's log, with other values measured at its end."""
    rows = metrics(run)
    last = [row for row in rows if "held_out" in row][-1]
    last["held_out"] = {**last["held_out"], **after}
    copy = run.parent / "edited"
    copy.mkdir(exist_ok=True)
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if not (copy / "package").exists():
        (copy / "package").symlink_to(run / "package")
    return copy


def test_the_package_is_the_model_with_an_adapter_and_takes_no_more_space_than_that(adapted: Path) -> None:
    model, work = adapted / "model", adapted / "work"
    before = next(row["held_out"] for row in metrics(work / "run") if "held_out" in row)
    run = _edited(work / "run", {"mean": before["mean"] / 2, "heard": 9.0})
    assert _run(finish.main, model=model, run=run, output=work / "package") == 0
    package, base = load_package(work / "package"), load_package(model)
    assert [adapter.name for adapter in package.info.adapters] == ["adapt"]
    assert package.info.conventions == RELEASE and package.info.geometry == base.info.geometry
    weights = load_file(work / "package" / "transformer" / "diffusion_pytorch_model.safetensors")
    for name, tensor in base.transformer.state_dict().items():
        assert torch.equal(weights[name], tensor)
    changed = load_file(work / "package" / ADAPTER)
    assert any(tensor.any() for name, tensor in changed.items() if "lora_B" in name)
    assert not any("audio" in name for name in changed)
    own = [path for path in (work / "package").rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    assert sorted(path.name for path in own) == ["bootdub.json", ADAPTER]


@pytest.mark.parametrize(
    ("mean", "heard", "words"), [(1.0, 0.6, "does not help"), (0.9, 0.4, "the model hears less")]
)
def test_adapters_that_do_no_good_are_refused(
    adapted: Path, capsys: pytest.CaptureFixture[str], mean: float, heard: float, words: str
) -> None:
    run = _edited(adapted / "work" / "run", {})
    rows = [
        {"step": step, "held_out": {"mean": loss, "heard": change}}
        for step, loss, change in ((0, 1.0, 0.5), (2, mean, heard))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = adapted / "work" / "refused"
    assert _run(finish.main, model=adapted / "model", run=run, output=output) == 2
    assert words in capsys.readouterr().err and not output.exists()


def test_an_adapter_that_was_not_checked_is_refused(adapted: Path, tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    for rows in ([], [{"step": 0, "held_out": {"mean": 1.0}}, {"step": 2, "held_out": {"mean": 0.5}}]):
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(UserError, match="were not measured before and after"):
            finish.measured(log)


def test_what_is_heard_is_what_other_speech_changes(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    others = write_pairs(tmp_path / "others", 3)
    alike = tmp_path / "alike"
    with ShardWriter(alike, "toy", 8, others.indices[0].meta) as writer:  # all of them say the same
        said = others.sample(0).cache["audio_features"]
        for n in range(3):
            sample = others.sample(n)
            cache = {**{k: v.numpy() for k, v in sample.cache.items()}, "audio_features": said.numpy()}
            masks = {k: v.numpy() for k, v in sample.arrays.items()}
            writer.add(f"toy{n}", encode_sample(sample.meta, arrays=masks, cache=cache))
    for name in ("others", "alike"):
        words = ["train.max_steps=1", "train.sample_clips=0", "train.evaluate_hearing=true"]
        words += [f"data.held_out=[{tmp_path / name}]", f"train.output={tmp_path / f'run-{name}'}"]
        run_editor(tmp_path, *words)
        last = [row["held_out"] for row in metrics(tmp_path / f"run-{name}") if "held_out" in row][-1]
        assert (last["heard"] < 1e-6) == (name == "alike")
    with pytest.raises(UserError, match="leave only one"):
        run_editor(tmp_path, *words, "train.evaluate_samples=1")


def test_an_editor_that_copies_hears_nothing(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    others = write_pairs(tmp_path / "others", 3)
    config = stage2_config(tmp_path)
    strategy = EditorStrategy(config, open_shards(config.data))

    def copying(latents: Tensor, timestep: Tensor, conditions: ModelConditions) -> Tensor:
        sigma = timestep.reshape(-1, 1, 1, 1, 1) / 1000
        return (latents - conditions.reference) / sigma

    place = SimpleNamespace(data_world=1, data_rank=0)
    here = SimpleNamespace(device=torch.device("cpu"))
    context: Any = SimpleNamespace(accelerator=here, layout=place, wrapped=copying, sum=lambda values: values)
    found = HeldOutLoss(strategy, others, 3, 0, hearing=True).run(context).row
    assert found["mean"] > 0.1 and found["heard"] == 0

    def saying(gain: float) -> float:
        def model(latents: Tensor, timestep: Tensor, conditions: ModelConditions) -> Tensor:
            said = gain * conditions.audio_features.mean(dim=(2, 3))[:, None, :, None, None]
            return copying(latents, timestep, conditions) - said / (timestep.reshape(-1, 1, 1, 1, 1) / 1000)

        context.wrapped = model
        return float(HeldOutLoss(strategy, others, 3, 0, hearing=True).run(context).row["heard"])

    assert saying(1) > 0.01 and saying(3) == pytest.approx(3 * saying(1), rel=1e-4)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 300)), unique=True), st.integers(1, 90))
def test_no_frame_is_in_both_sets(clips: list[tuple[str, int]], length: int) -> None:
    places = [(stretch, start, length) for stretch, start in clips]
    chosen = split.choose_held_out(places)
    seen = {
        name: {(places[n][0], f) for n in numbers for f in range(places[n][1], places[n][1] + length)}
        for name, numbers in chosen.items()
    }
    assert not seen["trained"] & seen["held_out"]
    for stretch in {stretch for stretch, _ in clips}:
        number = sum(places[n][0] == stretch for n in chosen["held_out"])
        assert number >= min(2, sum(place[0] == stretch for place in places))


def test_too_little_film_is_told(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ShardDataset(adapted / "work" / "pairs" / "pairs_own_mouths")
    with ShardWriter(tmp_path / "few", "pairs", 8, whole.indices[0].meta) as writer:
        for number in range(2):
            writer.add(whole.keys[number], whole.members(number))
    assert _run(split.main, pairs=tmp_path / "few", output=tmp_path / "sets") == 2
    assert "2 clips are too few" in capsys.readouterr().err
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"stage": 1}, "only editors of stage 2"), ({"adapter_at": 0.5}, "has adapters already (lip)")],
)
def test_what_cannot_be_adapted_is_told_before_the_work(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    model = write_package(tmp_path / "model", **changes)
    (tmp_path / "film").mkdir()
    told = CliRunner().invoke(
        app, ["adapt", str(tmp_path / "film"), "--work", str(tmp_path / "work"), "--model", str(model)]
    )
    assert told.exit_code == 2 and words in " ".join(told.stderr.split())
    gone = CliRunner().invoke(app, ["adapt", str(tmp_path / "gone"), "--work", str(tmp_path / "work")])
    never = CliRunner().invoke(
        app, ["adapt", str(tmp_path), "--work", str(tmp_path / "work"), "--minutes", "0"]
    )
    assert never.exit_code == 2 and "--minutes is 0" in never.stderr
    assert gone.exit_code == 2 and f"'{tmp_path / 'gone'}'" in gone.stderr
    assert not (tmp_path / "work").exists()


def test_the_command_runs_these_steps(adapted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["adapt", str(adapted / "film"), "--work", str(adapted / "w"), "--model", str(adapted / "model")]
    told = CliRunner().invoke(app, [*words, "--minutes", "3", "--dry-run"])
    assert told.exit_code == 0
    lines = [shlex.split(line) for line in (told.stdout or capfd.readouterr().out).splitlines()]
    names = [next(word for word in line if "." in word and "/bin/" not in word) for line in lines]
    steps = ["describe", "prepare", "own_mouths", "pack", "split", "torch.distributed.run", "finish"]
    assert [name.removeprefix("torch.distributed.").rpartition(".")[2] for name in names] == [
        step.rpartition(".")[2] for step in steps
    ]
    assert "train.time_limit_minutes=3.0" in [word for line in lines for word in line]
    assert not (adapted / "w").exists()
