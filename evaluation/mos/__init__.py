"""Blind listening test with people: the page, and what its answers say (EdiDub, appendix A.2)."""

from evaluation.mos.items import ListeningItem, items_from_results
from evaluation.mos.key import Key
from evaluation.mos.pages import PageOptions, make_pages
from evaluation.mos.scoring import ListeningScores, score_answers

__all__ = [
    "Key",
    "ListeningItem",
    "ListeningScores",
    "PageOptions",
    "items_from_results",
    "make_pages",
    "score_answers",
]
