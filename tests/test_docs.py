"""What the documents name exists: files, folders and modules. (Metrics: test_eval_docs.py.)"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for path in chain(
        ROOT.glob("docs/*.md"),
        ROOT.glob("models/*/README.md"),
        ROOT.glob("*/README.md"),
        [ROOT / "README.md"],
    )
    if path.name != "LOG.md"  # history names what was there at its time
)
FOLDERS = "bootdub|common|configs|evaluation|stage1_generator|stage2_dubber|tests|tools"
PLACEHOLDER = re.compile(r"[A-Z]{3}")


def _named(pattern: str, document: Path) -> set[str]:
    """What ``pattern`` finds in a document, but placeholders such as ``configs/stage2_PHASE.yaml``."""
    found = re.findall(pattern, document.read_text(encoding="utf-8"))
    return {name for name in found if not PLACEHOLDER.search(name.removesuffix("README.md"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_that_a_document_names_exist(document: Path) -> None:
    paths = _named(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w)", document)
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]
    modules = _named(rf"-m ((?:{FOLDERS})(?:\.\w+)*)", document)
    assert not [module for module in sorted(modules) if find_spec(module) is None]


def test_documents_are_found() -> None:
    assert len(DOCUMENTS) > 10 and any(_named(r"-m (common\.[\w.]+)", one) for one in DOCUMENTS)


def test_the_site_has_every_document_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [page for section in nav for group in section.values() for page in group]
    assert sorted(pages) == sorted(path.name for path in ROOT.glob("docs/*.md"))


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="no mkdocs here: pip install -e '.[docs]'")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """All links and their anchors lead somewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").is_file()
