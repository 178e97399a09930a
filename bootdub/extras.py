"""Parts of the program that need packages which a plain installation leaves away."""

from __future__ import annotations

from importlib.util import find_spec

from common.errors import UserError


def require_extra(extra: str, *modules: str) -> None:
    """Refuse a command whose packages are not installed.

    Raises:
        UserError: one of the modules of the extra is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(
            f"This command needs the package '{missing[0]}', which is not installed: "
            f"pip install 'bootdub[{extra}]'."
        )
