"""What commands import: a dub by own mouths nothing of the model's libraries, ``--help`` nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dub_clips import BOX, steady, write_clip, write_speech

from common.face.canonical import face_in_box, opened_face_points
from common.face.layout import JAW, OUTER_LIP
from common.files import write_json

REPOSITORY = Path(__file__).resolve().parent.parent
# Of the transformer, and seconds to import.
MODEL_LIBRARIES = ("diffusers", "transformers", "peft", "accelerate", "torch._dynamo")
# Parts of libraries that a dub uses other parts of: a quarter of a second each, and more.
NOT_ALL_OF = ("matplotlib", "sympy", "scipy.optimize", "scipy.interpolate", "scenedetect.backends")

_RUN = """
import json, sys
from bootdub.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def run(*words: str, code: int = 0) -> tuple[set[str], str]:
    """The modules that a ``bootdub`` command has imported when it ends, and what it has printed."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, told = done.stdout.rstrip().rsplit("\n", 1)
    ended, modules = json.loads(told)
    assert ended == code, done.stderr
    return set(modules), printed + done.stderr


def write_track(path: Path, frames: int) -> Path:
    """Landmarks of a face that opens and closes its mouth."""
    shut, opened = face_in_box(np.array(BOX, np.float32)), opened_face_points()
    lower = [*JAW, *OUTER_LIP[7:], *range(65, 68)]
    scale = np.ptp(shut[:, 0]) / np.ptp(opened[:, 0])
    # Only what the jaw takes along moves; the rest of the head stays.
    fallen = scale * (opened[lower, 1] - opened[27, 1]) - (shut[lower, 1] - shut[27, 1])
    rows = []
    for index in range(frames):
        points = shut.astype(np.float64)
        points[lower, 1] += fallen * np.sin(np.pi * index / 8) ** 2
        rows.append(points.tolist())
    write_json(path, {"landmarks": rows})
    return path


def python(*words: str) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_is_imported_without_the_libraries_of_the_model() -> None:
    code = "import sys, bootdub; print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    assert python("-c", code).strip() == "[]"


def test_the_pipeline_is_reachable_from_the_package() -> None:
    import bootdub
    from stage2_dubber.dub.pipeline import DubPipeline

    assert bootdub.DubPipeline is DubPipeline and "DubPipeline" in dir(bootdub)


def test_the_module_and_the_command_print_the_same_help() -> None:
    command = "from bootdub.cli.main import main; import sys; sys.argv = ['bootdub', '--help']; main()"
    assert python("-m", "bootdub", "--help") == python("-c", command) != ""


@pytest.mark.parametrize("words", [("--help",), ("dub", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    modules, _ = run(*words)
    assert not modules & {"torch", "numpy", "cv2", "av", "scipy", "mediapipe", *MODEL_LIBRARIES}


def test_bad_input_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    words = ("--video", str(tmp_path / "none.mp4"), "--audio", "x.wav", "--output", str(tmp_path / "o.mp4"))
    modules, printed = run("dub", *words, code=2)
    assert "does not exist" in printed
    assert not modules & {"torch", "scipy", "mediapipe", *MODEL_LIBRARIES}


def test_a_model_that_is_not_there_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mkv", steady(3, 25), lossless=True)
    audio = write_speech(tmp_path / "speech.wav", 0.1)
    words = ("--video", str(video), "--audio", str(audio), "--output", str(tmp_path / "o.mp4"))
    modules, printed = run("dub", *words, "--model", str(tmp_path / "none"), code=2)
    assert "no model package there" in printed
    assert not modules & {"torch", "scipy", "mediapipe", *MODEL_LIBRARIES}


@pytest.mark.parametrize(
    "words",
    [
        ("info", "none"),
        ("batch", "none.csv"),
        ("import-xdub", "none", "--output", "new"),
        ("evaluate", "--manifest", "none.csv", "--output", "new"),
        ("curate", "none", "--output", "new.csv", "--rule", "front"),
        ("occlude", "none.csv", "--output", "new"),
        ("mos", "make", "--results", "none", "--output", "new"),
        ("mos", "score", "--key", "none.json", "--answers", "none", "--output", "new"),
    ],
)
def test_an_input_that_is_not_there_is_told_before_heavy_libraries_are_imported(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    places = [str(tmp_path / word) if word.startswith(("none", "new")) else word for word in words]
    modules, printed = run(*places, code=2)
    assert "error: " in printed and str(tmp_path / "none") in printed
    assert not modules & {"torch", "cv2", "scipy", "mediapipe", *MODEL_LIBRARIES}
    assert not list(tmp_path.iterdir())


def test_a_dub_by_own_mouths_does_without_the_libraries_of_the_model(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mkv", steady(32, 25), lossless=True)
    words = {
        "--video": video,
        "--audio": write_speech(tmp_path / "speech.wav", 1.3),
        "--track": write_track(tmp_path / "track.json", 32),
        "--output": tmp_path / "dubbed.mp4",
        "--model": REPOSITORY / "models" / "bootdub-small",
        "--renderer": "own-mouths",
    }
    modules, printed = run("dub", *(str(word) for pair in words.items() for word in pair))
    assert "32 of them with the clip's own mouths" in printed
    assert (tmp_path / "dubbed.mp4").is_file()
    assert not modules & {*MODEL_LIBRARIES, *NOT_ALL_OF}


def test_what_finds_and_follows_faces_does_without_torch() -> None:
    modules = "stage2_dubber.dub.faces.follow, stage2_dubber.dub.editing.ahead, mediapipe"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
