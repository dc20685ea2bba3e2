"""The report of a run: one HTML page, its figures, and its numbers as JSON."""

from __future__ import annotations

from nearsight.report.data import RunData, report_json
from nearsight.report.page import write_report

__all__ = ["RunData", "report_json", "write_report"]
