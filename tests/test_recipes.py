"""Recipes: what they say is what is run, in order, and what is wrong with one is said before anything is."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from common.config import load_config
from common.models.transformer import build_transformer
from common.recipes.__main__ import main
from common.recipes.schema import load_recipe
from stage1_generator.config import OwnMouths, Stage1Config
from stage1_generator.config import check as check_pairs
from stage1_generator.language_switch.config import SwitchConfig
from stage1_generator.language_switch.steps import PAIRS
from stage2_dubber.config import Stage2Config
from stage2_dubber.config import check as check_editor
from stage2_dubber.joint.config import JointTrainingConfig
from stage2_dubber.joint.encode import JointEncodeConfig

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPOSITORY / "configs" / "recipes").glob("*.yaml"))
WRITER = """import sys, pathlib
pathlib.Path(sys.argv[1]).write_text(' '.join(sys.argv[2:]))
"""


def _commands(capsys: pytest.CaptureFixture[str], recipe: str, *words: str) -> list[list[str]]:
    assert main([recipe, *words, "--dry-run"]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def _settings(words: list[str]) -> dict[str, object]:
    pairs = (word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    return {key: yaml.safe_load(value) for key, value in pairs}


def _configured(commands: list[list[str]]) -> Iterator[tuple[list[str], Stage1Config | Stage2Config]]:
    """The commands of the stages that take configurations, and what each understands."""
    for command in commands:
        if "--config" not in command:
            continue
        files = [word for word in command if word.endswith(".yaml")]
        stage1 = any("stage1_generator." in word for word in command)
        yield (
            command,
            load_config(Stage1Config if stage1 else Stage2Config, files, _words_after(command, files)),
        )


def _toy(folder: Path, steps: str) -> str:
    """A recipe whose commands write their arguments into files of `folder`."""
    (folder / "writer.py").write_text(WRITER)
    (folder / "waiter.py").write_text(
        "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(60)\n"
    )
    (folder / "failure.py").write_text("raise SystemExit(7)\n")
    file = folder / "toy.yaml"
    head = f"parameters:\n  work: {{default: '{folder}'}}\n  minutes: {{kind: number, default: 10}}\n"
    file.write_text(head + "steps:\n" + steps.replace("HERE", str(folder)))
    return str(file)


def test_there_is_a_recipe_for_each_script_and_all_can_be_read() -> None:
    assert {file.stem for file in RECIPES} >= {"default", "stage1", "stage2", "quickstart"}
    for file in RECIPES:
        assert load_recipe(str(file)).steps


def test_the_lip_phase_of_the_default_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--videos", "clips", "--work", str(tmp_path / "007"), "--processes", "2", "--parts", "lip"]
    (lip,) = _commands(capsys, "default", *words)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    assert lip[1:6] == [*launch, str(REPOSITORY / "stage2_dubber" / "train.py")]
    names = ("small", "stage2_lip", "small_stage2")
    configs = [str(REPOSITORY / "configs" / f"{name}.yaml") for name in names]
    assert lip[6:10] == ["--config", *configs]
    given = _settings(lip)
    assert given["train.learning_rate"] == 1.6e-3
    assert given["train.lip_window"] == [4, 5] and given["train.lip_window_share"] == 0.85
    assert given["train.time_limit_minutes"] == 80
    assert (given["train.global_batch_size"], given["train.micro_batch_size"]) == (16, 8)
    assert given["train.init_from"] == str(tmp_path / "007" / "stage2" / "structure" / "package")
    assert given["data.weights"] == [0.06, 0.84, 0.1]
    # The command itself understands every word.
    config = load_config(Stage2Config, configs, lip[10:])
    assert config.train.lip_window == [4, 5] and config.phase.active_range == [0.0, 1.0]


def test_the_ablation_of_edidubs_options_is_understood_by_its_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--voice", "voice", "--work", str(tmp_path), "--processes", "1", "--steps", "7"]
    commands = _commands(capsys, "edidub", *words)
    seen = []
    for _, config in _configured(commands):
        if isinstance(config, Stage2Config):
            assert config.train.max_steps == 7
            seen.append((config.model.speech_injection, config.speech.encoder, config.train.loss_region))
    plain = ("cross_attention", "lips", "clip")
    lower_face = ("cross_attention", "lips", "lower_face")
    assert seen == [
        plain,
        ("adain", "lips", "clip"),
        *3 * [plain],
        lower_face,
        ("cross_attention", "units", "clip"),
    ]
    outputs = {word for command in commands for word in command if word.startswith("--output=")}
    assert {f"--output={folder}" for folder in commands[-1][2:]} == outputs
    started = _commands(
        capsys, "edidub", *words, "--start", str(tmp_path / "editor"), "--parts", "start,training"
    )
    given = [_settings(command) for command in started]
    made = [one["train.output"] for one in given[:3]]
    assert [one["train.init_from"] for one in given] == [
        *3 * [str(tmp_path / "editor")],
        *(made[kind] for kind in (0, 1, 0, 0, 0, 0, 2)),
    ]
    for start, training in ((0, 3), (1, 4), (2, 9)):
        for name in ("speech.path", "model.audio_channels"):
            assert given[start].get(name) == given[training].get(name)
    assert [one.get("model.speech_injection") for one in given[:2]] == ["cross_attention", "adain"]


def test_the_ablation_on_film_trains_and_measures_all_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips.csv").touch()
    words = ["--videos", "clips", "--voice", "voice", "--manifest", str(tmp_path / "clips.csv")]
    commands = _commands(
        capsys, "edidub_film", *words, "--work", str(tmp_path), "--processes", "1", "--steps", "7"
    )
    trained: dict[str, list[Stage2Config]] = {}
    for command, config in _configured(commands):
        if isinstance(config, Stage2Config) and "torch.distributed.run" in command:
            kind, seed = Path(config.train.output).name.split("-")
            assert config.train.seed == int(seed)
            trained.setdefault(kind, []).append(config)
    assert {kind: len(runs) for kind, runs in trained.items()} == dict.fromkeys(
        ("default", "adain", "units", "landmarks", "random"), 2
    )
    alike = {
        (c.train.max_steps, c.train.learning_rate, c.train.global_batch_size)
        for runs in trained.values()
        for c in runs
    }
    assert alike == {(7, 1e-3, 8)}
    assert trained["adain"][0].data.shards == trained["default"][0].data.shards
    assert trained["landmarks"][0].data.shards != trained["random"][0].data.shards
    evaluations = [command for command in commands if "evaluate" in command]
    for seed, command in enumerate(evaluations):
        systems = [word.removeprefix("--system=") for word in command if word.startswith("--system=")]
        outputs = [runs[seed].train.output for runs in trained.values()]
        assert sorted(systems) == sorted(
            f"{Path(folder).name.split('-')[0]}={folder}/package?audio_scale=1" for folder in outputs
        )
    assert len(evaluations) == 2


@pytest.mark.parametrize("sizes", [[], ["small", "base"]], ids=["small", "base"])
def test_a_refiner_of_own_mouths_is_trained_on_the_pairs_that_are_made_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: list[str]
) -> None:
    files = [str(REPOSITORY / "configs" / f"{name}.yaml") for name in sizes]
    words = ["--videos", "clips", "--work", str(tmp_path), "--processes", "1"]
    commands = _commands(capsys, "refine_own_mouths", *words, *(["--config", *files] if files else []))
    configured = [config for _, config in _configured(commands)]
    pairs, trainings = configured[:3], configured[3:]
    for config in pairs:
        assert isinstance(config, Stage1Config)
        assert check_pairs(config).pairs.own_mouths is OwnMouths.rebuilt
    sides = {config.geometry.crop_size for config in configured}
    assert sides == {256 if sizes else 128}
    for config in trainings:
        assert isinstance(config, Stage2Config) and check_editor(config).data.own_mouths
        assert config.data.shards == [f"{tmp_path}/stage1/pairs_own_mouths"]
    assert trainings[1].train.init_from == f"{trainings[0].train.output}/package"
    with torch.device("meta"):
        count = sum(one.numel() for one in build_transformer(trainings[0].model).parameters())
    assert 30e6 < count < 60e6 if sizes else count < 5e6
    shipped = [word for word in commands[-1] if word.startswith(str(tmp_path))]
    assert shipped == [f"{trainings[1].train.output}/package", f"{tmp_path}/package"]


def test_pairs_of_two_languages_and_their_training_are_understood_by_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips.csv").touch()
    words = [
        "--maker",
        "models/a",
        "--start",
        "models/b",
        "--clips",
        str(tmp_path / "clips.csv"),
        "--work",
        str(tmp_path),
    ]
    words += ["--captions", "--sound", "pairs:lips.share=1", "encode:stride=8", "lora:train.max_steps=7"]
    switch, encode, lora = _commands(capsys, "ltx2_switch", *words)
    pairs = load_config(SwitchConfig, [], switch[3:])
    assert pairs.script == str(tmp_path / "clips.csv") and not pairs.recordings and pairs.lips.share == 1
    encoded = load_config(JointEncodeConfig, [], encode[3:])
    assert encoded.data.shards == [f"{pairs.work}/{PAIRS}"] and encoded.captions and encoded.stride == 8
    assert pairs.package != encoded.package
    files = [word for word in lora if word.endswith(".yaml")]
    training = load_config(JointTrainingConfig, files, _words_after(lora, files))
    assert training.data.shards == [encoded.output] and training.train.init_from == encoded.package
    assert (
        training.joint.captions
        and training.joint.audio == "generated"
        and training.geometry.clip_frames == 57
    )
    assert training.train.max_steps == 7


def _words_after(command: list[str], files: list[str]) -> list[str]:
    return command[command.index(files[-1]) + 1 :]


def test_without_characters_their_pairs_are_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--videos", "clips", "--characters", "0", "--processes", "1", "--work", "1e3"]
    commands = _commands(capsys, "default", *words)
    assert not any("common.rendered" in words for words in commands)
    shards = [given["data.shards"] for given in map(_settings, commands) if "data.shards" in given]
    assert shards == [["1e3/stage1/pairs", "1e3/stage1/pairs_retimed"]] * 4


def test_the_quickstart_goes_on_from_the_shipped_models_or_starts_anew(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, start, rate in (
        ([], str(REPOSITORY / "models" / "bootdub-tiny"), 5.0e-4),
        (["--from-scratch"], "/o/work/stage1/generator/package", None),
    ):
        commands = _commands(capsys, "quickstart", "--output", "/o", "--processes", "1", *words)
        structure, lip = (
            next(given for given in map(_settings, commands) if given.get("train.output") == output)
            for output in ("/o/work/stage2/structure", "/o/work/stage2/lip")
        )
        assert structure["train.init_from"] == start and structure.get("train.learning_rate") == rate
        assert lip["train.init_from"] == "/o/work/stage2/structure/package"
        (dub,) = (words for words in commands if "bootdub" in words)
        assert "--track=/o/work/rendered/held_out/r1000000_a.track.safetensors" in dub


def test_several_machines_meet_in_a_place_of_each_phase(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "stub"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(stub))
    words = ["--pairs", "p", "--nodes", "4", "--rendezvous", "one:29500", "--id", "77", "--processes", "8"]
    assert main(["stage2", *words]) == 0
    called = capfd.readouterr().out.splitlines()
    for phase, line in zip(("structure", "lip", "texture"), called, strict=True):
        place = "--nnodes=4 --rdzv-backend=c10d --rdzv-endpoint=one:29500"
        assert f"torch.distributed.run {place} --rdzv-id=77-{phase} --nproc_per_node=8" in line


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("  a: {command: HERE/writer.py, minuets: 3}\n", "minuets"),
        ("  a: {command: common.nothing}\n", "no module or script"),
        ("  a: {command: HERE/writer.py, starts_from: b}\n", "no step before it that runs once"),
        ("  a: {command: HERE/writer.py, uses: [b]}\n", "no group"),
        ("  a: {command: HERE/writer.py, when: teacher}\n", "no parameter"),
        ("  a: {command: HERE/writer.py, configs: [configs/huge.yaml]}\n", "no file of the repository"),
        ("  a: {command: HERE/writer.py, arguments: ['{wrok}']}\n", "{wrok}"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: str, message: str
) -> None:
    before = "  first: {command: HERE/writer.py, arguments: ['{work}/x']}\n"
    assert main([_toy(tmp_path, before + steps)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and len(said.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wrok", "x"], "unknown argument '--wrok'"),
        (["--work"], "--work needs a value"),
        (["--minutes", "soon"], "--minutes is 'soon'"),
        (["--parts", "a,c"], "--parts names 'c'; the parts are: a b."),
        (["c:x.y=1"], "names no part"),
        (["a:x.y=1"], "which takes --option=value"),
        (["x.y=1"], "unknown argument 'x.y=1'"),
    ],
)
def test_bad_words_are_refused_in_one_sentence_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write = "{command: HERE/writer.py, arguments: ['{work}/x']}"
    assert main([_toy(tmp_path, f"  a: {write}\n  b: {write}\n"), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_the_quickstart_wants_video_and_audio_together(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "quickstart.py"), "--video", __file__],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "name its --audio" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_failed_step_ends_the_run_and_finished_ones_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _toy(
        tmp_path,
        "  a: {command: HERE/writer.py, arguments: ['{work}/a', first], done_when: '{work}/a'}\n"
        "  b: {command: HERE/failure.py, done_when: '{work}/b'}\n"
        "  c: {command: HERE/writer.py, arguments: ['{work}/c'], repeat: [{n: 1}, {n: 2}], part: d}\n",
    )
    assert main([recipe, "d:--more=3"]) == 7
    assert (tmp_path / "a").read_text() == "first" and not (tmp_path / "c").exists()
    assert capsys.readouterr().err.splitlines()[-1] == "The part b failed, see above."
    (tmp_path / "a").write_text("of before")
    (tmp_path / "b").touch()
    assert main([recipe, "d:--more=3"]) == 0
    assert (tmp_path / "a").read_text() == "of before" and (tmp_path / "c").read_text() == "--more=3"
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("==")] == ["== d"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_its_command_and_says_so_by_its_exit_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    recipe = _toy(tmp_path, "  a: {command: HERE/waiter.py, arguments: ['{work}/started']}\n")
    command = [sys.executable, "-m", "common.recipes", recipe]
    # As in a terminal, the whole group is told, and Ctrl-C is not switched off as in a shell's background.
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(600):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, number)
    assert process.wait(30) == code
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_trainings_share_the_minutes_that_other_steps_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _toy(
        tmp_path,
        "  a: {command: HERE/writer.py, share: 0.5, section: a}\n"
        "  b: {command: HERE/writer.py, share: 0.25, section: b, takes: 1}\n"
        "  c: {command: HERE/writer.py, share: 0.25, section: c}\n"
        "  d: {command: HERE/writer.py, takes: 2}\n",
    )
    shown = [_settings(words) for words in _commands(capsys, recipe, "--minutes", "11")]
    assert shown[0]["a.time_limit_minutes"] == pytest.approx(4.0, abs=0.1)
    assert shown[1]["b.time_limit_minutes"] == pytest.approx(2.0, abs=0.1)
    assert shown[2]["c.time_limit_minutes"] == pytest.approx(2.0, abs=0.1)


def test_a_step_is_ended_when_the_minutes_of_the_run_are_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _toy(
        tmp_path,
        "  a: {command: HERE/waiter.py, arguments: ['{work}/started']}\n"
        "  b: {command: HERE/writer.py, arguments: ['{work}/b']}\n",
    )
    assert main([recipe, "--minutes", "0.03"]) == 124
    assert (tmp_path / "started").exists() and not (tmp_path / "b").exists()
    assert capsys.readouterr().err.splitlines()[-1] == "The 0.03 minutes are over: a was ended."
    spared = Path(recipe).read_text().replace("parameters:", "spare_minutes: 0.02\nparameters:", 1)
    Path(recipe).write_text(spared)
    assert main([recipe, "--minutes", "0.01"]) == 124
    assert capsys.readouterr().err.splitlines()[-1] == "The 0.03 minutes are over: a was ended."


def test_labels_take_settings_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A label command and the training that reads its shards have different configurations."""
    words = ["speech:train.weight_decay=0.5", "speech-labels:lip_shapes.teacher_features=true"]
    labels, training = map(
        _settings, _commands(capsys, "default", "--videos", "clips", "--parts", "speech", *words)
    )
    assert labels["lip_shapes.teacher_features"] is True and "train.weight_decay" not in labels
    assert training["train.weight_decay"] == 0.5 and "lip_shapes.teacher_features" not in training
