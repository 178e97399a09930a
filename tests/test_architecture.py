"""How the code may hang together: read from the sources, nothing is imported but the command line.

Imports count wherever they stand: at the top of a file, inside functions, and under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "stage1_generator", "stage2_dubber", "evaluation", "bootdub", "tools")

# What each package may import of the others.
ALLOWED = {
    "common": (),
    "stage1_generator": ("common",),
    "stage2_dubber": ("common",),
    "evaluation": ("common", "stage1_generator", "stage2_dubber"),
    "bootdub": ("common", "stage2_dubber", "evaluation"),
    "tools": ("common", "stage1_generator", "stage2_dubber", "evaluation", "bootdub"),
}
# Parts of common that work without a training; all but one of them without its data, too.
INFERENCE = (
    *("common.models", "common.diffusion", "common.media", "common.face", "common.speech"),
    *("common.own_mouths", "common.rendered"),
)
READS_DATA = "common.speech"  # features of prepared clips and of labelled shards
# Names of a stage's own things, which the code of common must not hold. Its prose may say what a stage does.
STAGE_NAME = re.compile(r"stage_?[12]|PhaseConfig", re.IGNORECASE)
MOST_PARAMETERS = 9


@cache
def modules() -> dict[str, Path]:
    """Module name -> file."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {_name(path): path for path in sorted(files)}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Our modules that ``module`` imports."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{modules()[module]}: a relative import, which this test does not follow"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else base for name in names]
        else:
            continue
        found.update(name for name in names if name in modules())
    return frozenset(found - {module})


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def circles() -> list[list[str]]:
    """Groups of modules that import each other: strongly connected components, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(imports(module)):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            start = stack.index(module)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in modules():
        if module not in order:
            visit(module)
    return groups


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circles(), "\n".join(", ".join(group) for group in circles())


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    forbidden = [other for other in PACKAGES if other not in (package, *ALLOWED[package])]
    wrong = [
        f"{module} imports {other}"
        for module in modules()
        if within(module, package)
        for other in sorted(imports(module))
        if any(within(other, one) for one in forbidden)
    ]
    assert not wrong, "\n".join(wrong)


def test_model_code_does_without_training_and_its_data() -> None:
    wrong = [
        f"{module} imports {other}"
        for part in INFERENCE
        for module in modules()
        if within(module, part)
        for other in sorted(imports(module))
        if within(other, "common.training") or (within(other, "common.data") and part != READS_DATA)
    ]
    assert not wrong, "\n".join(wrong)


def identifiers(node: ast.AST) -> list[str]:
    """The names that a node of the code uses or defines; strings and docstrings are not code."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.arg | ast.keyword):
        return [node.arg or ""]
    if isinstance(node, ast.alias):
        return [node.name, node.asname or ""]
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_common_names_no_stage() -> None:
    wrong = {
        f"{module}: {name}"
        for module in modules()
        if within(module, "common")
        for node in ast.walk(tree(module))
        for name in identifiers(node)
        if STAGE_NAME.search(name)
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_public_classes_have_names_of_their_own() -> None:
    homes: dict[str, list[str]] = {}
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    wrong = {name: found for name, found in homes.items() if len(found) > 1}
    assert not wrong, "\n".join(f"{name}: {', '.join(found)}" for name, found in wrong.items())


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def decorated(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    """Whether a decorator's last name is ``name``, called or not."""
    targets = [one.func if isinstance(one, ast.Call) else one for one in function.decorator_list]
    return any(
        (target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")) == name
        for target in targets
    )


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_functions_take_few_parameters() -> None:
    """Dataclasses write no constructor. What else may take more:

    The options of a typer command are its parameters. ``register_to_config``: diffusers makes the model's
    config.json out of the constructor's parameters.
    """
    wrong = [
        f"{modules()[module].relative_to(ROOT)}:{function.lineno} {function.name}: {parameters(function)}"
        for module in modules()
        for function in functions(module)
        if parameters(function) > MOST_PARAMETERS
        and f"{module}.{function.name}" not in commands()
        and not decorated(function, "register_to_config")
    ]
    assert not wrong, "\n".join(wrong)


@cache
def commands() -> frozenset[str]:
    """What ``bootdub`` can be asked to do: the functions that its commands call, as module.name."""
    from bootdub.cli.main import app

    groups = [app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)]
    called = [command.callback for group in groups for command in group.registered_commands]
    return frozenset(f"{callback.__module__}.{callback.__name__}" for callback in called if callback)


def test_every_command_is_registered() -> None:
    """A command is a public function of ``bootdub.cli`` that ends as commands end, with ``clean_errors``."""
    written = {
        f"{module}.{function.name}"
        for module in modules()
        if within(module, "bootdub.cli") and module != "bootdub.cli.errors"
        for function in functions(module)
        if any("clean_errors" in ast.unparse(node) for node in function.body if isinstance(node, ast.With))
    }
    assert written and written == commands()


def test_commands_that_are_named_can_be_run() -> None:
    """What documents, scripts and messages call ``python -m MODULE`` exists and has a ``__main__`` part."""
    named = re.compile(rf"-m ((?:{'|'.join(PACKAGES)})(?:\.[a-z_0-9]+)*)\b(?!\.?[A-Z{{$])")
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "tools").rglob("*.sh")]
    texts = [path for path in texts if path.name != "LOG.md"] + list(modules().values())
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in texts
        for module in named.findall(path.read_text(encoding="utf-8"))
        if not any(runnable(one) for one in (module, f"{module}.__main__"))
    ]
    assert not wrong, "\n".join(wrong)


def runnable(module: str) -> bool:
    if module not in modules():
        return False
    guards = [node for node in tree(module).body if isinstance(node, ast.If)]
    return any("__name__" in ast.unparse(guard.test) for guard in guards)
