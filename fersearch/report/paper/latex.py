r"""The comparison with the paper as LaTeX, to be read with ``\input``; only booktabs is needed.

Where Figure 6 is there, graphicx is needed too.
"""

from __future__ import annotations

from fersearch.report.leaderboard.latex import escape_latex
from fersearch.report.paper.grad_cam_figure import grad_cam_caption
from fersearch.report.paper.models import Paper
from fersearch.report.paper.words import (
    OTHERS_HEADER,
    OTHERS_NOTE,
    TableWords,
    audit_title,
    other_cells,
    table_words,
)
from fersearch.report.text import MISSING

__all__ = ["paper_latex"]

HEADER = ("Row", "Figure", "Claimed", "Measured", "95 % interval", "Difference", "Verdict")


def paper_latex(paper: Paper, *, figure: str = "") -> str:
    r"""Return a booktabs table for each table of the paper, then the figure and the audit.

    Args:
        paper: What to write.
        figure: Path of Figure 6 as LaTeX will find it; none when empty.
    """
    made = " ".join(f"fersearch {paper.version} {paper.created}".split())
    parts = [
        f"% Claimed beside measured, made by {made}\n% Needs \\usepackage{{booktabs}}"
        + (" and \\usepackage{graphicx}." if figure else ".")
    ]
    parts += [_claim_table(table_words(table)) for table in paper.tables]
    if figure:
        parts.append(
            "\n".join(
                [
                    r"\begin{figure}[tbp]",
                    r"  \centering",
                    rf"  \includegraphics[width=0.8\linewidth]{{{figure}}}",
                    rf"  \caption{{{escape_latex(grad_cam_caption(paper.cams))}}}",
                    r"  \label{fig:fersearch-grad-cam}",
                    r"\end{figure}",
                ]
            )
        )
    rows = [" & ".join(map(cell, other_cells(other, paper))) + r" \\" for other in paper.others]
    parts.append(
        _float(
            f"Figures of other papers. {OTHERS_NOTE}",
            "tab:fersearch-other-papers",
            "lrrrrl",
            " & ".join(map(cell, OTHERS_HEADER)) + r" \\",
            rows,
        )
    )
    items = [
        rf"  \item[{escape_latex(audit_title(number, item))}] {escape_latex(item.statement)} "
        rf"\textbf{{{escape_latex(item.finding)}}} {escape_latex(item.evidence)}"
        for number, item in enumerate(paper.audit, start=1)
    ]
    if items:
        parts.append("\n".join([r"\begin{description}", *items, r"\end{description}"]))
    return "\n\n".join(parts) + "\n"


def cell(text: str) -> str:
    """Return a cell as LaTeX."""
    return "--" if text == MISSING else escape_latex(text)


def _claim_table(words: TableWords) -> str:
    lines = []
    for row in words.rows:
        for place, item in enumerate(row.cells):
            first = row.title if place == 0 else ""
            if first and row.under:
                first = f"{first} ({', '.join(row.under)})"
            mark = rf"\textsuperscript{{{item.note}}}" if item.note else ""
            cells = [cell(first), cell(item.quantity)]
            cells += map(cell, (item.claimed, item.measured, item.interval, item.difference))
            lines.append(" & ".join([*cells, f"{cell(item.verdict)}{mark}"]) + r" \\")
    reasons = " ".join(f"({n}) {text}." for n, text in enumerate(words.reasons, start=1))
    caption = f"{words.title}. {words.caption} {reasons}"
    return _float(
        caption,
        f"tab:fersearch-paper-{words.id}",
        "llrrrrl",
        " & ".join(map(cell, HEADER)) + r" \\",
        lines,
    )


def _float(caption: str, label: str, alignment: str, header: str, lines: list[str]) -> str:
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"  \centering",
            rf"  \caption{{{escape_latex(caption)}}}",
            rf"  \label{{{label}}}",
            r"  \scriptsize",
            r"  \setlength{\tabcolsep}{3pt}",
            rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
            r"    \toprule",
            f"    {header}",
            r"    \midrule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table*}",
        ]
    )
