"""Reports from plain results: the summary table, the study's page, the confusion matrix."""

from fersearch.report.backbones import backbones_text
from fersearch.report.confusion_figure import draw_confusion
from fersearch.report.front import front_text, under_limit
from fersearch.report.study_report import write_study_report
from fersearch.report.summary import (
    SUMMARY_HEADER,
    SummaryRow,
    gain_sentence,
    summary_cells,
    summary_rows,
    summary_text,
)
from fersearch.report.tables import baselines_text, grid_text, write_grid_report

__all__ = [
    "SUMMARY_HEADER",
    "SummaryRow",
    "backbones_text",
    "baselines_text",
    "draw_confusion",
    "front_text",
    "gain_sentence",
    "grid_text",
    "summary_cells",
    "summary_rows",
    "summary_text",
    "under_limit",
    "write_grid_report",
    "write_study_report",
]
