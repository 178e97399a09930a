"""Modules of a package without all that its ``__init__`` imports."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """A package that is as if it had been imported, but whose ``__init__`` runs at the first need.

    Its modules can be imported meanwhile. Once something else is asked of it, it is the usual module.
    """

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        # The interpreter and debuggers ask all modules for names of their own.
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        if find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def defer(package: str) -> None:
    """Put off the ``__init__`` of a package, unless it has run: what is imported of it then comes alone.

    Args:
        package: dotted name; the packages that it lies in are imported, unless they are deferred as well.

    Raises:
        ImportError: there is no such package.
    """
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    module = module_from_spec(spec)
    module.__class__ = _Deferred
    sys.modules[package] = module
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, module)
