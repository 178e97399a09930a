"""Whether a foreign file holds the tensors of a model, all of them and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from common.errors import UserError


def check_tensors(
    state: Mapping[str, Any],
    names: Mapping[str, str],
    expected: Mapping[str, torch.Size],
    source: str,
    *,
    lacks: str,
    foreign: str,
    misshapen: tuple[str, str],
    optional: Collection[str] = (),
) -> None:
    """Compare names and shapes.

    Args:
        state: what has a ``shape``, by the file's names.
        names: the file's names by the model's.
        expected: shapes by the model's names.
        source: the file, for messages; ``lacks``, ``foreign``, ``misshapen``: how their sentences go on.
        optional: names that may be missing.

    Raises:
        UserError: naming the first tensor that is missing, foreign or misshapen.
    """
    for name in sorted(expected.keys() | names.keys()):
        if name not in names:
            if name in optional:
                continue
            raise UserError(f"{source} lacks the tensor {name}{lacks}")
        if name not in expected:
            raise UserError(f"{source} holds the foreign tensor {names[name]}; {foreign}")
        if state[names[name]].shape != expected[name]:
            by, advice = misshapen
            raise UserError(
                f"{source}: the tensor {names[name]} is {tuple(state[names[name]].shape)}, expected "
                f"{tuple(expected[name])}{by}; {advice}"
            )
