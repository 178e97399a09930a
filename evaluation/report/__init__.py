"""The page that shows an evaluation."""

from evaluation.report.page import SIZE_LIMIT, write_report

__all__ = ["SIZE_LIMIT", "write_report"]
