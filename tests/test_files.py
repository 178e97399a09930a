"""Whole-or-absent files, JSON, fingerprints."""

import enum
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.files import (
    atomic_dir,
    atomic_path,
    fingerprint,
    read_json,
    require_file,
    require_writable_dir,
    sha256_file,
    write_json,
)


def _one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 400
    return text


def test_atomic_path_appears_at_the_end_with_its_suffix(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.b.mp4"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".mp4"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [p.name for p in target.parent.iterdir()] == ["a.b.mp4"]


def test_atomic_path_leaves_the_old_file_after_an_exception(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_obeys_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_atomic_dir_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with atomic_dir(target) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
    assert [p.name for p in (target / "sub").iterdir()] == ["two"]
    with pytest.raises(RuntimeError), atomic_dir(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert [p.name for p in (target / "sub").iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_outputs_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    for attempt in (blocker / "out.mp4", blocker / "deep" / "out.mp4"):
        with pytest.raises(UserError) as error, atomic_path(attempt):
            pass
        assert str(blocker) in _one_sentence(error)
    with pytest.raises(UserError) as error, atomic_path(tmp_path):
        pass
    assert "folder" in _one_sentence(error)
    with pytest.raises(UserError) as error, atomic_dir(blocker):
        pass
    assert str(blocker) in _one_sentence(error)
    with pytest.raises(UserError) as error:
        require_writable_dir("/proc/nowhere")
    assert "/proc/nowhere" in _one_sentence(error)


def test_inputs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        require_file(tmp_path / "absent.mp4", "video")
    assert "video" in _one_sentence(error) and "absent.mp4" in str(error.value)
    with pytest.raises(UserError) as error:
        require_file(tmp_path)
    assert "folder" in _one_sentence(error)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UserError) as error:
        read_json(broken)
    assert "broken.json" in _one_sentence(error)


class _Kind(enum.Enum):
    A = "a"


@dataclass
class _Record:
    where: Path
    kind: _Kind
    values: np.ndarray


def test_json_takes_what_configurations_are_made_of(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json(path, {"ü": _Record(Path("x/y"), _Kind.A, np.arange(3)), "n": np.float32(0.5), "s": {3, 1}})
    expected = {"ü": {"where": "x/y", "kind": "a", "values": [0, 1, 2]}, "n": 0.5, "s": [1, 3]}
    assert read_json(path) == expected
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_fingerprint_depends_on_content_only(value: object) -> None:
    again = json.loads(json.dumps(value))
    assert fingerprint(value) == fingerprint(again)
    assert len(fingerprint(value)) == 16
    assert fingerprint([value]) != fingerprint([value, None])


def test_fingerprint_ignores_the_order_of_keys_and_stays_the_same_forever() -> None:
    assert fingerprint({"a": 1, "b": [True, None]}) == fingerprint({"b": [True, None], "a": 1})
    # Caches on disk are keyed by it: a change of the rule would throw them all away.
    assert fingerprint({"a": 1}) == "015abd7f5cc57a2d"


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
