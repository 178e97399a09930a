"""The key of a listening test: which video is whose. It stays with the people who run the test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import PathLike, read_json, write_json

FORMAT = "listening-test-key-1"
ANSWERS_FORMAT = "listening-test-answers-1"
CRITERIA = ("naturalness", "sync")
LOWEST, HIGHEST = 1, 10


class VideoRole(str, Enum):
    """What a video is in the test."""

    system = "system"
    truth = "truth"
    control = "control"


ROLE_NAMES = {VideoRole.truth: "ground truth", VideoRole.control: "control"}


@dataclass(frozen=True)
class RatedVideo:
    """One video: its random name, its role, and what it is called in the tables."""

    token: str
    role: VideoRole
    system: str


@dataclass(frozen=True)
class Page:
    """One clip: its videos in the order in which they are shown."""

    clip: str
    group: str
    videos: tuple[RatedVideo, ...]


@dataclass(frozen=True)
class Key:
    """A whole test.

    Attributes:
        study: random name of the test, also in the page and in every answer.
        seed: everything that was drawn comes from it.
        systems: in the order of the tables; the first is the one that others are compared with.
        pages: in the order in which they are shown.
    """

    study: str
    seed: int
    systems: tuple[str, ...]
    pages: tuple[Page, ...]

    @property
    def tokens(self) -> frozenset[str]:
        return frozenset(entry.token for page in self.pages for entry in page.videos)

    def save(self, path: PathLike) -> None:
        write_json(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: PathLike) -> Key:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: missing, or no key.
        """
        data = read_json(path)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(
                f"The file '{Path(path)}' is no key of a listening test: give the one made with it."
            )
        try:
            return cls(data["study"], data["seed"], tuple(data["systems"]), tuple(map(_page, data["pages"])))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"The key '{Path(path)}' is damaged ({error}): take a copy of the one made."
            ) from error


def _page(data: dict[str, Any]) -> Page:
    videos = tuple(RatedVideo(v["token"], VideoRole(v["role"]), v["system"]) for v in data["videos"])
    return Page(data["clip"], data["group"], videos)
