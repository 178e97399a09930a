"""The wheel: one package in an environment of its own, which dubs; extras that are missing are told."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from docker_context import copy_context
from dub_clips import BOX, steady, write_clip, write_speech
from processes import REPOSITORY

from bootdub.cli.errors import clean_errors
from common.command import exit_code_of
from common.errors import EXIT_CODE, UserError
from common.extras import EXTRAS, require_extra
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from evaluation.networks.own_judge import SHIPPED_JUDGE
from stage2_dubber.dub.locate import PACKAGED_MODEL

sys.path.insert(0, str(REPOSITORY / "tools" / "packaging"))

from namespacing import MOVED, Namespace, NotRewritten

BUILD = "import sys, bootdub_build; bootdub_build.build_wheel(sys.argv[1])"


def _clean() -> dict[str, str]:
    """The environment's variables without those that lead to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BOOTDUB"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as the Dockerfile does, from the files of the repository that it sees."""
    folder = tmp_path_factory.mktemp("dist")
    context = copy_context(tmp_path_factory.mktemp("context"))
    path = {"PYTHONPATH": str(context / "tools" / "packaging")}
    words = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(words, cwd=context, env={**os.environ, **path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; the libraries are those of the environment that tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, "--no-compile", str(wheel)], env=_clean(), check=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    # A path in a .pth file: what makes our own checkout importable from there is not followed.
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def test_a_wheel_holds_one_package_and_its_record_is_right(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        assert {name.split("/")[0].split("-")[0] for name in names} == {"bootdub"}
        record = next(name for name in names if name.endswith("/RECORD"))
        rows = list(csv.reader(opened.read(record).decode().splitlines()))
        assert [row[0] for row in rows] == names
        assert all(int(row[2]) == opened.getinfo(row[0]).file_size for row in rows if row[2])
        sources = {
            str(path.relative_to(REPOSITORY)) for root in MOVED for path in (REPOSITORY / root).rglob("*.py")
        }
        assert {f"bootdub/{name}" for name in sources} <= set(names)
        for model in (PACKAGED_MODEL, SHIPPED_JUDGE, SHIPPED_PAINTER):
            folder = REPOSITORY / "models" / model.name
            files = {str(path.relative_to(REPOSITORY)) for path in folder.rglob("*") if path.is_file()}
            assert files and {f"bootdub/{name}" for name in files} <= set(names)
        recipe = opened.read("bootdub/configs/recipes/stage1.yaml").decode()
        assert "command: bootdub.stage1_generator.prepare" in recipe


def test_what_is_installed_from_a_wheel_dubs_from_any_folder(environment: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", steady(14, 25))
    write_speech(tmp_path / "speech.wav", 0.8)
    files = ["--video", "clip.mp4", "--audio", "speech.wav", "--output", "dubbed.mp4"]
    box = ",".join(str(value) for value in BOX)
    command = [str(environment / "bin" / "bootdub"), "dub", *files, "--box", box, "--renderer", "editor"]
    done = subprocess.run(command, cwd=tmp_path, env=_clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "14 of 14 frames dubbed" in done.stdout and (tmp_path / "dubbed.mp4").is_file()
    python = [str(environment / "bin" / "python"), "-c"]
    known = "from bootdub import DubPipeline; print(DubPipeline.from_pretrained().info.renderer.value)"
    default = subprocess.run([*python, known], cwd=tmp_path, env=_clean(), capture_output=True, text=True)
    assert default.stdout == "auto\n", default.stderr[-3000:]
    names = ", ".join(MOVED)
    tried = subprocess.run(
        [*python, f"import {names}"],
        cwd=tmp_path,
        env=_clean(),
        capture_output=True,
    )
    assert b"No module named 'common'" in tried.stderr


@pytest.fixture
def namespace() -> Namespace:
    return Namespace(frozenset({"common", "common.files", "common.media", "evaluation", "evaluation.run"}))


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("from common.files import x\n", "from bootdub.common.files import x\n"),
        ("from common import files\n", "from bootdub.common import files\n"),
        ("if True: import common.media\n", "if True: import bootdub.common.media\n"),
        ("import os; import common.media\n", "import os; import bootdub.common.media\n"),
        (
            'x = "common.files.Kind"  # of common.files\n',
            'x = "bootdub.common.files.Kind"  # of bootdub.common.files\n',
        ),
        (
            'x = f"-m common.files {a} {{b}} common.media"\n',
            'x = f"-m bootdub.common.files {a} {{b}} bootdub.common.media"\n',
        ),
        ('x = name.removeprefix("common.")\n', 'x = name.removeprefix("bootdub.common.")\n'),
        ('"""A.\n\ncommon.files is.\n"""\n', '"""A.\n\nbootdub.common.files is.\n"""\n'),
        ("evaluation = f()\ny = evaluation.run\n", None),
        ('x = "uncommon.files, my.common.files, common.sense, in common. Next"\n', None),
        ("from os import path as common\nprint(common.files)\n", None),
        ("from os import common\n", None),
    ],
)
def test_names_of_modules_alone_are_changed(namespace: Namespace, source: str, changed: str | None) -> None:
    assert namespace.python(source, "x.py") == (source if changed is None else changed)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("from . import x\n", "relative import"),
        ("import common.files\nprint(common.files.x)\n", "write 'from ... import ...'"),
    ],
)
def test_what_cannot_be_followed_stops_the_build(namespace: Namespace, source: str, words: str) -> None:
    with pytest.raises(NotRewritten, match=words):
        namespace.python(source, "x.py")


def _missing() -> None:
    raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")


def test_a_package_that_was_left_away_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code_of(_missing) == EXIT_CODE
    with pytest.raises(BaseException, match="2"), clean_errors():
        _missing()
    sentence = "error: This needs the package 'tensorboard', which is not installed: "
    assert capsys.readouterr().err.splitlines() == [sentence + "pip install 'bootdub[train]'."] * 2
    with pytest.raises(ModuleNotFoundError):
        exit_code_of(lambda: __import__("no_such_module"))
    for extra in ("evaluate", "train", "serve"):
        require_extra(extra)
    monkeypatch.setitem(EXTRAS, "serve", ("fastapi", "no_such_module"))
    with pytest.raises(UserError, match=r"'no_such_module'.*bootdub\[serve\]"):
        require_extra("serve")


def test_every_extra_that_is_told_can_be_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        metadata = opened.read(
            next(name for name in opened.namelist() if name.endswith("/METADATA"))
        ).decode()
    for extra, modules in EXTRAS.items():
        wanted = [line for line in metadata.splitlines() if line.endswith(f'extra == "{extra}"')]
        assert len(wanted) >= len(modules) - 1, f"{extra}: {wanted}"
