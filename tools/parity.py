"""Compare this program's arithmetic with a folder of golden vectors: ``python tools/parity.py DIR``.

Prints the max abs difference of every output. Exit code 0: all within tolerance (1e-4 for forwards and
schedules, 1e-3 for samplers, a pixel for squares); 1: at least one is not; 2: the folder is no golden folder.

The kind of the folder is recognised by the keys of its ``config.json``; each kind (parity_kinds.py) is one
function that maps the folder's content to computed outputs, with the same code that dubbing and training run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from parity_kinds import KINDS, Golden, ParityKind  # noqa: E402

from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.files import read_json, require_file  # noqa: E402


def load_golden(folder: Path) -> tuple[ParityKind, Golden]:
    """Read a golden folder. Raises UserError where it is missing, incomplete or of no known kind."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of golden vectors.")
    config = read_json(folder / "config.json")
    kind = _kind(folder, config)
    tensors: dict[str, dict[str, torch.Tensor]] = {} if kind.weights else {"weights": {}}
    for name in ("weights", "inputs", "outputs")[not kind.weights :]:
        file = require_file(folder / f"{name}.safetensors", "golden file")
        try:
            tensors[name] = load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: not a safetensors file ({error}); fetch it again.") from error
    return kind, Golden(config, **tensors, folder=folder)


def _kind(folder: Path, config: object) -> ParityKind:
    for kind in KINDS.values():
        if isinstance(config, dict) and kind.keys <= config.keys():
            return kind
    raise UserError(f"{folder / 'config.json'}: the keys fit none of the known kinds: {', '.join(KINDS)}.")


@torch.no_grad()
def compare(folder: Path) -> bool:
    """Print one line per output; whether all are within tolerance."""
    kind, golden = load_golden(folder)
    try:
        computed = kind.compute(golden)
    except KeyError as error:
        raise UserError(f"{folder}: lacks the entry {error}; the folder is incomplete.") from error
    passed = True
    derived = {name: golden.inputs[name] for name in kind.derived & golden.inputs.keys()}
    for name, expected in sorted((derived | golden.outputs).items()):
        if name.startswith(kind.left_out):
            print(f"{name:<40} left out")
            continue
        tolerance = kind.tolerance(name)
        if name in kind.clamped:
            expected = expected.clamp(-1, 1)
        difference = max_difference(computed.get(name), expected)
        passed &= difference <= tolerance  # a NaN is not
        verdict = "ok" if difference <= tolerance else "FAILED"
        print(f"{name:<40} max abs difference {difference:.3e}   allowed {tolerance:.0e}   {verdict}")
    return passed


def max_difference(computed: torch.Tensor | None, expected: torch.Tensor) -> float:
    """Infinite where the output is not computed at all or has another shape."""
    if computed is None or computed.shape != expected.shape:
        return float("inf")
    return (computed.double() - expected.double()).abs().max().item()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the arithmetic with a folder of golden vectors.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        return 0 if compare(arguments.folder) else 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
