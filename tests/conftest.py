"""What all tests share: one thread, no network, the footage where it is, small made-up clips."""

import gc
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer.main
from hypothesis import settings

# Before torch and the hubs are imported: tests run beside other work, and never reach outside.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A run of the suite says what the last one said; --hypothesis-profile=default draws anew.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# It tells in a dozen lines of every tensor that is saved, which takes a twentieth of a training's time here.
logging.getLogger("c10d-NullHandler-dcp_logger").disabled = True

# Typer builds all commands anew for each call of one, in 30 ms. Before typer.testing takes it.
typer.main.get_command = cache(typer.main.get_command)

REPOSITORY = Path(__file__).resolve().parent.parent


# Files that take longest, the longest first: begun last they leave the other workers idle.
_LONG = (
    "test_docs_runs",
    "test_dub_resume",
    "test_eval_run",
    "test_own_mouths_job",
    "test_ui",
    "test_training_tools",
    "test_ltx2_training",
    "test_gpu_check",
    "test_wheel",
    "test_media_table",
    "test_training_distributed",
    "test_training_distill",
    "test_dub_length",
    "test_eval_mos",
    "test_ltx2_speaking",
    "test_training_seeing",
    "test_import_memory",
    "test_whole_dubs",
    "test_stage1_own_mouths",
    "test_training_pixels",
    "test_media_smart_render",
    "test_lip_refining",
    "test_dub_cues",
    "test_ltx2_dub",
    "test_training_discriminator",
    "test_dub_pipeline",
    "test_stage1_pipeline",
    "test_stage1_footage",
    "test_own_mouths_place",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is imported while tests are collected (700,000 objects) out of every search for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the others as they were found; tools/test.sh switches off xdist's own order."""
    order = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def shellcheck() -> Callable[[Path], None]:
    """Assert that shellcheck has nothing to say of a script; without shellcheck the test is skipped."""
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")

    def check(script: Path) -> None:
        done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout

    return check


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of development footage; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BOOTDUB_FOOTAGE", REPOSITORY.parent / "shared" / "footage"))
    if not (folder / "dev").is_dir():
        pytest.skip("no footage here (set BOOTDUB_FOOTAGE)")
    return folder


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package bootdub-tiny with two steps of the sampler instead of twelve."""
    from common.models.package_info import read_info, write_info

    folder = tmp_path_factory.mktemp("models") / "bootdub-tiny"
    shutil.copytree(REPOSITORY / "models" / folder.name, folder)
    info = read_info(folder)
    write_info(folder, replace(info, diffusion=replace(info.diffusion, num_steps=2)))
    return folder


def _moving_frames(count: int = 25, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = np.random.default_rng(seed).uniform(0, 6.28, 3)
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    for k in range(count):
        for channel in range(3):
            wave = np.sin(x / 9 + 0.2 * k + phase[channel]) + np.cos(y / 7 - 0.1 * k + phase[channel])
            frames[k, :, :, channel] = 128 + 50 * wave
        # A bar whose place says the frame's number, for tests of order and time.
        frames[k, :8, : 1 + (k * (width - 1)) // max(count - 1, 1)] = 255
    return frames


@pytest.fixture(scope="session")
def moving_frames() -> Callable[..., np.ndarray]:
    """Make smooth moving pictures: (count, height, width, 3) uint8; defaults 25, 64, 96; ``seed=``."""
    return _moving_frames


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """Make a sound that differs at every moment: (samples,) float32, ``seconds``, ``rate=16000``."""

    def make(seconds: float = 1.0, rate: int = 16000, seed: int = 0) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        start = 200 + 50 * (seed % 7)
        return (0.4 * np.sin(2 * np.pi * (start + 150 * t) * t)).astype(np.float32)

    return make


@pytest.fixture
def make_clip(tmp_path: Path, tone: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write a small video with sound and return its path.

    ``make_clip(name="clip.mp4", count=25, height=64, width=96, rate=25, sound=True, seed=0, **options)``;
    ``options`` are the writer's.
    """
    from common.media import save_wav, write_video

    def make(
        name: str = "clip.mp4",
        count: int = 25,
        height: int = 64,
        width: int = 96,
        rate: float = 25,
        sound: bool = True,
        seed: int = 0,
        **options: object,
    ) -> Path:
        path = tmp_path / name
        if sound:
            wav = path.with_name(f"{path.stem}.sound.wav")
            save_wav(wav, tone(count / float(rate), seed=seed), 16000)
            options["audio_from"] = wav
        write_video(path, _moving_frames(count, height, width, seed), rate=rate, **options)
        return path

    return make
