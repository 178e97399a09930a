"""The recipe of the quickstart, and a report of what came out of it; see tools/quickstart.sh."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.errors import EXIT_CODE, UserError
from common.files import read_json, require_writable_dir, write_json
from common.recipes.commands import read_commands
from common.recipes.options import usage
from common.recipes.run import run
from common.recipes.schema import load_recipe


def quickstart(words: list[str]) -> int:
    """Run the recipe from the beginning (with --resume: go on) and write report.json; returns the exit code.

    Raises:
        UserError: a bad option.
    """
    started = time.time()
    commands = read_commands("quickstart", words)
    values, request = commands.values, commands.request
    output = Path(values["output"])
    if not request.dry_run:
        require_writable_dir(output)
        if not values["resume"] and Path(values["work"]).exists():
            shutil.rmtree(values["work"])
    code = run(commands)
    if code or request.dry_run or "measure" not in request.parts:
        return code
    scores = read_json(output / "evaluation" / "evaluation.json")["summary"]
    seconds = time.time() - (values["started"] or started)
    write_json(output / "report.json", {**scores, "seconds_total": round(seconds, 1)})
    print(f"Everything is in {output}: dubbed.mp4, side_by_side.mp4, contact_sheet.png, report.json")
    editor = values["editor"]
    print(f"The model is {editor}; dub with it: bootdub dub --model {editor} --video V --audio A --output O")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if {"--help", "-h"} & set(words):
            print(usage(load_recipe("quickstart")))
            return 0
        return quickstart(words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
