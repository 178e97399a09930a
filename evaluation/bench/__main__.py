"""Command for maintainers: render the benchmark and, after a new version, record its checksums."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common.errors import EXIT_CODE, UserError
from evaluation.bench.checksums import record
from evaluation.bench.items import GROUPS, SIZES
from evaluation.bench.make import made_checksums, render_bench


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evaluation.bench", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", choices=tuple(SIZES), default="quick")
    parser.add_argument("--groups", nargs="+", choices=tuple(GROUPS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--record", action="store_true", help="write what was rendered into the package's checksums.json"
    )
    options = parser.parse_args(argv)
    try:
        if options.record and options.groups:
            raise UserError("--record is for a whole size: leave --groups out.")
        rows = render_bench(options.output, options.size, options.groups, options.workers, _say)
        if options.record:
            record(options.size, {row.name: made_checksums(options.output, row.name) for row in rows})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    warnings = [] if options.record else [row.warning for row in rows if row.warning]
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{len(rows)} items, {len(warnings)} unlike the benchmark's: {options.output / 'manifest.csv'}")
    return 0


def _say(done: int, count: int) -> None:
    print(f"rendered {done}/{count}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
