"""Command: run a recipe, ``python -m common.recipes RECIPE [--option VALUE ...]``; see ``--help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import EXIT_CODE, UserError
from common.recipes.commands import read_commands
from common.recipes.options import usage
from common.recipes.run import run
from common.recipes.schema import load_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0].startswith("-"):
            raise UserError("Name a recipe, such as configs/recipes/default.yaml, and then its options.")
        if {"--help", "-h"} & set(words):
            print(usage(load_recipe(words[0])))
            return 0
        return run(read_commands(words[0], words[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
