"""docs/metrics.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from evaluation.corruptions import MEANT
from evaluation.glossary import documented_metrics, markdown
from evaluation.manifest import OPTIONAL, REQUIRED
from evaluation.success import rule_sentences

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")


def section(heading: str) -> list[str]:
    """The lines under a heading, up to the next one of its level or a higher one."""
    lines = TEXT.splitlines()
    start = lines.index(heading) + 1
    level = len(heading) - len(heading.lstrip("#"))
    ends = [k for k in range(start, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[k])]
    return lines[start : ends[0] if ends else len(lines)]


def test_the_glossary_is_that_of_the_metrics() -> None:
    table = [line for line in section("## Metrics") if line.startswith("|")]
    assert table == markdown(documented_metrics()).splitlines(), "see python -m evaluation.glossary"


def test_the_rules_of_success_are_those_of_the_code() -> None:
    rules = [line.removeprefix("- ") for line in section("## Success") if line.startswith("- ")]
    assert rules == rule_sentences()


def test_the_columns_of_a_manifest_are_those_that_are_read() -> None:
    table = [line for line in section("## The manifest") if line.startswith("| `")]
    columns = [name for line in table for name in re.findall("`(\\w+)`", line.split(" | ")[0])]
    assert sorted(columns) == sorted(REQUIRED + OPTIONAL)


def test_the_verdicts_name_the_metrics_that_are_meant_for_each_failure() -> None:
    verdicts = [line for line in section("## Which failure each metric sees") if ": caught by" in line]
    meant = [tuple(sorted(re.findall(r"(\w+) \(meant\)", line))) for line in verdicts]
    assert meant == [tuple(sorted(keys)) for keys in MEANT.values()]
