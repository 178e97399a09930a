"""Stage 1 in parts: every video in one of them, the same shards by two workers, and what it takes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from stage1_clips import write_clip, write_config

from common.config import load_config
from common.errors import UserError
from stage1_generator.cluster import main, part_folder, run_part
from stage1_generator.config import PrepareConfig, Stage1Config
from stage1_generator.footage.videos import find_videos, part_of
from stage1_generator.work.measured import StepRate, estimate, measured_rates

PARTS = 3
ANN, BOB = "ann", "cleo"  # of different parts


def test_every_video_is_in_one_part_with_its_speaker(tmp_path: Path) -> None:
    for speaker in range(9):
        for clip in range(2):
            path = tmp_path / str(speaker) / f"{clip}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    whole = PrepareConfig(videos=str(tmp_path), speaker_from="folder")
    found: dict[str, set[str]] = {}
    for number in range(4):
        part = PrepareConfig(videos=str(tmp_path), speaker_from="folder", part=f"{number}/4")
        found[part.part] = {video.name for video in find_videos(part)}
    names = [name for part in found.values() for name in part]
    assert sorted(names) == sorted(video.name for video in find_videos(whole))
    speakers = [{name.split("/")[0] for name in part} for part in found.values()]
    assert sum(map(len, speakers)) == 9
    for wrong in ("4/4", "1", "a/b", "-1/2"):
        with pytest.raises(UserError, match="write K/N"):
            find_videos(PrepareConfig(videos=str(tmp_path), part=wrong))


def test_an_estimate_multiplies_what_was_measured() -> None:
    rates = [StepRate("prepare", 2.0, 1.0, 1e6), StepRate("encode", 0.5, 0.8, 2e6)]
    *steps, both, workers, cost = [line.split() for line in estimate(rates, 1000, 10, 4, 0.05)][1:]
    assert steps == [["prepare", "2", "500", "3.6"], ["encode", "0.5", "1,600", "7.2"]]
    assert both == ["all", "2,100", "10.8"]
    assert workers[-4:] == ["52", "hours", "(2.2", "days)"] and cost[-1] == "105"


def _words(folder: Path) -> list[str]:
    assert part_of(ANN, PARTS) != part_of(BOB, PARTS)
    videos = folder / "videos"
    videos.mkdir()
    write_clip(videos, "one", 30, 1, speaker=ANN)
    write_clip(videos, "two", 20, 2, speaker=BOB)
    words = write_config(folder, videos, folder / "two", "prepare.min_seconds=0.4")
    return [word for word in words if not word.startswith("work=")]


def test_a_run_is_measured_and_a_dry_run_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, number = _words(tmp_path), part_of(ANN, PARTS)
    assert run_part(number, PARTS, str(tmp_path / "one"), words, ["prepare", "encode"]).code == 0
    end = run_part(number, PARTS, str(tmp_path / "one"), words, ["prepare", "pack"])
    assert (end.step, end.code) == ("pack", 2) and "error: " in end.said
    work = part_folder(str(tmp_path / "one"), number)
    files = [tmp_path / name for name in ("base.yaml", "overlay.yaml")]
    prepare, encode = measured_rates(load_config(Stage1Config, files, [f"work={work}"]))
    assert (prepare.name, prepare.share) == ("prepare", 1.0)
    assert (
        encode.share == pytest.approx(27 / 30) and encode.bytes > 0 < encode.rate
    )  # three clips of nine frames
    told = ["--dry-run", "--measured", str(work), "--hours", "50", "--workers", "2", "--price", "1"]
    assert main([*words, f"work={tmp_path / 'none'}", *told]) == 0
    assert "50 hours of video" in capsys.readouterr().out
    assert main([*words, f"work={tmp_path / 'none'}", *told[:1], "--measured", str(tmp_path)]) == 2


@pytest.mark.skipif(find_spec("ray") is None, reason="no ray here: pip install -e '.[ray]'")
def test_two_workers_write_the_shards_of_one(tmp_path: Path) -> None:
    words, parts = _words(tmp_path), sorted({part_of(ANN, PARTS), part_of(BOB, PARTS)})
    for number in parts:
        run_part(number, PARTS, str(tmp_path / "one"), words, ["prepare", "encode"])
    spread = ["--ray", "local", "--workers", "2", "--parts", str(PARTS)]
    assert main([*words, f"work={tmp_path / 'two'}", *spread]) == 0
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.tar")}
        for name in ("one", "two")
    )
    assert len(one) == 2 and one == two
