"""Words of two texts, compared."""

from __future__ import annotations

import re
import unicodedata

# Apostrophes within a word belong to it.
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text: str) -> list[str]:
    """Lower case (casefold), NFKC, without punctuation; accents stay.

    Scripts that do not part words give one word per stretch between punctuation.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return _WORD.findall(unicodedata.normalize("NFC", plain))


def edit_distance(a: list[str], b: list[str]) -> int:
    """Fewest substitutions, deletions and insertions that turn ``a`` into ``b`` (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def word_error_rate(reference: str, transcript: str) -> float | None:
    """Edit distance of the words over the number of words in the reference; None where it has none."""
    wanted = words(reference)
    return edit_distance(wanted, words(transcript)) / len(wanted) if wanted else None
