"""``{name}`` in the texts of a recipe, and values as words of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from common.errors import UserError

_NAME = re.compile(r"\{([A-Za-z_][\w.]*)\}")


def fill(value: Any, values: Mapping[str, Any], where: str) -> Any:
    """``value`` with every ``{name}`` replaced, in lists too. A text that is one name alone is that value.

    Raises:
        UserError: a name that is not in ``values``; ``where`` says in which field.
    """
    if isinstance(value, list):
        return [fill(item, values, where) for item in value]
    if not isinstance(value, str):
        return value

    def found(name: str) -> Any:
        if name not in values:
            raise UserError(f"The recipe's {where} names {{{name}}}, which is not known there.")
        return values[name]

    whole = _NAME.fullmatch(value)
    return found(whole[1]) if whole else _NAME.sub(lambda match: str(found(match[1])), value)


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether ``when`` is met: "", a parameter that is given, or "not" and one that is not."""
    if not condition:
        return True
    name = condition.removeprefix("not ")
    return bool(values[name]) == (name == condition)


def to_yaml_word(value: Any) -> str:
    """A value as YAML in one line. Texts are quoted: no folder's name is taken for a number or a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(to_yaml_word, value))}]"
    if isinstance(value, str):
        doubled = value.replace("'", "''")
        return f"'{doubled}'"
    return "null" if value is None else repr(value)
