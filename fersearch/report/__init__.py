"""Reports from plain results: the summary table, the study's page, the confusion matrix."""

from fersearch.report.confusion_figure import draw_confusion
from fersearch.report.study_report import write_study_report
from fersearch.report.summary import (
    SUMMARY_HEADER,
    SummaryRow,
    gain_sentence,
    summary_cells,
    summary_rows,
    summary_text,
)

__all__ = [
    "SUMMARY_HEADER",
    "SummaryRow",
    "draw_confusion",
    "gain_sentence",
    "summary_cells",
    "summary_rows",
    "summary_text",
    "write_study_report",
]
