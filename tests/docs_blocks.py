"""The blocks of code in the documents, and what comments before them say of how they are tried.

``<!-- run -->``: as it is; ``<!-- run: WORDS -->``: with these words after each of its commands;
``<!-- file: NAME -->``: it is that file's content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(path for path in ROOT.glob("docs/*.md") if path.name != "LOG.md")]
OURS = r"(?:bootdub|python|bash|torchrun|sbatch|pip|curl|ln|mkdocs)"
_MARK = re.compile(r"<!-- (run|file)(?:: (.*))? -->")


@dataclass(frozen=True)
class Block:
    """Lines of code in a document.

    Attributes:
        lines: of it, without indentation.
        number: of its first line in the document.
        run: words to add to its commands, or None where it is not run.
        file: whose content it is, or "".
    """

    lines: tuple[str, ...]
    number: int = 0
    run: str | None = None
    file: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip() + "\n"

    @property
    def is_python(self) -> bool:
        return any(re.match(r"(from [\w.]+ )?import |DubPipeline", line) for line in self.lines)

    @property
    def has_commands(self) -> bool:
        return self.is_python or any(
            re.match(rf"(\$ |[A-Z_]+=\S+ |\.venv/bin/)*{OURS} (?!  )", line) for line in self.lines
        )


def blocks(text: str) -> Iterator[Block]:
    """Code that is indented or fenced."""
    lines, first, fenced = list[str](), 0, False
    marks: dict[str, str] = {}
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.startswith("```")
        code = not fence and (fenced or line.startswith("    ") or (not line and bool(lines)))
        if code:
            first = first if lines else number
            lines.append(line if fenced else line[4:])
            continue
        if any(lines):
            yield Block(tuple(lines), first, marks.get("run"), marks.get("file", ""))
        if line.strip() and not fence:
            mark = _MARK.fullmatch(line.strip())
            marks = {mark[1]: mark[2] or ""} if mark else {}
        lines, fenced = [], fence != fenced
    if any(lines):
        yield Block(tuple(lines), first, marks.get("run"), marks.get("file", ""))
