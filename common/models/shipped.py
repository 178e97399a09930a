"""Where models lie that come with the program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError


@dataclass(frozen=True)
class ShippedModel:
    """A model that is used where the user names none.

    Attributes:
        name: of its folder.
        marker: a file that every folder of its kind has.
        variable: environment variable that names another folder.
        kind: what it is, for messages.
        option: of the command line that names another folder.
    """

    name: str
    marker: str
    variable: str
    kind: str
    option: str

    def folder(self) -> Path:
        """The folder in the environment variable, else that of :func:`shipped_place`.

        Raises:
            UserError: the variable names a folder without such a model, or none is installed.
        """
        chosen = os.environ.get(self.variable)
        if chosen:
            if not (Path(chosen) / self.marker).is_file():
                raise UserError(
                    f"{self.variable} is set to '{chosen}', which holds no {self.kind}: point it at a folder "
                    f"with a {self.marker}, or unset it and give {self.option}."
                )
            return Path(chosen)
        place = shipped_place(self.name)
        if (place / self.marker).is_file():
            return place
        raise UserError(
            f"No {self.kind} was named and none is installed at '{place}': give {self.option} or set "
            f"{self.variable}."
        )


def shipped_place(name: str) -> Path:
    """Beside the code, in a clone of the repository as in an installed package."""
    return Path(__file__).resolve().parents[2] / "models" / name
