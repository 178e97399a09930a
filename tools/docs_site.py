"""A hook of mkdocs (mkdocs.yml): what the documents link to outside their folder is named, not linked."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **about: Any) -> str:
    """Called by mkdocs with the text of each page."""
    return _OUTSIDE.sub(r"`\1`", markdown)
