"""Options that ``--help`` shows together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import typer


def option_in(panel: str) -> Callable[..., Any]:
    """``typer.Option`` for options below this heading."""
    return partial(typer.Option, rich_help_panel=panel)
