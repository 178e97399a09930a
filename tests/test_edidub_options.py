"""Each of EdiDub's options: trained, gone on with, dubbed with, and refused where it is not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, picture, write_speech
from stage1_clips import write_clip, write_config
from training_toys import (
    run_editor,
    saved,
    stage1_config,
    toy_face,
    toy_vae,
    write_clips,
    write_pairs,
    write_raw_pairs,
)
from typer.testing import CliRunner
from unit_toys import UNITS, write_units

from bootdub.cli.main import app
from common.errors import UserError
from common.media import LOSSLESS, read_frames, save_wav, write_video
from common.models.package_info import PackageInfo, read_info
from common.speech.build import build_speech_encoder
from common.speech.config import SpeechConfig
from common.training.launch import train
from common.training.trainer import TrainResult
from stage1_generator import pack, prepare
from stage1_generator.generator.strategy import GeneratorStrategy

PREDICTOR = Path(__file__).resolve().parent.parent / "models" / "bootdub-small" / "speech"
FRAMES = 14


@dataclass(frozen=True)
class Option:
    """One of EdiDub's ideas.

    Attributes:
        words: of a training with it; ``{data}`` is the folder of ``write``'s.
        said: what its package says of itself, and what that of a training without it says.
        write: makes what the training needs besides the usual pairs.
        without: words that a dub with its package takes so that the option does not act; none: the speech
            is what has to act.
    """

    words: tuple[str, ...]
    said: Callable[[PackageInfo, Path], tuple[Any, Any]]
    write: Callable[[Path], None] = lambda data: None
    without: tuple[str, ...] = ()


def _units(data: Path) -> None:
    path = write_units(data / "units", "phonetics", PREDICTOR)
    mark = build_speech_encoder(SpeechConfig("units", str(path), channels=UNITS)).fingerprint
    write_pairs(data / "pairs", audio_channels=UNITS, speech=mark)


def _references(data: Path) -> None:
    (data / "videos").mkdir()
    write_clip(data / "videos", "one", 40, 1)
    words = write_config(data, data / "videos", data / "work", f"vae.path={data / 'vae'}")
    words += ["pairs.reference_frames=landmarks", "pairs.exclusion_frames=6", "pairs.clip_frames=9"]
    assert prepare.main(words) == 0 and pack.main([*words, "speech.extra_window=0"]) == 0


def _raw(data: Path) -> None:
    def noise(frames: int, height: int, width: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)

    def hum(seconds: float) -> np.ndarray:
        return np.sin(np.arange(round(seconds * 16000)) / 9).astype(np.float32)

    write_raw_pairs(data / "pairs", 3, 9, noise, hum, landmarks=np.stack([toy_face()] * 9))


OPTIONS = {
    "landmarks": Option(
        ("data.shards=[{data}/work/pairs_reference_frames]", "train.global_batch_size=2"),
        lambda info, folder: (info.speech.encoder, "mel"),
        _references,
    ),
    "units": Option(
        (
            "speech.encoder=units",
            "speech.path={data}/units",
            f"speech.channels={UNITS}",
            f"model.audio_channels={UNITS}",
        ),
        lambda info, folder: (info.speech.encoder, "units"),
        _units,
    ),
    "adain": Option(
        ("model.speech_injection=adain",),
        lambda info, folder: ('"adain"' in (folder / "transformer" / "config.json").read_text(), True),
    ),
    "inversion": Option(
        ("diffusion.start_from=inversion", "diffusion.inversion_steps=1"),
        lambda info, folder: (info.diffusion.start_from, "inversion"),
        without=("--start-from", "noise"),
    ),
    "multidiffusion": Option(
        ("diffusion.windows=multidiffusion", "diffusion.section_frames=17", "diffusion.window_stride=4"),
        lambda info, folder: (info.diffusion.windows, "multidiffusion"),
        without=("--windows", "motion_latents"),
    ),
    "refiner": Option(
        ("data.degraded_lips.resolution=[8,16]", "diffusion.audio_scale=1"),
        lambda info, folder: (info.lip_resolution, (8, 16)),
        _raw,
    ),
}
STEPS = ("train.lr_schedule=constant", "train.learning_rate=0.1", "diffusion.num_steps=2")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the usual pairs, ``run/package`` of a training with none of the options, and a clip."""
    folder = tmp_path_factory.mktemp("usual")
    toy_vae(folder)
    write_pairs(folder / "pairs")
    run_editor(folder, *STEPS, "train.max_steps=1")
    for name in ("own", "long"):
        write_speech(folder / f"{name}.wav", FRAMES / 25)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * FRAMES // 25)
    save_wav(folder / "other.wav", noise.astype(np.float32), 16000)
    frames = np.stack([picture(index) for index in range(FRAMES)])
    write_video(folder / "v.mkv", frames, rate=25, encoding=LOSSLESS, audio_from=folder / "own.wav")
    return folder


@pytest.fixture(scope="module", params=OPTIONS)
def made(request: pytest.FixtureRequest, usual: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(option's name, folder of its data, its words, the result of a training of two steps)."""
    option, data = OPTIONS[request.param], tmp_path_factory.mktemp(request.param)
    toy_vae(data)
    option.write(data)
    if not (data / "pairs").is_dir():
        shutil.copytree(usual / "pairs", data / "pairs")
    words = [*STEPS, *(word.format(data=data) for word in option.words)]
    result = run_editor(data, *words, "train.max_steps=2", f"train.output={data / 'whole'}")
    return request.param, data, words, result


Made = tuple[str, Path, list[str], TrainResult]


def test_it_is_trained_and_the_package_says_so(made: Made, usual: Path) -> None:
    name, _, _, result = made
    said = OPTIONS[name].said
    is_said, wanted = said(read_info(result.package), result.package)
    assert is_said == wanted
    if name != "landmarks":  # which changes the pairs, not the model
        plain = usual / "run" / "package"
        assert said(read_info(plain), plain)[0] != wanted


def test_it_goes_on_as_if_it_had_not_been_interrupted(made: Made) -> None:
    _, data, words, _ = made
    for steps in (1, 2):
        run_editor(data, *words, f"train.max_steps={steps}", f"train.output={data / 'cut'}")
    whole, cut = (saved(data / name, 2) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[key], cut[key]) for key in whole)


def _dub(usual: Path, model: Path, *words: str, speech: str = "long") -> np.ndarray:
    given = ["--video", usual / "v.mkv", "--audio", usual / f"{speech}.wav", "--output", usual / "o.mkv"]
    box = ["--box", ",".join(str(round(value)) for value in BOX), "--lossless", "--overwrite"]
    done = CliRunner().invoke(app, ["dub", *map(str, given), "--model", str(model), *box, *words])
    assert done.exit_code == 0, done.stderr
    return read_frames(usual / "o.mkv")


def test_it_dubs_and_acts(made: Made, usual: Path) -> None:
    name, _, _, result = made
    option = OPTIONS[name]
    if name == "refiner":
        plain = usual / "run" / "package"
        assert (_dub(usual, plain) != _dub(usual, plain, "--refine", str(result.package))).any()
        return
    first = _dub(usual, result.package)
    assert (first != read_frames(usual / "v.mkv")).any()
    speech = "long" if option.without else "other"
    assert (first != _dub(usual, result.package, *option.without, speech=speech)).any()


def test_it_is_refused_where_the_model_or_the_data_lack_it(
    made: Made, usual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, data, words, result = made
    plain = usual / "run" / "package"
    if name == "landmarks":
        base = write_config(data, data / "videos", data / "other", f"vae.path={data / 'vae'}")
        assert prepare.main(base) == 0
        assert pack.main([*base, "pairs.reference_frames=landmarks"]) == 2
        assert "nearest_frames" in capsys.readouterr().err
    elif name in ("units", "adain", "refiner"):
        said = {
            "units": "model has audio_channels 80, the configuration says 5",
            "adain": "model has speech_injection cross_attention, the configuration says adain",
            "refiner": "the model edits",
        }[name]
        if name == "refiner":
            error = _refused(usual, plain, "--refine", str(plain))
        else:
            with pytest.raises(UserError) as found:
                run_editor(data, *words, f"train.init_from={plain}", f"train.output={data / 'next'}")
            error = str(found.value)
        assert said in error
        # And the other way round.
        with pytest.raises(UserError):
            run_editor(usual, *STEPS, f"train.init_from={result.package}", f"train.output={data / 'back'}")
    else:
        option = {"inversion": "--start-from", "multidiffusion": "--windows"}[name]
        error = _refused(usual, result.package, option, name, "--renderer", "own-mouths")
        assert f"{option} {name} is about what the model draws" in error
        assert f"{option} {name}" not in _refused(usual, result.package, option, "other")


def _refused(usual: Path, model: Path, *words: str) -> str:
    """The message of a dub that is refused with and without --dry-run."""
    said = []
    given = ["--video", usual / "v.mkv", "--audio", usual / "long.wav", "--output", usual / "refused.mkv"]
    for dry in ([], ["--dry-run"]):
        done = CliRunner().invoke(app, ["dub", *map(str, given), "--model", str(model), *words, *dry])
        assert done.exit_code == 2
        said.append(" ".join(done.stderr.split()))
    assert said[0] == said[1] and not (usual / "refused.mkv").exists()
    return said[0]


@pytest.mark.parametrize("name", ["adain", "units", "multidiffusion"])
def test_a_generator_is_trained_and_goes_on_with_it(name: str, tmp_path: Path) -> None:
    toy_vae(tmp_path)
    words = [word.format(data=tmp_path) for word in (*STEPS, *OPTIONS[name].words)]
    more: dict[str, Any] = {}
    if name == "units":
        path = write_units(tmp_path / "units", "phonetics", PREDICTOR)
        speech = SpeechConfig("units", str(path), channels=UNITS)
        more = {"audio_channels": UNITS, "speech": build_speech_encoder(speech).fingerprint}
    dataset = write_clips(tmp_path / "clips", **more)

    def run(output: str, steps: int) -> Path:
        end = (f"train.max_steps={steps}", f"train.output={tmp_path / output}")
        config = stage1_config(tmp_path, *words, *end)
        return train(config, GeneratorStrategy(config, dataset), dataset).package

    package = run("whole", 2)
    for steps in (1, 2):
        run("cut", steps)
    whole, cut = (saved(tmp_path / folder, 2) for folder in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    is_said, wanted = OPTIONS[name].said(read_info(package), package)
    assert is_said == wanted
