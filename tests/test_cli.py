"""The command line: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from forked_python import forked_python
from rich.console import Console
from typer.testing import CliRunner

from bootdub.cli.errors import clean_errors
from bootdub.cli.main import app
from bootdub.console import ConsoleProgress
from common.media import probe
from stage2_dubber.dub.locate import default_model_path
from stage2_dubber.dub.resume.folder import GOES_ON, folder_of

REPOSITORY = Path(__file__).resolve().parent.parent
PLACE = ",".join(str(round(value)) for value in BOX)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def job(tmp_path: Path, model: Path) -> dict[str, str]:
    """Options of a job that works."""
    return {
        "--video": str(write_clip(tmp_path / "a clip.mp4", steady(14, 25))),
        "--audio": str(write_speech(tmp_path / "speech.wav", 0.56)),
        "--output": str(tmp_path / "out" / "dubbed.mp4"),
        "--model": str(model),
        "--box": PLACE,
    }


def _run(options: dict[str, str], *flags: str) -> tuple[int, str, str]:
    arguments = [part for pair in options.items() for part in pair]
    result = CliRunner().invoke(app, ["dub", *arguments, *flags])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )


def test_a_clip_is_dubbed(job: dict[str, str]) -> None:
    code, out, err = _run(job)
    assert code == 0, err
    assert "14 of 14 frames dubbed" in out
    assert probe(job["--output"]).frame_count == 14
    assert "dubbing: 14/14 frames" in err


def test_an_output_is_replaced_only_when_asked(job: dict[str, str]) -> None:
    output = Path(job["--output"])
    output.parent.mkdir()
    output.write_bytes(b"precious")
    code, _, err = _run(job)
    assert code == 2 and "--overwrite" in err and output.read_bytes() == b"precious"
    assert _run(job, "--overwrite")[0] == 0
    assert probe(output).frame_count == 14


def test_a_damaged_clip_is_dubbed_with_a_warning(job: dict[str, str]) -> None:
    clip = Path(write_clip(Path(job["--video"]).with_suffix(".mkv"), steady(30, 25)))
    clip.write_bytes(clip.read_bytes()[:-4000])
    code, _, err = _run({**job, "--video": str(clip)})
    assert code == 0
    assert "warning: " in err and "Traceback" not in err


def test_a_dry_run_tells_the_plan_and_writes_nothing(job: dict[str, str]) -> None:
    code, out, _ = _run(job, "--dry-run", "--num-steps", "7")
    assert code == 0
    assert "14 model frames in 2 of at most 13 frames, 14 sampler steps" in out
    assert "160x120, 14 frames at 25.000 frames/s" in out
    assert not Path(job["--output"]).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--video": "missing.mp4"}, ["missing.mp4", "does not exist"]),
        ({"--video": "text.mp4"}, ["text.mp4", "not media"]),
        ({"--video": "speech.wav"}, ["speech.wav", "no video stream"]),
        ({"--audio": "a clip.mp4"}, ["a clip.mp4", "no audio stream"]),
        ({"--audio": "empty.wav"}, ["empty.wav", "length zero"]),
        ({"--output": "a clip.mp4"}, ["a clip.mp4", "also an input"]),
        ({"--output": "text.mp4/x.mp4"}, ["text.mp4", "folder"]),
        ({"--output": "/proc/none/x.mp4"}, ["/proc/none", "folder"]),
        ({"--model": "stage1"}, ["stage1", "stage 2 is needed"]),
        ({"--model": "other"}, ["other", "40 pixels"]),
        ({"--model": "strange"}, ["strange", "crop_sise"]),
        ({"--model": "nothing"}, ["nothing", "no model package"]),
        ({"--box": "1,2,3"}, ["'1,2,3'", "four numbers"]),
        ({"--box": "50,50,40,40"}, ["empty"]),
        ({"--num-steps": "0"}, ["num-steps"]),
        ({"--seed": "-1"}, ["seed"]),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, job: dict[str, str], changes: dict[str, str], words: list[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    write_speech(tmp_path / "empty.wav", 0.0)
    if changes.get("--model") == "stage1":
        write_package(tmp_path / "stage1", stage=1)
    elif "--model" in changes and changes["--model"] != "nothing":
        folder = write_package(tmp_path / changes["--model"])
        text = (folder / "bootdub.json").read_text()
        new = {"other": ('"crop_size": 32', '"crop_size": 40'), "strange": ('"crop_size"', '"crop_sise"')}
        (folder / "bootdub.json").write_text(text.replace(*new[changes["--model"]]))
    for key, value in changes.items():
        numeric = key in ("--box", "--num-steps", "--seed")
        job[key] = value if numeric or value.startswith("/") else str(tmp_path / value)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    code, out, err = _run(job)
    assert code == 2
    for word in words:
        assert word in err
    if not any(key in changes for key in ("--num-steps", "--seed")):
        assert err.startswith("error: ") and len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files


def test_a_clip_without_a_face_is_an_error(job: dict[str, str]) -> None:
    del job["--box"]
    code, _, err = _run(job)
    assert code == 2
    assert "No face was found" in err.splitlines()[-1]
    assert not Path(job["--output"]).exists()


def test_the_model_is_found_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, str], model: Path
) -> None:
    del job["--model"]
    monkeypatch.setenv("BOOTDUB_MODEL", str(model))
    assert default_model_path() == model
    assert _run(job, "--dry-run")[0] == 0
    monkeypatch.setenv("BOOTDUB_MODEL", str(model.parent))
    code, _, err = _run(job, "--dry-run")
    assert code == 2 and "BOOTDUB_MODEL" in err


def test_info_prints_the_metadata(model: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(model)])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["geometry"]["crop_size"] == 32
    result = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert result.exit_code == 2 and result.stderr.startswith("error: ")


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; from bootdub.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = [name for name in ('torch', 'diffusers', 'cv2', 'mediapipe', 'av') if name in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr
    assert "dub" in done.stdout
    version = CliRunner().invoke(app, ["--version"])
    assert version.exit_code == 0 and version.stdout.startswith("bootdub 0")


def test_ctrl_c_leaves_no_output_and_says_how_to_go_on(tmp_path: Path, job: dict[str, str]) -> None:
    job["--video"] = str(write_clip(tmp_path / "long.mp4", steady(100, 25)))
    job["--num-steps"] = "500"
    arguments = [part for pair in job.items() for part in pair]
    run = "from bootdub.cli.main import main; main()"
    process = subprocess.Popen(
        [forked_python(), "-c", run, "dub", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        # A suite that runs in the background of a shell has Ctrl-C switched off and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    output = Path(job["--output"])
    deadline = time.monotonic() + 240
    while not list(folder_of(output).glob("faces-*")):
        time.sleep(0.05)
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert list(output.parent.iterdir()) == [folder_of(output)]
    assert "Traceback" not in err and GOES_ON in err
    assert err.strip().splitlines()[-1] == "interrupted: the output was not written"


def test_a_termination_signal_unwinds() -> None:
    unwound = []
    with pytest.raises(SystemExit) as ending, clean_errors():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            unwound.append(True)
    assert ending.value.code == 143 and unwound
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_tells_rate_and_time_left(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bootdub.console.time.monotonic", lambda: now[0])
    shown = io.StringIO()
    with ConsoleProgress(Console(file=shown, force_terminal=terminal, width=120)) as progress:
        for done in range(0, 101, 5):
            progress("dubbing", done, 100)
            now[0] += 2
    text = shown.getvalue()
    assert "dubbing" in text and "100/100 frames" in text
    if not terminal:
        lines = text.splitlines()
        assert lines[0] == "dubbing: 25/100 frames, 2.5 frames/s, 30 s left"
        assert lines[-1] == "dubbing: 100/100 frames, 2.5 frames/s"
        assert len(lines) == 4


def test_the_rate_of_a_job_that_goes_on_is_of_what_is_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bootdub.console.time.monotonic", lambda: now[0])
    shown = io.StringIO()
    with ConsoleProgress(Console(file=shown, width=120)) as progress:
        for done in range(50, 101, 5):
            progress("dubbing", done, 100)
            now[0] += 2
    assert shown.getvalue().splitlines()[0] == "dubbing: 75/100 frames, 2.5 frames/s, 10 s left"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_that_is_told_early_shows_when_it_is_entered(terminal: bool) -> None:
    shown = io.StringIO()
    progress = ConsoleProgress(Console(file=shown, force_terminal=terminal, width=120))
    for done in range(1, 5):
        progress("finding face", done, 4)
    assert shown.getvalue() == ""
    with progress:
        progress("dubbing", 1, 1)
    assert "finding face" in shown.getvalue() and "4/4 frames" in shown.getvalue()
