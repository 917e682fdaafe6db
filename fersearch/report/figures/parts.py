"""What the figures of a board share: their form, colours of two themes, axes, names and tables.

A figure is plain data in Plotly's JSON form. Its colours are names such as ``"@ink"``, which
:func:`themed` replaces by those of a theme, as the page's script does when the theme changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fersearch.report.leaderboard.board import BoardRow
from fersearch.report.text import MISSING, format_percent

__all__ = [
    "CLASS_COLOURS",
    "ROLE_LOOKS",
    "THEMES",
    "Figure",
    "Look",
    "Spec",
    "Variant",
    "axis",
    "figure_text",
    "finite",
    "layout",
    "log_ticks",
    "look_of",
    "percent",
    "percents",
    "rounded",
    "row_label",
    "short",
    "shown_percent",
    "themed",
]

Spec = dict[str, Any]

# Okabe and Ito's palette, told apart with the common forms of colour blindness. Where a hue of it
# is too faint on the theme's ground, its darker or lighter neighbour stands in.
THEMES: Mapping[str, Mapping[str, Any]] = {
    "light": {
        "@ink": "#1b2430",
        "@muted": "#5b6673",
        "@grid": "#e3e7ec",
        "@line": "#aab3bd",
        "@ground": "#ffffff",
        "@halo": "0px 0px 3px #ffffff, 0px 0px 2px #ffffff",
        "@blue": "#0072b2",
        "@sky": "#3a9fd6",
        "@orange": "#d55e00",
        "@amber": "#c98a00",
        "@green": "#00855f",
        "@purple": "#b55a90",
        "@yellow": "#a89a00",
        "@sequence": [[0, "#f3f7fb"], [0.35, "#b3d3ea"], [0.7, "#2c7fb8"], [1, "#004a78"]],
        "@onfaint": "#14202b",
        "@onstrong": "#ffffff",
    },
    "dark": {
        "@ink": "#e6ebf1",
        "@muted": "#a0abb8",
        "@grid": "#2b343f",
        "@line": "#566270",
        "@ground": "#171c22",
        "@halo": "0px 0px 3px #171c22, 0px 0px 2px #171c22",
        "@blue": "#56b4e9",
        "@sky": "#9ad3f5",
        "@orange": "#f08040",
        "@amber": "#e69f00",
        "@green": "#2fbf94",
        "@purple": "#dd8fbb",
        "@yellow": "#f0e442",
        "@sequence": [[0, "#1d252e"], [0.35, "#1f4a68"], [0.7, "#2f7aad"], [1, "#b5e0fa"]],
        "@onfaint": "#ffffff",
        "@onstrong": "#0b1218",
    },
}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True, slots=True)
class Look:
    """How a role is drawn: colour and shape, so that neither has to be told alone."""

    colour: str
    symbol: str


ROLE_LOOKS = {
    "distilled": Look("@blue", "circle"),
    "student": Look("@orange", "square"),
    "teacher": Look("@purple", "diamond"),
    "baseline": Look("@green", "triangle-up"),
}
OTHER_LOOK = Look("@muted", "cross")
CLASS_COLOURS = (
    "@blue",
    "@orange",
    "@green",
    "@purple",
    "@amber",
    "@sky",
    "@yellow",
    "@muted",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the pictures that a figure can show.

    Attributes:
        label: What the figure's choice calls it.
        spec: ``data`` and ``layout`` in Plotly's form.
        header: Titles of the columns of its data as a table.
        rows: The cells, as text.
    """

    label: str
    spec: Spec
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of a board.

    Attributes:
        key: Unique on the board; made of letters, digits and hyphens.
        title: Its title.
        caption: What it shows and how to read it.
        variants: Its pictures, at least one.
        choice: What the variants differ in; empty where there is one only.
        wide: Whether it asks for the whole width of a page.
    """

    key: str
    title: str
    caption: str
    variants: tuple[Variant, ...]
    choice: str = ""
    wide: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """The variants as JSON."""
        return {
            "variants": [
                {"label": item.label, **item.spec, "header": item.header, "rows": item.rows}
                for item in self.variants
            ]
        }


def themed(value: Any, theme: str = "light") -> Any:
    """Return a figure's JSON with the colours of a theme in place of their names.

    >>> themed({"line": {"color": "@blue"}}, "dark")
    {'line': {'color': '#56b4e9'}}
    """
    if isinstance(value, Mapping):
        return {key: themed(item, theme) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [themed(item, theme) for item in value]
    if isinstance(value, str) and value in THEMES[theme]:
        return THEMES[theme][value]
    return value


def finite(value: float | None) -> float | None:
    """Return a number, or None for None, NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def rounded(value: float | None, digits: int = 5) -> float | None:
    """Return a number with that many significant digits, None where there is none."""
    number = finite(value)
    return None if number is None else float(f"{number:.{digits}g}")


def percent(value: float | None) -> float | None:
    """Return a share in percent, to three places."""
    number = finite(value)
    return None if number is None else round(100 * number, 3)


def percents(values: Sequence[float | None]) -> list[float | None]:
    """Return shares in percent, to three places."""
    return [percent(value) for value in values]


def shown_percent(value: float | None, digits: int = 2) -> str:
    """Return a share as text; an en dash where there is none.

    >>> shown_percent(0.5, 1), shown_percent(float("nan"))
    ('50.0 %', '–')
    """  # noqa: RUF002 - the en dash is meant
    return format_percent(finite(value), digits)


def short(text: object, length: int = 28) -> str:
    """Return a name on one line, cut to a length.

    >>> short("a  long name", 8)
    'a long…'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def figure_text(text: object, length: int = 28) -> str:
    """Return a name so that Plotly, which reads some HTML, shows it literally.

    >>> figure_text("<b>x</b> & y")
    '&lt;b&gt;x&lt;/b&gt; &amp; y'
    """
    line = short(text, length) or MISSING
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def look_of(row: BoardRow) -> Look:
    """Return how a row's role is drawn."""
    return ROLE_LOOKS.get(row.role, OTHER_LOOK)


def row_label(rank: int, row: BoardRow) -> str:
    """Return what a choice of rows calls one."""
    return f"{rank}. {short(row.title, 60)} ({row.role})"


def axis(title: str = "", **settings: Any) -> Spec:
    """Return an axis with a thin grid and a margin that grows with its labels."""
    return {
        "title": {"text": title, "standoff": 10},
        "automargin": True,
        "gridcolor": "@grid",
        "zeroline": False,
        "linecolor": "@line",
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "@line",
    } | settings


def log_ticks(low: float, high: float) -> list[float] | None:
    """Return round values between two ends of a logarithmic axis; None where hardly any are.

    >>> log_ticks(0.8, 12)
    [1.0, 2.0, 5.0, 10.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 10), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = sorted(
            {float(f"{step * 10.0**decade:.3g}") for decade in decades for step in steps}
        )
        inside = [value for value in values if low <= value <= high]
        if len(inside) >= 3:
            return inside
    return None


def layout(*, height: int, xaxis: Spec, yaxis: Spec, **settings: Any) -> Spec:
    """Return a layout without ground of its own, so that the page's shows through."""
    return {
        "height": height,
        "margin": {"l": 48, "r": 14, "t": 12, "b": 44},
        "font": {"family": FONT, "size": 12, "color": "@ink"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {
            "bgcolor": "@ground",
            "bordercolor": "@line",
            "align": "left",
            "namelength": -1,
            "font": {"family": FONT, "size": 12, "color": "@ink"},
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"color": "@ink"},
        },
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": xaxis,
        "yaxis": yaxis,
    } | settings
