"""What a GPU machine can do, in one report: see ``gpu_check.sh``.

Every check is a command of its own, the most telling first: parity with published vectors (on the CPU, where
they are given) and of the GPU with the CPU, one window of the public 5B geometry in bfloat16 (random
weights) as X-Dub, as a student of two steps and with its blocks in main memory, a step of its training alone
and split by FSDP2, and the speed switches, of which those that cannot run here say why. "goals" are the
figures that a machine of the class of an H100 should reach. A check that fails, is cut by its limit, or for
which no time is left is a row that says so; the report is written after each of them. Exit code 0: all checks
ran and passed (goals are told, not required), 1: some did not, 2: bad input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tools" / "bench"

from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.files import write_json  # noqa: E402

MINUTES = 8.0
LAST_LINES = 12
"""Lines of output that are kept of a check that reports no JSON, or fails."""

SWITCHES = (
    ("guidance_branches=batched",),
    ("offload=true",),
    ("attention_backend=flash",),
    ("attention_backend=sage",),
    ("attention_backend=xformers",),
    ("step_cache=first-block", "cache_threshold=0.05"),
    ("step_cache=taylorseer-lite", "cache_interval=2"),
    ("quantization=int8",),
    ("quantization=fp8",),
)
COMPILED = (
    ("compile=true",),
    ("compile=true", "quantization=int8-dynamic"),
    ("compile=true", "quantization=fp8-dynamic"),
)

XDUB, STUDENT, OFFLOADED = "window", "window of a student", "window, offloaded"
_STUDENT = ("--steps", "2", "--unguided")
_ADAPTERS = ("--checkpointing", "--lora", "16")


@dataclass(frozen=True)
class Check:
    """One command of the report.

    Attributes:
        name: of its row.
        words: the command after the Python interpreter.
        limit: seconds after which it is cut.
    """

    name: str
    words: tuple[str, ...]
    limit: float


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        rows = run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0 if all(row["passed"] for row in rows) else 1


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the checks and write the report after each.

    Raises:
        UserError: there is no GPU, or the folder of vectors is none.
    """
    if not options.tiny and not torch.cuda.is_available():
        raise UserError("There is no GPU here: run this on a machine with one, or at toy size with --tiny.")
    checks = list(_checks(options.tiny, options.golden))
    end = time.monotonic() + 60 * options.minutes
    report: dict[str, Any] = {"machine": machine(), "minutes": options.minutes, "checks": []}
    for check in checks:
        row = _run(check, end - time.monotonic())
        report["checks"].append(row)
        report["goals"] = [] if options.tiny else goals(report["checks"])
        write_json(options.output, report)
        print(f"{row['name']:<24} {row['said']:<28} {row['seconds']:6.1f} s", flush=True)
    for goal in report.get("goals", ()):
        print("goal: " + ", ".join(f"{name} {value}" for name, value in goal.items()))
    print(f"written to {options.output}")
    return report["checks"]


def goals(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What windows of the 5B geometry should reach, what they do, and whether that is enough.

    Frames per second from pixels to pixels, of X-Dub's 30 steps and of a student's two; GiB on the GPU,
    weights included. A window that did not run is left out.
    """
    runs = {row["name"]: row["result"]["variants"]["exact"] for row in rows if _is_window(row)}
    found = []
    for name, key, least in ((XDUB, "fps_at_30_steps", 2.0), (STUDENT, "fps", 15.0)):
        if name in runs:
            value = runs[name][key]
            found.append({"of": name, "fps": value, "at_least": least, "reached": value >= least})
    if OFFLOADED in runs:
        run = runs[OFFLOADED]
        value = (run["weights_bytes"] + run["peak_bytes"]) / 2**30
        found.append({"of": OFFLOADED, "gib": value, "at_most": 24.0, "reached": value <= 24})
    return found


def _is_window(row: dict[str, Any]) -> bool:
    return row["passed"] and row["name"] in (XDUB, STUDENT, OFFLOADED)


def machine() -> dict[str, Any]:
    """The device and the versions that its figures belong to."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": "cpu"}
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        facts |= {
            "device": torch.cuda.get_device_name(),
            "capability": list(torch.cuda.get_device_capability()),
            "memory_gib": total / 2**30,
            "free_gib": free / 2**30,
        }
    return facts


def _checks(tiny: bool, golden: Path | None) -> Iterator[Check]:
    if golden is not None:
        folders = sorted(path.parent for path in golden.glob("*/config.json"))
        if not folders:
            raise UserError(f"No folder in '{golden}' has a config.json: give the folder of the vectors.")
        for folder in folders:
            yield Check(f"parity {folder.name}", (str(ROOT / "tools" / "parity.py"), str(folder)), 60)
    yield from _tiny_checks() if tiny else _gpu_checks()


def _gpu_checks() -> Iterator[Check]:
    yield _check("parity of the device", 60, "device_parity", "--device", "cuda")
    large = ("--size", "wan5b", "--device", "cuda")
    window = (*large, "--dtype", "bfloat16", "--json")
    yield _check(XDUB, 120, "dub_bench", *window, "--steps", "4")
    yield _check(STUDENT, 60, "dub_bench", *window, *_STUDENT)
    yield _check(OFFLOADED, 90, "dub_bench", *window, "--steps", "2", "--offload")
    step = (*large, "--precision", "bfloat16", *_ADAPTERS, "--steps", "3", "--warmup", "1")
    yield _check("training step", 60, "train_bench", *step)
    yield _check("training step, FSDP2", 60, "train_bench", *step, "--sharding", "fsdp2")
    short = (*large, "--frames", "25", "--steps", "4", "--json")
    yield _check("switches", 150, "switch_bench", *short, *_switches(SWITCHES))
    # One command each: how long one compiles is no other's business.
    for words in COMPILED:
        yield _check(" ".join(words), 60, "switch_bench", *short, *_switches([words]))


def _tiny_checks() -> Iterator[Check]:
    cpu = ("--device", "cpu")
    yield _check("parity of the device", 120, "device_parity", *cpu)
    window = ("--size", "tiny", *cpu, "--json")
    yield _check(XDUB, 120, "dub_bench", *window)
    yield _check(STUDENT, 120, "dub_bench", *window, *_STUDENT)
    step = ("--size", "tiny", *cpu, *_ADAPTERS, "--steps", "1", "--warmup", "1")
    yield _check("training step", 120, "train_bench", *step)
    yield _check("training step, FSDP2", 120, "train_bench", *step, "--sharding", "fsdp2")
    short = ("--size", "toy", *cpu, "--crop", "32", "--frames", "5", "--steps", "4", "--json")
    yield _check("switches", 120, "switch_bench", *short, *_switches(SWITCHES))


def _check(name: str, limit: float, bench: str, *words: str) -> Check:
    return Check(name, (str(HERE / f"{bench}.py"), *words), limit)


def _switches(variants: Sequence[Sequence[str]]) -> list[str]:
    return [word for variant in variants for word in ("--switch", *variant)]


def _run(check: Check, left: float) -> dict[str, Any]:
    """The row of a check that may take ``left`` seconds at the most."""
    row: dict[str, Any] = {"name": check.name, "command": list(check.words), "passed": False, "seconds": 0.0}
    if left <= 0:
        return row | {"said": "not run: no time left", "result": None, "output": ""}
    start, limit = time.monotonic(), min(check.limit, left)
    try:
        done = subprocess.run(
            [sys.executable, *check.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
        output, said = done.stdout, "passed" if done.returncode == 0 else f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, said = _text(error.output), f"cut after {limit:.0f} s"
    lines = output.splitlines()
    result = _last_json(lines)
    return row | {
        "said": said,
        "passed": said == "passed",
        "seconds": time.monotonic() - start,
        "result": result,
        "output": "" if said == "passed" and result is not None else "\n".join(lines[-LAST_LINES:]),
    }


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _last_json(lines: list[str]) -> Any:
    """What the benches print as their last line; None where a command prints none."""
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--golden", type=Path, help="folder whose folders hold published vectors")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all checks together")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
