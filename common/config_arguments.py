"""Configurations on a command line: ``--config FILE... key=value...`` and ``--dry-run``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.config import section_names


class _ConfigAction(argparse.Action):
    """``--config a.yaml b.yaml key=value``: all words arrive here and are sorted out."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        words = [str(value) for value in values]
        files = [Path(word) for word in words if not _is_override(word)]
        namespace.config = [*namespace.config, *files]
        namespace.overrides = [*namespace.overrides, *filter(_is_override, words)]


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config FILE... [key=value...]`` and ``--dry-run``; read .config, .overrides, .dry_run."""
    parser.add_argument(
        "--config",
        nargs="+",
        action=_ConfigAction,
        default=[],
        metavar="FILE|KEY=VALUE",
        help="YAML files, later ones win, then overrides such as train.max_steps=100",
    )
    parser.add_argument("--dry-run", action="store_true", help="print every derived number and stop")
    parser.set_defaults(overrides=[])


def parse_config_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Like ``parser.parse_args``, and ``key=value`` words may also stand anywhere else on the line."""
    args, rest = parser.parse_known_args(argv)
    strangers = [word for word in rest if not _is_override(word)]
    if strangers:
        parser.error(f"unrecognized arguments: {' '.join(strangers)}")
    args.overrides = [*args.overrides, *rest]
    return args


def named_sections(argv: Sequence[str] | None = None) -> frozenset[str]:
    """The sections that the configuration on a command line names."""
    parser = argparse.ArgumentParser(add_help=False)
    add_config_arguments(parser)
    args, rest = parser.parse_known_args(argv)
    words = [*args.overrides, *filter(_is_override, rest)]
    return section_names(args.config, words)


def _is_override(word: str) -> bool:
    return re.match(r"[A-Za-z_][\w.]*=", word) is not None
