"""A wheel of packages side by side becomes one of packages in ``bootdub``: ``common``, ``bootdub.common``.

Names of modules are changed in import statements and in strings and comments, which tell of commands
(``python -m common.rendered``), classes of a registry and templates. What has been changed is compared with
the syntax tree: nothing else may differ, so that a variable which is called like a package stays what it is.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import re
import tokenize
import zipfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

HOME = "bootdub"
MOVED = ("common", "evaluation", "stage1_generator", "stage2_dubber")
_ROOTS = "|".join(MOVED)
_DOTTED = re.compile(rf"(?<![\w.])(?:{_ROOTS})((?:\.\w+)+)")
_WHOLE = re.compile(rf"(?:{_ROOTS})\.")  # a string of this alone is a prefix of modules' names
_SHARED = re.compile(r"[^/]+\.data/data/share/bootdub/")
_TEXTS = (".py", ".yaml")
_BETWEEN = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
"""Tokens after which a statement may begin."""
_NAMED_AFTER = {"from": ("from",), "import": ("import", ",")}
"""Kind of an import statement -> what stands before a module's name in it."""
_F_TEXT = getattr(tokenize, "FSTRING_MIDDLE", None)  # from Python 3.12 on


class NotRewritten(Exception):
    """A file cannot be put under ``bootdub`` as it is."""


@dataclass(frozen=True)
class Namespace:
    """Rewrites texts.

    Attributes:
        modules: dotted names of all modules and packages that move.
    """

    modules: Set[str]

    def text(self, text: str) -> str:
        """A text in which modules are named, such as a YAML file or a string of Python."""
        return _DOTTED.sub(self._named, text)

    def string(self, text: str) -> str:
        """A string: as :meth:`text`; the beginning of modules' names (``"common."``) alone counts, too."""
        return f"{HOME}.{text}" if _WHOLE.fullmatch(text) else self.text(text)

    def _named(self, found: re.Match[str]) -> str:
        first = ".".join(found[0].split(".")[:2])
        return f"{HOME}.{found[0]}" if first in self.modules else found[0]

    def python(self, source: str, name: str) -> str:
        """A Python file.

        Args:
            source: its text.
            name: of the file, for messages.

        Raises:
            NotRewritten: it imports in a way that cannot be followed, or more than names of modules would
                change.
        """
        lines = source.splitlines(keepends=True)
        for (row, column), (_, end), new in reversed(list(self._changes(source))):
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new + line[end:]
        changed = "".join(lines)
        self._compare(source, changed, name)
        return changed

    def _changes(self, source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
        """Start and end (row, column) within one line, and the new text, in order."""
        lines = source.splitlines(keepends=True)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        kind = ""  # of the import statement that the token is in
        for place, token in enumerate(tokens):
            before = tokens[place - 1] if place else None
            if token.type == tokenize.NAME:
                if before is None or before.type in _BETWEEN or before.string in (";", ":"):
                    kind = token.string if token.string in ("from", "import") else ""
                named = before is not None and before.string in _NAMED_AFTER.get(kind, ())
                if named and token.string in MOVED:
                    yield token.start, token.end, f"{HOME}.{token.string}"
            elif token.type in (tokenize.STRING, tokenize.COMMENT, _F_TEXT):
                last = tokens[place + 1].start if token.type == _F_TEXT else token.end
                yield from self._within(lines, token.start, last)

    def _within(
        self, lines: list[str], start: tuple[int, int], end: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
        for row in range(start[0], end[0] + 1):
            line = lines[row - 1]
            first = start[1] if row == start[0] else 0
            last = end[1] if row == end[0] else len(line)
            part = line[first:last]
            bare = part.strip("rbf\"'") if start[0] == end[0] else part
            new = part.replace(bare, f"{HOME}.{bare}") if _WHOLE.fullmatch(bare) else self.text(part)
            if new != part:
                yield (row, first), (row, last), new

    def _compare(self, source: str, changed: str, name: str) -> None:
        tree = ast.parse(source)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        expected = ast.dump(_Renamed(self, name, used).visit(tree))
        if expected != ast.dump(ast.parse(changed)):
            raise NotRewritten(f"{name}: more than names of modules would change.")


class _Renamed(ast.NodeTransformer):
    """The tree that a rewritten file must have."""

    def __init__(self, namespace: Namespace, name: str, used: Set[str]) -> None:
        self._namespace, self._name, self._used = namespace, name, used

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.level:
            raise NotRewritten(f"{self._name}:{node.lineno}: a relative import.")
        if node.module is not None and node.module.split(".")[0] in MOVED:
            return ast.copy_location(ast.ImportFrom(f"{HOME}.{node.module}", node.names, 0), node)
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            root = alias.name.split(".")[0]
            if root in MOVED:
                if alias.asname is None and root in self._used:
                    raise NotRewritten(
                        f"{self._name}:{node.lineno}: 'import {alias.name}' binds '{root}', which is used: "
                        "write 'from ... import ...'."
                    )
                alias.name = f"{HOME}.{alias.name}"
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            return ast.copy_location(ast.Constant(self._namespace.string(node.value), node.kind), node)
        return node


def namespaced_wheel(source: Path, target: Path) -> None:
    """Write a wheel whose packages and shared files lie under ``bootdub``.

    Raises:
        NotRewritten: a file cannot be put there as it is.
    """
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        names = [name for name in given.namelist() if not name.endswith("/")]
        namespace = Namespace(frozenset(_modules(names)))
        record: list[str] = []
        for name in names:
            content, place = given.read(name), _place(name)
            if name.endswith(".dist-info/RECORD"):
                continue
            if name.endswith(".dist-info/top_level.txt"):
                content = f"{HOME}\n".encode()
            elif name.endswith(_TEXTS):
                text = content.decode()
                content = (
                    namespace.python(text, name) if name.endswith(".py") else namespace.text(text)
                ).encode()
            made.writestr(_entry(given.getinfo(name), place), content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{place},sha256={digest},{len(content)}")
        place = next(name for name in names if name.endswith(".dist-info/RECORD"))
        made.writestr(_entry(given.getinfo(place), place), "\n".join([*record, f"{place},,", ""]))


def _modules(names: list[str]) -> Iterator[str]:
    for name in names:
        path = PurePosixPath(name)
        if path.parts[0] in MOVED and path.suffix == ".py":
            parts = path.with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _place(name: str) -> str:
    """Where a file of the wheel goes."""
    shared = _SHARED.match(name)
    if shared:
        return f"{HOME}/{name[shared.end() :]}"
    return f"{HOME}/{name}" if name.split("/")[0] in MOVED else name


def _entry(given: zipfile.ZipInfo, place: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(place, given.date_time)
    entry.external_attr, entry.compress_type = given.external_attr, zipfile.ZIP_DEFLATED
    return entry
