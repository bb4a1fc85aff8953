"""The segment report for marketing people: one HTML file, and its tables beside it."""

from consumer.report.report import run_report

__all__ = ["run_report"]
