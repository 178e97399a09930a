"""Whole evaluations of drawn clips: dubs of both stages, probes, tables, the report, going on after a cut."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from dub_clips import write_package
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.options import SamplingOptions
from common.diffusion.sampler import EulerSampler
from common.errors import UserError
from common.media import read_frames
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from common.rendered.clips import ClipRequest, make_clips
from evaluation.command import EvaluationRequest, evaluate_cases, listening_items, plan_lines
from evaluation.loading import CaseLoader
from evaluation.manifest import Case, read_manifest
from evaluation.results_file import read_json as read_results
from evaluation.systems import build_system, build_systems
from stage2_dubber.dub.locate import default_model_path

SECONDS = 0.52  # frames of one window
Done = tuple[Path, EvaluationRequest]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one drawn character whose true answer is known."""
    folder = tmp_path_factory.mktemp("drawn")
    make_clips(
        ClipRequest(1_000_300, SECONDS, size=96, style="realistic", occluder="none", pair=True), folder
    )
    with (folder / "m.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "video", "audio", "truth", "group", "track", "audio_track", "scene"])
        name = "r1000300"
        tracks = [f"{name}_{letter}.track.safetensors" for letter in "ab"]
        row = ["one", f"{name}_a.mp4", f"{name}_b.mp4", f"{name}_b.mp4", "front", *tracks, f"{name}.json"]
        writer.writerow(row)
    return folder / "m.csv"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    return {
        "editor": write_package(folder / "editor"),
        "generator": write_package(folder / "generator", stage=1),
    }


def request(drawn: Path, output: Path, *systems: str, **more: Any) -> EvaluationRequest:
    cases = tuple(read_manifest(drawn))
    known: dict[str, Any] = {"title": "toy", "cases": cases, "output": output, "systems": systems}
    return EvaluationRequest(**known, **more)


@pytest.fixture(scope="module")
def done(drawn: Path, packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Done:
    output = tmp_path_factory.mktemp("evaluated") / "out"
    asked = request(
        drawn,
        output,
        f"ours={packages['editor']}",
        f"painter={packages['generator']}",
        "copy",
        probes=("silence", "self", "cycle"),
    )
    lines = list(evaluate_cases(asked))
    assert lines[-1] == f"report: {output / 'report.html'}"
    return output, asked


def test_every_system_gets_every_row_and_copying_scores_as_it_must(
    done: Done,
) -> None:
    results = read_results(done[0] / "results.json")
    assert results.systems == ("ours", "painter", "copy-input")
    rows = {(row.system, row.kind): row for row in results.rows}
    assert len(results.rows) == len(rows) == 12
    assert all(row.error is None for row in results.rows)
    copied = rows["copy-input", "cross"].values
    assert copied["psnr_background"] == 100 and copied["sharpness_mouth"] == pytest.approx(1)
    assert copied["lip_leak"] > 0.9
    # Of the own words the untouched video is the right answer.
    own = rows["copy-input", "self"].values
    assert own["truth_psnr_mouth"] == 100 and own["mouth_r"] == pytest.approx(1)
    assert "lsd_own" in copied or "lse_c_own" not in copied
    assert "cycle_mouth" in rows["ours", "cycle"].values
    assert "silence_closed" in rows["ours", "silence"].values


def test_dubs_are_real_videos_of_the_sources_length(done: Done, drawn: Path) -> None:
    source = read_frames(drawn.parent / "r1000300_a.mp4")
    for system in ("ours", "painter"):
        made = read_frames(done[0] / "dubs" / system / "one.mp4")
        assert made.shape == source.shape
        assert not np.array_equal(made, source)


@pytest.mark.parametrize("frames", [0, 3, -2])
def test_lips_are_compared_with_the_mouth_when_its_sound_is_heard(drawn: Path, frames: int) -> None:
    case = read_manifest(drawn)[0]
    loader = CaseLoader()
    shown = loader.prepare(case).driver_opening
    heard = loader.prepare(replace(case, sound_delay=frames / 25)).driver_opening
    assert shown is not None and heard is not None and len(shown) == len(heard)
    at = np.arange(len(shown)) - frames
    known = (at >= 0) & (at < len(shown))
    np.testing.assert_array_equal(heard[known], shown[at[known]])
    assert np.isnan(heard[~known]).all()


def test_the_second_run_makes_nothing_anew_and_says_the_same(done: Done) -> None:
    output, asked = done
    kept = {
        path: path.stat().st_mtime_ns for part in ("dubs", "rows") for path in (output / part).rglob("*.*")
    }
    before = json.loads((output / "results.json").read_text())
    list(evaluate_cases(asked))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads((output / "results.json").read_text()) == before


def test_a_row_that_was_lost_is_measured_again_from_its_dub(done: Done) -> None:
    output, asked = done
    lost = output / "rows" / "ours" / "one.json"
    content, dub = json.loads(lost.read_text()), output / "dubs" / "ours" / "one.mp4"
    made = dub.stat().st_mtime_ns
    lost.unlink()
    list(evaluate_cases(asked))
    assert json.loads(lost.read_text()) == content
    assert dub.stat().st_mtime_ns == made


def test_outputs_of_others_are_found_by_name_and_missing_ones_are_errors(
    done: Done, drawn: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "one.mp4").write_bytes((drawn.parent / "r1000300_b.mp4").read_bytes())
    asked = request(drawn, tmp_path / "out", str(theirs), probes=("silence",), pictures=False)
    lines = list(evaluate_cases(asked))
    cross, silence = read_results(tmp_path / "out" / "results.json").rows
    # They handed in the truth.
    assert cross.values["mouth_r"] > 0.95 and cross.values["truth_psnr_mouth"] == 100
    assert silence.success is False and "one+silence" in (silence.error or "")
    assert any("no dub: theirs, one+silence" in line for line in lines)


def test_raters_can_be_asked_about_it(done: Done) -> None:
    items, left_out = listening_items(done[0], ["ours", "copy-input"])
    assert [item.name for item in items] == ["one", "one+self"] and not left_out
    assert items[0].original.name == "r1000300_b.mp4" and list(items[0].videos) == ["ours", "copy-input"]


def test_a_plan_names_rows_systems_and_metrics(drawn: Path, tmp_path: Path) -> None:
    lines = plan_lines(request(drawn, tmp_path / "never", "copy", probes=("cycle",)))
    assert lines[0].startswith("2 rows (1 cross, 0 self, 0 silence, 1 cycle)")
    assert lines[1] == "1 systems: copy-input" and "mouth_r" in lines[2]
    assert not (tmp_path / "never").exists()


def test_the_command_takes_the_default_model_and_its_options(drawn: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--manifest", str(drawn), "--output", str(tmp_path / "never"), "--dry-run"]
    plain = CliRunner().invoke(app, [*words, "--probe", "silence"])
    assert plain.exit_code == 0 and not (tmp_path / "never").exists()
    assert "2 rows (1 cross, 0 self, 1 silence, 0 cycle)" in plain.output
    assert f"2 systems: {default_model_path().name}, copy-input" in plain.output
    refused = CliRunner().invoke(app, [*words, "--passes", "0"])
    assert refused.exit_code == 2 and "--passes" in click.unstyle(refused.output)


def test_sampler_options_reach_the_models(
    drawn: Path, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(drawn, tmp_path, str(packages["editor"]), sampling=SamplingOptions(num_steps=3, passes=2))
    seen: list[EulerSampler] = []
    sample = EulerSampler.sample
    monkeypatch.setattr(
        EulerSampler, "sample", lambda self, *given: (seen.append(self), sample(self, *given))[1]
    )
    list(evaluate_cases(replace(asked, pictures=False)))
    assert seen and all((one.num_steps, one.passes) == (3, 2) for one in seen)


def test_systems_are_refused_by_a_sentence(tmp_path: Path, packages: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="does not exist"):
        build_system(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="Two systems are called"):
        build_systems(["copy", "copy"])
    with pytest.raises(UserError, match="empty name"):
        build_system("=copy")
    for words in ("num_steps=many", "speed=2", "num_steps", "compositing=glue"):
        with pytest.raises(UserError, match="option that cannot be read"):
            build_system(f"{packages['editor']}?{words}")
    for what in ("copy", str(packages["generator"])):
        with pytest.raises(UserError, match="no model package of stage 2"):
            build_system(f"{what}?num_steps=2")
    with pytest.raises(UserError, match="nothing to evaluate"):
        list(evaluate_cases(EvaluationRequest("t", (), tmp_path, ("copy",))))


def test_one_package_is_compared_with_itself_under_other_options(packages: dict[str, Path]) -> None:
    words = [str(packages["editor"]), f"{packages['editor']}?num_steps=2&compositing=residual"]
    plain, other = build_systems(words)
    assert other.name == f"{plain.name}-2-residual"
    assert other.fingerprint != plain.fingerprint
    named = build_system(f"soft={words[1]}")
    assert (named.name, named.fingerprint) == ("soft", other.fingerprint)


def test_another_painter_of_mouths_is_another_system(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"{packages['editor']}?renderer={renderer}" for renderer in ("own-mouths", "editor")]
    before = [build_system(word).fingerprint for word in words]
    shutil.copytree(SHIPPED_PAINTER.folder(), tmp_path / "painter")
    settings = tmp_path / "painter" / "config.json"
    settings.write_text(settings.read_text() + "\n")
    monkeypatch.setenv("BOOTDUB_MOUTH_PAINTER", str(tmp_path / "painter"))
    mouths, editor = (build_system(word).fingerprint for word in words)
    assert mouths != before[0] and editor == before[1]


def test_a_damaged_source_is_a_row_with_an_error_and_the_others_go_on(drawn: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    good = read_manifest(drawn)[0]
    bad = Case("bad", broken, good.audio, good.kind)
    list(evaluate_cases(EvaluationRequest("t", (bad, good), tmp_path / "out", ("copy",), pictures=False)))
    first, second = read_results(tmp_path / "out" / "results.json").rows
    assert first.error is not None and "broken.mp4" in first.error
    assert second.error is None and second.values
