"""Figures of a search: the value of each trial, and what the parameters counted for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fersearch.report.figures.parts import (
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    finite,
    layout,
    percent,
    rounded,
    short,
    shown_percent,
)
from fersearch.report.leaderboard.board import SearchHistory, SearchTrial
from fersearch.report.text import format_count, format_value

__all__ = ["search_figures"]

STATES = (
    ("complete", "@blue", "circle"),
    ("pruned", "@muted", "x-thin-open"),
)


def search_figures(searches: Iterable[SearchHistory]) -> list[Figure]:
    """Return history and importances of each search that has any."""
    figures = []
    for number, search in enumerate(searches, start=1):
        figures += [
            figure
            for figure in (history_figure(search, number), importance_figure(search, number))
            if figure is not None
        ]
    return figures


def valued(search: SearchHistory) -> list[tuple[SearchTrial, float]]:
    """Return the trials that reached a value."""
    return [(trial, value) for trial in search.trials if (value := finite(trial.value)) is not None]


def best_so_far(trials: Iterable[tuple[SearchTrial, float]]) -> list[tuple[int, float]]:
    """Return number and value wherever a complete trial beats all before it."""
    steps: list[tuple[int, float]] = []
    for trial, value in trials:
        if trial.state == "complete" and (not steps or value > steps[-1][1]):
            steps.append((trial.number, value))
    return steps


def trial_hover(trial: SearchTrial, value: float) -> str:
    """Return what a trial's mark says on hovering."""
    settings = "".join(
        f"<br>{figure_text(name, 40)} {figure_text(format_value(setting), 40)}"
        for name, setting in trial.params.items()
    )
    return (
        f"<b>trial {trial.number}</b>, {figure_text(trial.state)}<br>{shown_percent(value)}"
        f"{settings}"
    )


def history_traces(search: SearchHistory, known: Sequence[tuple[SearchTrial, float]]) -> list[Spec]:
    """Return the line of the best so far, then the trials by their state."""
    best, last = best_so_far(known), max(trial.number for trial in search.trials)
    traces: list[Spec] = [
        {
            "type": "scatter",
            "name": "best so far",
            "mode": "lines",
            "x": [*(place for place, _ in best), *([last] if best else [])],
            "y": [
                *(percent(value) for _, value in best),
                *([percent(best[-1][1])] if best else []),
            ],
            "line": {"shape": "hv", "color": "@orange", "width": 1.8},
            "hoverinfo": "skip",
        }
    ]
    for state, colour, symbol in STATES:
        members = [(trial, value) for trial, value in known if trial.state == state]
        if members:
            traces.append(
                {
                    "type": "scatter",
                    "name": state,
                    "mode": "markers",
                    "x": [trial.number for trial, _ in members],
                    "y": [percent(value) for _, value in members],
                    "marker": {
                        "color": colour,
                        "symbol": symbol,
                        "size": 7,
                        "line": {"color": colour, "width": 1.4},
                    },
                    "text": [trial_hover(*member) for member in members],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    return traces


def history_figure(search: SearchHistory, number: int) -> Figure | None:
    """Return the value of each trial and the best so far; None where no trial has a value."""
    known = valued(search)
    if not known:
        return None
    spec = {
        "data": history_traces(search, known),
        "layout": layout(
            height=360,
            xaxis=axis("trial", rangemode="tozero"),
            yaxis=axis(f"validation {figure_text(search.metric)} (%)"),
            showlegend=True,
        ),
    }
    counts = {
        state: sum(trial.state == state for trial in search.trials)
        for state in ("complete", "pruned", "failed")
    }
    caption = (
        f"{format_count(len(search.trials), 'trial')} on the validation split: "
        f"{counts['complete']} complete, {counts['pruned']} pruned at the value that they had "
        f"reached, {counts['failed']} failed. The best of many trials flatters itself; the test "
        "figures above come from fresh seeds."
    )
    table = tuple(
        (
            str(trial.number),
            trial.state,
            shown_percent(trial.value),
            short(format_value(dict(trial.params)), 160),
        )
        for trial in search.trials
    )
    header = ("trial", "state", f"validation {search.metric}", "settings")
    return Figure(
        key=f"search-{number}",
        title=f"Search of {short(search.study, 60)}",
        caption=caption,
        variants=(Variant(label="", spec=spec, header=header, rows=table),),
    )


def importance_figure(search: SearchHistory, number: int) -> Figure | None:
    """Return the share of each parameter; None where there is none."""
    shares = [
        (name, share) for name, share in search.importances.items() if finite(share) is not None
    ]
    if not shares:
        return None
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [percent(share) for _, share in shares],
        "y": list(range(len(shares))),
        "width": 0.6,
        "marker": {"color": "@blue"},
        "text": [f"{100 * share:.0f} %" for _, share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
    top = max(100 * share for _, share in shares) or 1.0
    spec = {
        "data": [trace],
        "layout": layout(
            height=max(160, 90 + 40 * len(shares)),
            xaxis=axis("share of the variation (%)", range=[0, rounded(1.18 * top)]),
            yaxis=axis(
                tickmode="array",
                tickvals=list(range(len(shares))),
                ticktext=[figure_text(name, 22) for name, _ in shares],
                range=[len(shares) - 0.4, -0.6],
                showgrid=False,
                ticks="",
            ),
        ),
    }
    note = search.importance_note.strip().rstrip(".")
    caption = (
        "How much of the variation between trials each parameter accounts for, within the searched "
        f"ranges{f': {note}' if note else ''}."
    )
    table = tuple((short(name, 60), shown_percent(share, 1)) for name, share in shares)
    return Figure(
        key=f"importance-{number}",
        title=f"What counted in the search of {short(search.study, 40)}",
        caption=caption,
        variants=(Variant(label="", spec=spec, header=("parameter", "share"), rows=table),),
    )
