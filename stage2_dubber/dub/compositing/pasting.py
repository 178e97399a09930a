"""How edited crops go back where a package says it; apart from the options, which the command line reads."""

from __future__ import annotations

from common.models.conventions import Conventions, PasteRule
from stage2_dubber.dub.compositing.options import DEFAULT_COMPOSITING, Compositing

_PASTING = {PasteRule.change: DEFAULT_COMPOSITING, PasteRule.square: Compositing.whole_crop}


def chosen_compositing(asked: Compositing | None, conventions: Conventions) -> Compositing:
    """What a job asks for, else what the model's package says."""
    return asked or _PASTING[conventions.pasting]
