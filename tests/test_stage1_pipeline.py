"""Stage 1 from videos to pair shards: the real commands on small clips with an untrained autoencoder."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from forked_python import forked_python
from processes import errors, kill, start_command
from safetensors.torch import load as load_tensors
from stage1_clips import STEPS, write_clip, write_config

from common.data.batch import collate
from common.data.dataset import ShardDataset
from common.data.prepared import load_prepared
from common.data.schema import decode_video
from common.files import read_json
from common.media import read_frames
from stage1_generator import prepare, synthesize
from stage1_generator.companions.plan import Speakable, plan_pairs

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A work folder in which every step ran, and the words that ran it."""
    folder = tmp_path_factory.mktemp("stage 1")
    videos = folder / "my videos"
    videos.mkdir()
    write_clip(videos, "ann one", 40, 1, speaker="ann")
    write_clip(videos, "ann two", 30, 2, speaker="ann", occluded=True)
    write_clip(videos, "lone", 14, 3)
    write_clip(videos, "too short", 8, 4)
    words = write_config(folder, videos, folder / "work", "prepare.min_seconds=0.4")
    assert STEPS["prepare"](words) == 0
    words.append(f"synthesis.seed={_seed_that_lets_lone_speak(folder / 'work')}")
    for step in STEPS.values():
        assert step(words) == 0
    return folder / "work", words


def _seed_that_lets_lone_speak(work: Path) -> int:
    """Which clips are silent depends on their files, whose bytes depend on the processor."""
    (lone,) = [entry for entry in load_prepared(work / "prepared") if entry.id.startswith("lone-")]
    voice = Speakable(lone.id, lone.speaker, "", 0, np.ones(lone.frames, bool))
    return next(
        seed
        for seed in itertools.count()
        if plan_pairs([voice], length=13, seed=seed, silence_fraction=0.25)[1]
    )


def _tars(work: Path) -> dict[str, str]:
    return {
        str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(work.rglob("*.tar"))
    }


def _stamps(work: Path) -> dict[str, int]:
    """When each result was written; the training run's own folder is its own affair."""
    made = [path for kind in ("*.mkv", "*.tar", "*.safetensors") for path in work.rglob(kind)]
    made = [path for path in made if work / "generator" not in path.parents]
    return {str(path.relative_to(work)): path.stat().st_mtime_ns for path in made}


def test_every_step_passes_over_what_is_done(done: tuple[Path, list[str]]) -> None:
    work, words = done
    before = _stamps(work)
    assert any(name.endswith(".tar") for name in before)
    for step in STEPS.values():
        assert step(words) == 0
    assert _stamps(work) == before


def test_plain_webdataset_code_reads_the_pairs(done: tuple[Path, list[str]]) -> None:
    work, _ = done
    urls = [str(path) for path in sorted((work / "pairs").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == read_json(work / "report.json")["pack"]["samples"] > 0
    for sample in samples:
        meta = json.loads(sample["meta.json"])
        assert meta["kind"] == "generated" and meta["frames"] == 13 and meta["speaker"] == "ann"
        for member in ("target.mkv", "source.mkv"):
            assert decode_video(sample[member]).shape == (13, 32, 32, 3)
        cache = load_tensors(sample["cache.safetensors"])
        assert cache["target_latents"].shape == cache["source_latents"].shape == (4, 4, 4, 4)
        arrays = load_tensors(sample["arrays.safetensors"])
        assert arrays["landmarks"].shape == (13, 68, 3) and arrays["lip_mask"].shape == (4, 4, 4)
        assert arrays["lip_mask"].any() and arrays["lower_face_mask"].any()


def test_both_sets_of_shards_make_batches(done: tuple[Path, list[str]]) -> None:
    work, _ = done
    clips = ShardDataset(work / "encoded")
    batch = collate([clips.sample(0), clips.sample(1)], extra_window=4)
    assert batch.reference_latents.shape == (2, 4, 2, 4, 4)
    assert batch.masked_latents is not None and batch.masked_latents.shape == batch.target_latents.shape
    assert batch.audio_features.shape == (2, 3, 16, 80)
    pairs = ShardDataset(work / "pairs")
    assert collate([pairs.sample(0)], extra_window=4).reference_latents.shape == (1, 4, 4, 4, 4)


def test_companions_keep_every_pixel_outside_the_inpainted_region(done: tuple[Path, list[str]]) -> None:
    work, _ = done
    for sample in (ShardDataset(work / "pairs").sample(i) for i in range(2)):
        changed = (sample.target != sample.source).any(axis=3)
        assert changed.any(), "the mouth is made anew"
        # The upper rows of the crop are forehead and background.
        assert not changed[:, :8].any()


def test_occluders_stay_the_originals(done: tuple[Path, list[str]]) -> None:
    work, _ = done
    found = 0
    for folder in sorted((work / "blended").glob("ann-two-*")):
        entry, start = folder.name.rsplit("_", 1)
        packed = load_tensors((work / "prepared" / entry / "track.safetensors").read_bytes())["occluder"]
        occluder = np.unpackbits(packed.numpy(), axis=2, count=32).astype(bool)[int(start) : int(start) + 13]
        original = read_frames(work / "prepared" / entry / "crop.mkv", int(start), 13)
        companion = read_frames(folder / "companion.mkv")
        assert occluder.any()
        np.testing.assert_array_equal(companion[occluder], original[occluder])
        found += 1
    assert found


def test_masked_latents_say_nothing_of_the_lips(done: tuple[Path, list[str]]) -> None:
    """What differs between target and masked video lies inside the lower-face mask's reach."""
    work, _ = done
    sample = ShardDataset(work / "encoded").sample(0)
    difference = (sample.cache["target_latents"] - sample.cache["masked_latents"]).float().abs()
    assert difference.max() > 0
    assert sample.arrays["lower_face_mask"].float().mean() > 0.1


def test_nothing_is_dropped_silently(done: tuple[Path, list[str]]) -> None:
    work, _ = done
    content = read_json(work / "report.json")
    (left_out,) = content["prepare"]["left_out"]
    assert left_out["video"] == "too short.mp4" and "8 frames" in left_out["reason"]
    (lone,) = content["synthesize"]["without_companion"]
    assert lone["key"].startswith("lone-") and "speaker lone.mp4" in lone["reason"]
    planned = content["synthesize"]
    assert planned["clips"] == 3 + 2 + 1 and planned["companions"] == 5
    assert content["filter"]["judged"] == 5
    # Without insightface's models identity cannot be measured; it must say so.
    identity = content["filter"]["filters"]["identity"]
    assert identity["passed"] + identity["rejected"] + sum(identity["not_measured"].values()) == 5
    text = (work / "report.md").read_text()
    assert "too short.mp4" in text and "no other stretch of speech" in text


def test_a_strict_filter_rejects_with_its_reason(done: tuple[Path, list[str]], tmp_path: Path) -> None:
    work, words = done
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    strict = [*words, f"work={copy}", "filters.lip_change_min=0.9"]
    for step in ("filters", "pack", "report"):
        assert STEPS[step](strict) == 0
    content = read_json(copy / "report.json")
    assert content["filter"]["accepted"] == 0 and content["pack"]["samples"] == 0
    assert all("lip_change is" in row["reasons"][0] for row in content["filter"]["rejected"])


def test_killed_in_the_middle_it_ends_with_the_same_tars(
    done: tuple[Path, list[str]], tmp_path: Path
) -> None:
    work, words = done
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    for name in ("companions", "blended", "filter", "pairs"):
        shutil.rmtree(copy / name)
    words = [*words, f"work={copy}"]
    process = start_command(tmp_path / "log", "-m", "stage1_generator.synthesize", *words)
    try:
        limit = time.monotonic() + 300
        while not list((copy / "companions").glob("*/meta.json")):
            assert process.poll() is None and time.monotonic() < limit, errors(tmp_path / "log")
            time.sleep(0.02)
    finally:
        kill(process)
    made = len(list((copy / "companions").glob("*/meta.json")))
    assert 0 < made < 5
    for step in ("synthesize", "blend", "filters", "pack"):
        assert STEPS[step](words) == 0
    assert _tars(copy) == _tars(work)


def test_a_companion_does_not_depend_on_its_batch(done: tuple[Path, list[str]], tmp_path: Path) -> None:
    work, words = done
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    shutil.rmtree(copy / "companions")
    assert synthesize.main([*words, f"work={copy}", "synthesis.batch_clips=5"]) == 0
    for folder in (work / "companions").glob("*/"):
        ours, theirs = (
            read_frames(path / folder.name / "generated.mkv")
            for path in (work / "companions", copy / "companions")
        )
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_changed_settings_are_not_taken_for_done(done: tuple[Path, list[str]], tmp_path: Path) -> None:
    work, words = done
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    words = [*words, f"work={copy}", "geometry.crop_scale=1.8"]
    assert prepare.main(words) == 0
    old, new = (read_json(place / "prepared" / "index.json")["entries"] for place in (work, copy))
    assert len(old) == len(new) and not set(old) & set(new)
    assert synthesize.main(words) == 2, "the generator was trained with another crop"


def _shell(arguments: list[str], tmp_path: Path) -> tuple[int, list[list[str]], str]:
    """Run tools/run_stage1.sh with a stand-in for Python that writes down how the steps were called."""
    stub = tmp_path / "stub"
    log = tmp_path / "calls"
    stub.write_text(
        "#!/usr/bin/env bash\n"
        f'if [[ "$2" == common.recipes ]]; then exec {shlex.quote(forked_python())} "$@"; fi\n'
        'printf "%s\\x1f" "$@" >> "$CALLS"; printf "\\n" >> "$CALLS"\n'
    )
    stub.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(stub), "CALLS": str(log)}
    run = subprocess.run(
        ["bash", str(REPOSITORY / "tools" / "run_stage1.sh"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = log.read_text().splitlines() if log.is_file() else []
    return run.returncode, [line.rstrip("\x1f").split("\x1f") for line in lines], run.stderr


def test_the_script_runs_all_steps_in_order_with_spaces_in_names(tmp_path: Path) -> None:
    code, calls, _ = _shell(
        [
            "--videos",
            "my ann's videos",
            "--work",
            "out dir",
            "--config",
            "my own.yaml",
            "more.yaml",
            "train.max_steps=3",
        ],
        tmp_path,
    )
    assert code == 0
    assert [call[1].removeprefix("stage1_generator.") for call in calls] == list(STEPS)
    for call in calls:
        assert {"prepare.videos='my ann''s videos'", "work='out dir'", "train.max_steps=3"} <= set(call)
        configs = [Path(word).name for word in call if word.endswith(".yaml")]
        assert configs == ["my own.yaml", "stage1.yaml", "more.yaml"]


def test_the_script_refuses_unknown_arguments(tmp_path: Path) -> None:
    code, calls, message = _shell(["--vidoes", "x"], tmp_path)
    assert code == 2 and not calls and "--vidoes" in message
    code, calls, message = _shell(["--videos"], tmp_path)
    assert code == 2 and not calls and "needs a value" in message


def test_config_mistakes_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write_config(tmp_path, tmp_path, tmp_path / "work")
    for mistake, part in (
        ("pairs.clip_frames=24", "pairs.clip_frames"),
        ("pears.clip_frames=25", "pears"),
        ("model.condition_channels=0", "condition_channels"),
    ):
        assert prepare.main([*words, mistake]) == 2
        assert part in capsys.readouterr().err
