r"""A leaderboard as LaTeX tables, to be read with ``\input``; only booktabs is needed."""

from __future__ import annotations

import re
import unicodedata

from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.leaderboard.cost_words import (
    deployed_number,
    has_deployed,
    latency_words,
)
from fersearch.report.leaderboard.sessions import latency_sessions, runtime_label, shown_runtimes
from fersearch.report.leaderboard.words import (
    number,
    p_value_words,
    protocol_sentence,
    ranks,
    separation,
)
from fersearch.report.summary import is_drawn
from fersearch.report.text import MISSING, format_interval, format_points

__all__ = ["escape_latex", "leaderboard_latex"]

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\`{}",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{NO-BREAK SPACE}": "~",
}
Column = tuple[str, str]
FIRST_COLUMNS: tuple[Column, ...] = (
    ("", "r"),
    ("Model", "l"),
    ("Role", "l"),
    ("Accuracy", "r"),
    (r"95\,\% interval", "r"),
    ("F1", "r"),
    ("UAR", "r"),
    ("AUC", "r"),
    ("ECE", "r"),
    ("Params", "r"),
    ("MACs", "r"),
)
LAST_COLUMNS: tuple[Column, ...] = (
    (r"$\Delta$ first", "r"),
    ("$p$", "r"),
)


def escape_latex(text: object) -> str:
    r"""Return ``text`` on one line so that LaTeX prints it literally, with its default fonts.

    Letters that those fonts lack are printed by their code point.

    >>> print(escape_latex("50% of $x_1$ & <b>"))
    50\% of \$x\_1\$ \& \textless{}b\textgreater{}
    """
    line = unicodedata.normalize("NFC", " ".join(str(text).split()))
    # Two hyphens in a row would become a dash.
    return "".join(map(escape_character, re.sub("-(?=-)", "-\0", line))).replace("[U+0000]", "{}")


def escape_character(character: str) -> str:
    """Return one character as LaTeX."""
    if character in ESCAPES:
        return ESCAPES[character]
    if " " <= character <= "~":
        return character
    # LaTeX reads UTF-8 and sets the letters of Western and Central Europe without a package.
    if "À" <= character <= "ž" and unicodedata.category(character).startswith("L"):
        return character
    return f"[U+{ord(character):04X}]"


def leaderboard_latex(leaderboard: Leaderboard) -> str:
    r"""Return a booktabs table a board, to be read with ``\input``."""
    head = [
        f"% Leaderboard made by fersearch {comment(leaderboard.version)}"
        f" {comment(leaderboard.created)}".rstrip(),
        "% Needs \\usepackage{booktabs}. Rows of different protocols stand in different tables.",
    ]
    tables = [board_table(board) for board in leaderboard.boards if board.rows]
    if not tables:
        head.append("% No tested model was found.")
    return "\n".join(["\n".join(head), *tables]) + "\n"


def comment(text: str) -> str:
    """Return text that stays on the line of its comment."""
    return " ".join(text.split())


def board_table(board: Board) -> str:
    """Return a board as a floating table."""
    places = ranks(board.rows)
    lines = [
        " & ".join(row_cells(board, row, rank, is_first=place == 0)) + r" \\"
        for place, (row, rank) in enumerate(zip(board.rows, places, strict=True))
    ]
    header = " & ".join(title for title, _ in columns(board)) + r" \\"
    alignment = "".join(side for _, side in columns(board))
    label = f"tab:fersearch-{letters(board.kind)}-{letters(board.protocol_hash)[:16]}"
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"  \centering",
            rf"  \caption{{{caption(board)}}}",
            rf"  \label{{{label}}}",
            r"  \scriptsize",
            r"  \setlength{\tabcolsep}{2.5pt}",
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


def columns(board: Board) -> tuple[Column, ...]:
    """Return heading and alignment of a board's columns."""
    latencies = [
        (rf"{escape_latex(runtime_label(name))}\,ms", "r") for name in shown_runtimes(board)
    ]
    deployed = [("int8", "r")] if has_deployed(board) else []
    return (*FIRST_COLUMNS, *latencies, *deployed, *LAST_COLUMNS)


def letters(text: str) -> str:
    """Return the ASCII letters and digits of ``text``."""
    return "".join(item for item in text if item.isascii() and item.isalnum())


def row_cells(board: Board, row: BoardRow, rank: int, *, is_first: bool) -> tuple[str, ...]:
    """Return the cells of a row as LaTeX."""
    metrics, gain = row.metrics, row.versus_first
    p_value = p_value_words(row.p_value_vs_first).removeprefix("p ").removeprefix("= ")
    mark = r"\rlap{$^{\approx}$}" if separation(row) else ""
    difference = "--" if is_first or gain is None else f"${format_points(gain.accuracy)}$"
    return (
        str(rank),
        f"{escape_latex(row.title)}{mark}",
        escape_latex(row.role),
        texted(number(metrics.accuracy, 2, 100)),
        texted(format_interval(metrics.accuracy_ci95)),
        texted(number(metrics.macro_f1, 2, 100)),
        texted(number(metrics.balanced_accuracy, 2, 100)),
        texted(number(metrics.auc, 2, 100)),
        texted(number(metrics.ece, 2, 100)),
        texted(number(row.params, 2, 1e-6)),
        texted(number(row.macs, 1, 1e-6)),
        *(texted(latency_words(row, name, mark="*")) for name in shown_runtimes(board)),
        *([texted(number(deployed_number(row, "int8_accuracy"), 2, 100))] * has_deployed(board)),
        difference,
        p_value.replace("<", "$<$").replace(MISSING, "--"),
    )


def texted(cell: str) -> str:
    """Return a number as LaTeX."""
    return cell.replace(MISSING, "--")


def cost_units(board: Board) -> str:
    """Return what the columns of latency and 8-bit accuracy hold; empty where there are none."""
    parts = []
    if sessions := latency_sessions(board):
        measured = "; ".join(session.sentence for session in sessions)
        parts.append(f"ms: latency, median and 90th percentile ({measured}; *: unsteady)")
    if has_deployed(board):
        parts.append("int8: accuracy of one network as an 8-bit file")
    return "".join(f"{escape_latex(part)}; " for part in parts)


def caption(board: Board) -> str:
    """Return protocol, units and how the intervals were made."""
    sentence = escape_latex(protocol_sentence(board.protocol, board.protocol_hash))
    seeds = {len(row.seeds) for row in board.rows}
    intervals = (
        board.rows[0].metrics.interval
        if len(seeds) == 1
        else (
            "95 % intervals: bootstrap over the test images, plus the variance between seeds with "
            "Student's t where there are several"
        )
    )
    drawn = " The faces are drawings." if is_drawn(board.protocol) else ""
    units = (
        r"Accuracy, macro-F1 (F1), balanced accuracy (UAR), AUC and ECE in \%, means over seeds; "
        r"parameters and multiply-accumulates in millions; "
        rf"{cost_units(board)}"
        r"$\Delta$ first: difference to the first row in points, $p$ after Holm's correction "
        r"($^{\approx}$: not separable from the first at 95\,\%)."
    )
    return f"{sentence}{drawn} {units} {escape_latex(intervals)}."
