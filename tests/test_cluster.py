"""A list of jobs on two workers of a Ray cluster: the files of one process, kills included."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from typer.testing import CliRunner

from bootdub.cli.main import app
from bootdub.cluster.dubbers import ClusterDubbers
from bootdub.cluster.worker import WorkerOptions
from common.cluster import LOCAL, share
from common.errors import UserError
from common.files import write_json
from stage2_dubber.dub.resume.folder import folder_of

FRAMES = 510  # three pieces
FACES = (range(0, 14), range(300, 314))


@pytest.mark.parametrize(
    ("cpus", "gpus", "wanted", "given"),
    [
        ([16, 16], 0, None, (8, 4)),
        ([2], 0, None, (1, 2)),
        ([2], 0, 2, (2, 1)),
        ([4, 12], 0, 3, (3, 4)),
        ([64], 8, None, (8, 8)),
        ([200], 0, 2, (2, 16)),
    ],
)
def test_cpus_are_shared_by_the_workers(
    cpus: list[int], gpus: int, wanted: int | None, given: tuple[int, int]
) -> None:
    assert share(cpus, gpus, wanted) == given


def test_more_workers_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(UserError, match="There are 6 CPUs"):
        share([4, 2], 0, 7)
    with pytest.raises(UserError, match="There are 1 GPUs"):
        share([4], 1, 2)


def test_options_of_a_cluster_need_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text("video,audio,output\n")
    refused = CliRunner().invoke(app, ["batch", str(table), "--workers", "2"])
    assert refused.exit_code == 2 and "give --ray, too" in refused.output
    monkeypatch.setattr("common.extras.find_spec", lambda name: None)
    refused = CliRunner().invoke(app, ["batch", str(table), "--ray", LOCAL])
    assert refused.exit_code == 2 and "pip install 'bootdub[ray]'" in refused.output


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="no ray here: pip install -e '.[ray]'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "toy")
    write_clip(tmp_path / "film.mp4", steady(FRAMES, 25))
    write_clip(tmp_path / "clip.mp4", steady(14, 25))
    seen = [list(BOX) if any(i in run for run in FACES) else None for i in range(FRAMES)]
    write_json(tmp_path / "boxes.json", {"boxes": seen})
    write_speech(tmp_path / "a.wav", 0.56)
    return tmp_path


def _list(folder: Path, name: str) -> Path:
    table, place = folder / f"{name}.csv", ",".join(f"{value:g}" for value in BOX)
    table.write_text(
        "video,audio,output,track,box,smart_render,num_steps,passes\n"
        f"film.mp4,a.wav,{name}/film.mp4,boxes.json,,no,1,1\n"
        f'clip.mp4,a.wav,{name}/clip.mp4,,"{place}",no,1,1\n'
        f'clip.mp4,clip.mp4,{name}/silent.mp4,,"{place}",no,1,1\n'
    )
    return table


def _kill_once(film: Path, killed: list[int]) -> None:
    """Kill the workers when the first piece of the film is there."""
    while not list(folder_of(film).glob("dubbed-*")):
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # gone meanwhile
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::ClusterWorker"):
                process.kill()
                killed.append(process.pid)


@needs_ray
def test_two_workers_make_the_files_of_one_process(folder: Path) -> None:
    words = ["--model", str(folder / "toy"), "--device", "cpu", "--dtype", "float32"]
    alone = CliRunner().invoke(app, ["batch", str(_list(folder, "one")), *words])
    assert alone.exit_code == 1, alone.output  # of the job without speech
    killed: list[int] = []
    film = folder / "two" / "film.mp4"
    killer = threading.Thread(target=_kill_once, args=(film, killed), daemon=True)
    killer.start()
    spread = CliRunner().invoke(
        app,
        [
            "batch",
            str(_list(folder, "two")),
            *words,
            "--ray",
            LOCAL,
            "--workers",
            "2",
            "--split-minutes",
            "0.1",
        ],
    )
    assert spread.exit_code == 1, spread.output
    killer.join(60)
    assert killed
    for name in ("film.mp4", "clip.mp4"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes()
    said = [(folder / f"{name}.results.csv").read_text() for name in ("one", "two")]
    assert all(text.count("failed") == text.count("has no audio stream") == 1 for text in said), said
    assert not list((folder / "two").glob(".part-*"))


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, address: str) -> None:
    options = WorkerOptions(tmp_path, "cpu", "auto", "auto")
    with pytest.raises(UserError, match=f"No Ray cluster answers at '{address}'"):
        ClusterDubbers(address, options, 1, 60).__enter__()
