"""Range checks of configuration values: each names the key, what it is, and what it must be."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import UserError


def one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raises UserError unless ``value`` is among ``allowed``."""
    if value not in allowed:
        raise UserError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}.")


_OLD_PRECISIONS = {"fp32": "float32", "no": "float32", "bf16": "bfloat16", "fp16": "float16"}


def precision(key: str, value: str, allowed: Sequence[str] = ("auto", "float32", "bfloat16")) -> None:
    """Raises UserError unless ``value`` is one of the ``allowed`` words for a number format."""
    if _OLD_PRECISIONS.get(value) in allowed:
        raise UserError(f"{key} is {value!r}, which is called {_OLD_PRECISIONS[value]} now: write that.")
    one_of(key, value, allowed)


def at_least(key: str, value: float, least: float) -> None:
    """Raises UserError where ``value`` is below ``least``."""
    if not value >= least:  # NaN is refused, too
        raise UserError(f"{key} is {value}; it must be at least {least}.")


def above(key: str, value: float, bound: float) -> None:
    """Raises UserError unless ``value`` is greater than ``bound``."""
    if not value > bound:
        raise UserError(f"{key} is {value}; it must be greater than {bound}.")


def share(key: str, value: float) -> None:
    """Raises UserError unless ``value`` is a share from 0 to 1."""
    if not 0 <= value <= 1:
        raise UserError(f"{key} is {value}; give a share from 0 to 1.")


def rising(key: str, span: Sequence[float], low: float = 0.0, high: float = 1.0) -> None:
    """Raises UserError unless ``span`` is two numbers, the second greater, within [low, high]."""
    if len(span) != 2 or not low <= span[0] < span[1] <= high:
        raise UserError(f"{key} is {list(span)}; give two rising numbers within [{low:g}, {high:g}].")


def multiple_of(key: str, value: int, by_name: str, by: int) -> None:
    """Raises UserError unless ``by``, which is called ``by_name``, divides ``value``."""
    if by < 1 or value % by:
        raise UserError(f"{key} is {value}, which is no multiple of {by_name} ({by}).")


def equal(key: str, value: int, other_key: str, other: int) -> None:
    """Raises UserError where two keys that must agree do not."""
    if value != other:
        raise UserError(f"{key} is {value} but {other_key} is {other}; they must agree.")


def clip_length(key: str, frames: int, least: int = 1) -> None:
    """Raises UserError unless ``frames`` is of the form 4k + 1, and at least ``least``."""
    if frames < least or frames % 4 != 1:
        raise UserError(
            f"{key} is {frames}; it must be at least {least} and one more than a multiple of 4 (4k+1; for "
            "LTX-2 of 8, 8k+1), as the autoencoder groups frames."
        )
