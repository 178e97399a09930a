"""Modules of a package that come alone, and the package when it is asked for the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.deferred_packages import defer


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose ``__init__`` tells when it runs, imports a module and defines a name."""
    folder = tmp_path / "deferred_example"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "import sys\nsys.deferred_example_runs = getattr(sys, 'deferred_example_runs', 0) + 1\n"
        "from deferred_example.tool import TOOL\nfrom deferred_example import inner\nVALUE = TOOL + 1\n"
    )
    (folder / "tool.py").write_text("TOOL = 7\n")
    (folder / "inner" / "__init__.py").write_text("raise RuntimeError('this was not asked for')\n")
    (folder / "inner" / "part.py").write_text("PART = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "deferred_example_runs", 0, raising=False)
    before = set(sys.modules)
    yield "deferred_example"
    for name in [n for n in sys.modules if n.split(".")[0] == "deferred_example" and n not in before]:
        del sys.modules[name]


def test_a_module_comes_without_the_package_and_the_package_when_it_is_asked(package: str) -> None:
    defer(package)
    defer(f"{package}.inner")
    from deferred_example import tool
    from deferred_example.inner import part

    assert (tool.TOOL, part.PART, sys.deferred_example_runs) == (7, 3, 0)
    import deferred_example

    assert not hasattr(deferred_example, "__wrapped__") and sys.deferred_example_runs == 0
    assert deferred_example.VALUE == 8 and sys.deferred_example_runs == 1
    assert deferred_example.tool is tool and type(deferred_example) is type(sys)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = deferred_example.nothing_like_it
    with pytest.raises(RuntimeError, match="not asked for"):
        _ = deferred_example.inner.anything


def test_a_package_that_is_there_stays_as_it_is_and_one_that_is_not_is_told() -> None:
    import json

    defer("json")
    assert sys.modules["json"] is json
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        defer("no_such_package")


def test_mediapipe_and_scenedetect_are_whole_for_who_wants_all_of_them() -> None:
    code = (
        "import sys\n"
        "from common.face.graphs import import_solution\n"
        "from common.shots import find_cuts\n"
        "mesh = import_solution('face_mesh')\n"
        "find_cuts([])\n"
        "lean = 'matplotlib' in sys.modules or 'scenedetect.backends' in sys.modules\n"
        "import mediapipe as mp, scenedetect\n"
        "print(lean, mp.solutions.face_mesh is mesh, mp.solutions.drawing_utils.__name__,\n"
        "      mp.tasks.__name__, scenedetect.open_video.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "False True mediapipe.python.solutions.drawing_utils mediapipe.tasks.python open_video"
    assert done.stdout.strip() == expected, done.stderr
