"""A list of jobs: all bad rows are named before the work, a failed job stops no other, none is done twice."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from stage2_dubber.dub.lists.batch import Batch
from stage2_dubber.dub.lists.job_list import read_jobs
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.result import DubResult

PLACE = ",".join(f"{value:g}" for value in BOX)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "v.mp4", steady(14, 25))
    write_speech(tmp_path / "clips" / "a.wav", 0.56)
    return tmp_path


def _list(folder: Path, *rows: str, columns: str = "video,audio,output,box") -> Path:
    table = folder / "jobs.csv"
    table.write_text("\n".join([columns, *rows]) + "\n")
    return table


def _row(output: str, video: str = "clips/v.mp4") -> str:
    return f'{video},clips/a.wav,{output},"{PLACE}"'


def _made(request: DubRequest) -> DubResult:
    request.output.write_bytes(b"video")
    return DubResult(request.output, 14, 14, {}, ())


def test_all_bad_rows_are_named_before_the_work(folder: Path) -> None:
    table = _list(
        folder,
        _row("out/a.mp4"),
        _row("out/b.mp4", video="nowhere.mp4"),
        _row("out/a.mp4"),
        "clips/v.mp4,clips/a.wav,out/c.mp4,nothing",
        "clips/v.mp4,,out/d.mp4,",
    )
    with pytest.raises(UserError) as refused:
        Batch.read(table)
    said = str(refused.value)
    for part in (
        "line 3: ",
        "nowhere.mp4",
        "line 4: its output is that of line 2",
        "line 5: its box 'nothing'",
    ):
        assert part in said
    assert "line 6: its 'audio' is empty" in said and "line 2:" not in said
    with pytest.raises(UserError, match="unknown column 'voice'"):
        Batch.read(_list(folder, "a,b,c,d", columns="video,audio,output,voice"))


def test_columns_may_be_separated_by_semicolons(folder: Path) -> None:
    """As spreadsheets write them where commas are decimal points."""
    table = _list(folder, f"clips/v.mp4;clips/a.wav;out/a.mp4;{PLACE}", columns="video;audio;output;box")
    (job,) = read_jobs(table, False, lambda _: False, lambda _: False)
    assert job.request.box == tuple(float(part) for part in PLACE.split(","))
    with pytest.raises(UserError, match=r"no column 'video': .* with commas or semicolons between"):
        Batch.read(_list(folder, columns="video\taudio\toutput"))


def test_a_failed_job_stops_no_other_and_is_tried_again(folder: Path) -> None:
    table = _list(folder, _row("a.mp4"), _row("b.mp4"), _row("c.mp4"))
    asked: list[str] = []

    def dub(request: DubRequest) -> DubResult:
        asked.append(request.output.name)
        if request.output.name == "b.mp4" and asked.count("b.mp4") == 1:
            raise ValueError("a bug")
        return _made(request)

    Batch.read(table).run(dub)
    assert asked == ["a.mp4", "b.mp4", "c.mp4"]
    rows = list(csv.DictReader((folder / "jobs.results.csv").open()))
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["message"] == "ValueError: a bug" and rows[0]["dubbed_frames"] == "14"
    (again,) = Batch.read(table).run(dub)
    assert asked[3:] == ["b.mp4"] and again.state == "done"


def test_a_job_that_was_killed_with_its_output_there_is_made_again(folder: Path) -> None:
    """A file that was there before, of somebody else, is not."""
    table = _list(folder, _row("a.mp4"), _row("b.mp4"))

    def dies(request: DubRequest) -> DubResult:
        _made(request)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Batch.read(table).run(dies)
    rows = Batch.read(table).run(_made)
    assert [outcome.state for outcome in rows] == ["done", "done"]
    (folder / "c.mp4").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        Batch.read(_list(folder, _row("a.mp4"), _row("c.mp4")))


def test_two_that_share_a_list_do_each_job_once(folder: Path) -> None:
    table = _list(folder, *(_row(f"{number}.mp4") for number in range(12)))
    asked: list[str] = []
    both = threading.Barrier(2)

    def dub(request: DubRequest) -> DubResult:
        asked.append(request.output.name)
        if len(asked) <= 2:
            both.wait(30)  # so that each has a job while the other has one
        return _made(request)

    batches = [Batch.read(table), Batch.read(table)]
    workers = [threading.Thread(target=batch.run, args=(dub,)) for batch in batches]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(asked) == sorted(f"{number}.mp4" for number in range(12))


def test_the_command_dubs_a_list(folder: Path) -> None:
    model = write_package(folder / "toy")
    columns = "video,audio,output,box,num_steps"
    table = _list(folder, f"{_row('out/a.mp4')},1", f"{_row('out/b.mkv')},1", columns=columns)
    (folder / "clips" / "broken.mp4").write_bytes(b"no video")
    table.write_text(table.read_text() + f"{_row('out/c.mp4', video='clips/broken.mp4')},1\n")
    dry = CliRunner().invoke(app, ["batch", str(table), "--model", str(model), "--dry-run"])
    assert dry.stdout.startswith("preset standard")
    assert (
        dry.exit_code == 0 and len(dry.stdout.splitlines()) == 4 and not (folder / "out" / "a.mp4").exists()
    )
    done = CliRunner().invoke(app, ["batch", str(table), "--model", str(model)])
    assert done.exit_code == 1 and "2 done here, 1 failed" in done.stdout
    assert (folder / "out" / "a.mp4").is_file() and (folder / "out" / "b.mkv").is_file()
    rows = list(csv.DictReader((folder / "jobs.results.csv").open()))
    assert rows[2]["state"] == "failed" and "broken.mp4" in rows[2]["message"]
