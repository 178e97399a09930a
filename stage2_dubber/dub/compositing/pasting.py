"""How edited crops go back where a package says it; apart from the options, which the command line reads."""

from __future__ import annotations

from common.models.conventions import PasteRule
from stage2_dubber.dub.compositing.options import DEFAULT_COMPOSITING, Compositing

PASTING = {PasteRule.change: DEFAULT_COMPOSITING, PasteRule.square: Compositing.whole_crop}
