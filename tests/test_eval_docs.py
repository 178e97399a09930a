"""docs/metrics.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from evaluation.glossary import documented_metrics, markdown
from evaluation.manifest import OPTIONAL, REQUIRED
from evaluation.success import rule_sentences

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_glossary_is_that_of_the_metrics() -> None:
    missing = [line for line in markdown(documented_metrics()).splitlines() if line not in TEXT]
    assert not missing, "python -m evaluation.glossary prints the table anew"


def test_rules_and_columns_are_those_of_the_code() -> None:
    assert all(f"- {sentence}" in TEXT for sentence in rule_sentences())
    assert all(f"`{column}`" in TEXT for column in REQUIRED + OPTIONAL)


def test_every_failure_is_caught_by_a_metric_that_is_meant_for_it() -> None:
    verdicts = [line for line in TEXT.splitlines() if line.startswith("- ") and ": caught by" in line]
    assert len(verdicts) == 6 and all("(meant)" in line.split("; not by")[0] for line in verdicts)
