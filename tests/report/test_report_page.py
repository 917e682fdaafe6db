"""The page's text and the figures' data; what a browser makes of them is tested beside this."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from board_samples import (
    DEPLOYED,
    NASTY,
    draw_labels,
    make_board,
    make_latencies,
    make_latency,
    make_leaderboard,
    make_row,
    nasty_leaderboard,
    ranked,
    small_leaderboard,
    twin_board,
)

from fersearch.plugins import shipped
from fersearch.report.figures.board import THEMES, board_figures, pareto_front, themed
from fersearch.report.leaderboard.columns import accuracy_scale, columns_of
from fersearch.report.leaderboard.page import embedded_json, leaderboard_html
from fersearch.report.text import MISSING


class Page(HTMLParser):
    """Collects elements and text, and checks that elements close in order."""

    VOID = frozenset({"meta", "link", "input", "br", "circle", "rect", "path", "use"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag, **wanted):
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def small_text():
    return leaderboard_html(small_leaderboard())


@pytest.fixture(scope="module")
def small(small_text):
    return Page(small_text)


def test_page_is_well_formed_and_names_are_unique(small):
    assert small.open == []
    names = [attributes["id"] for _, attributes in small.elements if attributes.get("id")]
    assert len(names) == len(set(names))
    for _, attributes in small.elements:
        for key in ("aria-controls", "aria-labelledby"):
            assert attributes.get(key) is None or attributes[key] in names
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"].removeprefix("#") in names


def test_page_loads_nothing(small, small_text):
    for tag, attributes in small.elements:
        assert "src" not in attributes, tag
        href = attributes.get("href")
        assert href is None or href.startswith(("#", "data:")), href
    policy = small.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy
    ours = "".join(shipped("reports", name).read_text() for name in ("page.css", "page.js"))
    assert "http" not in ours
    assert "url(" not in ours
    assert small_text.count('id="plotly"') == 1


def test_table_can_be_read_by_a_screen_reader(small):
    assert len(small.all("table")) == len(small.all("caption")) == 2
    heads = small.all("th", scope="col")
    assert all(head["aria-sort"] in {"none", "ascending"} for head in heads)
    assert len(small.all("button", **{"class": "sort"})) == len(heads)
    assert len(small.all("th", scope="row")) == 9
    assert len(small.all("p", **{"aria-live": "polite"})) == 2
    plots = small.all("div", **{"class": "plot"})
    assert plots
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert len(small.all("details", **{"class": "data"})) == len(plots)


def test_page_says_what_a_reader_needs(small):
    text = " ".join(" ".join(small.text).split())
    for words in (
        "9 facial-expression models",
        "2,400 training, 800 validation, 500 test images, 48 px, 8 epochs, 3 seeds",
        "not comparable",
        "not separable from the first",
        "drawings, not photographs",
        "Holm",
        "McNemar",
        "distill once; by baselines 2 times",
        "its logits are missing",
        "unsteady",
        "98.80",
        "fersearch study distill --trials 50 --name 'distill'",
    ):
        assert words in text, words


def test_awkward_names_are_shown_and_do_nothing():
    leaderboard = nasty_leaderboard()
    text = leaderboard_html(leaderboard)
    page = Page(text)
    assert page.open == []
    shown = " ".join("".join(page.text).split())
    for name in NASTY:
        assert " ".join(name.split()) in shown
    assert not page.all("img")
    kinds = [attributes.get("type") for attributes, _ in page.scripts]
    assert kinds.count(None) == 1
    assert kinds.count("text/plain") == 1
    for attributes, content in page.scripts:
        if attributes.get("type") == "application/json":
            json.loads(content)
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_embedded_json_ends_no_script():
    value = {"</script><!--": "<script>\u2028\u2029&"}
    text = str(embedded_json(value))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "leaderboard",
    [
        make_leaderboard(),
        make_leaderboard(make_board(1, with_study=False)),
        make_leaderboard(make_board(1, seeds=1, with_study=False, latencies={}, macs=None)),
        make_leaderboard(make_board(3, absent=("fear", "neutral"), kind="ablation")),
        make_leaderboard(twin_board()),
        make_leaderboard(replace(make_board(1, with_study=False), rows=())),
        make_leaderboard(replace(make_board(2), protocol={})),
        make_leaderboard(make_board(40, images=80, seeds=1)),
    ],
    ids=["nothing", "one", "bare", "absent", "twins", "no rows", "no protocol", "forty"],
)
def test_every_size_renders(leaderboard):
    page = Page(leaderboard_html(leaderboard))
    assert page.open == []
    rows = sum(len(board.rows) for board in leaderboard.boards)
    assert len(page.all("tr", **{"class": "figures"})) == rows
    text = "".join(page.text)
    assert "nan" not in re.findall(r"[a-z]+", text)
    assert not re.search(r"\bNone\b(?! of)", text)
    assert bool(rows) == bool(page.all("script", id="plotly"))


def test_columns_without_figures_are_left_out():
    bare = make_board(1, with_study=False, latencies={}, macs=None)
    keys = [column.key for column in columns_of(bare)]
    assert not {"difference", "claimed", "macs", "latency-fp32", "int8"} & set(keys)
    full = {column.key for column in columns_of(make_board(2, deployed=DEPLOYED))}
    assert full >= {"difference", "macs", "latency-fp32", "latency-int8", "int8"}


def test_sessions_are_marked_in_the_table():
    board = make_board(4)
    rows = tuple(
        replace(row, latencies=make_latencies(1.0 + place, session=f"bench-{place % 2}"))
        for place, row in enumerate(board.rows)
    )
    page = Page(leaderboard_html(make_leaderboard(replace(board, rows=rows))))
    cells = [item["data-session"] for item in page.all("td") if item.get("data-session")]
    assert cells == ["a", "a", "b", "b", "a", "a", "b", "b"]  # in both runtimes
    figure = next(item for item in board_figures(replace(board, rows=rows)) if item.key == "cost")
    labels = [variant.label for variant in figure.variants]
    assert labels[-4:] == [
        f"latency {runtime}, median, session {letter} (ms)"
        for runtime in ("fp32", "int8")
        for letter in "ab"
    ]
    assert "they do not compare" in figure.caption


def cells_of(board, key, place=0):
    """Return the cell of a row in the column of this key."""
    column = next(item for item in columns_of(board) if item.key == key)
    return column.cell(board.rows[place], rank=1, is_first=place == 0, letters={})


def test_every_runtime_has_a_column_and_the_main_one_both_percentiles():
    board = make_board(4)
    row = board.rows[0]
    fp32, int8 = (cells_of(board, f"latency-{name}") for name in ("fp32", "int8"))
    assert (fp32.text, int8.text) == (
        f"{row.latencies['onnxruntime'].p50:.2f}",
        f"{row.latencies['onnxruntime-int8'].p50:.2f}",
    )
    assert fp32.second == f"p90 {row.latency.p90:.2f}"
    assert int8.second == ""
    place = next(n for n, item in enumerate(board.rows) if item.latency.unsteady)
    assert cells_of(board, "latency-fp32", place).flag == "unsteady"
    assert cells_of(board, "latency-int8", place).flag == ""
    names = [column.name for column in columns_of(board) if column.runtime]
    assert names == ["Latency fp32", "Latency int8"]


def test_a_runtime_that_failed_for_a_row_leaves_its_cell_empty():
    board = make_board(3)
    only = {"onnxruntime-int8": board.rows[0].latencies["onnxruntime-int8"]}
    board = replace(board, rows=(replace(board.rows[0], latencies=only), *board.rows[1:]))
    assert board.rows[0].latency is None
    assert cells_of(board, "latency-fp32").text == MISSING
    assert cells_of(board, "latency-fp32").value is None
    assert cells_of(board, "latency-int8").value is not None
    variants = figures_of(board)["cost"].variants
    missing = next(item for item in variants if item.label == "latency fp32, median (ms)")
    assert missing.rows[0][2] == MISSING
    assert missing.rows[1][2] != MISSING


def test_the_main_runtime_comes_first_and_others_keep_their_names():
    board = make_board(2)
    figures = {
        **board.rows[0].latencies,
        "eager": make_latency(7.0, runtime="eager"),
        "Mine & <b>": make_latency(8.0, runtime="Mine & <b>"),
    }
    rows = tuple(replace(row, latencies=figures, runtime="eager") for row in board.rows)
    board = replace(board, rows=rows)
    columns = [column for column in columns_of(board) if column.runtime]
    assert [column.unit for column in columns] == [
        "eager, ms", "fp32, ms", "int8, ms", "Mine & <b>, ms",
    ]  # fmt: skip
    assert [column.key for column in columns][-1] == "latency-mine-b-"
    assert cells_of(board, "latency-eager").second == "p90 7.84"
    labels = [variant.label for variant in figures_of(board)["cost"].variants]
    assert labels[3] == "latency eager, median (ms)"
    text = leaderboard_html(make_leaderboard(board))
    assert Page(text).open == []
    assert "Mine & <b>" not in text


def test_the_8_bit_file_stands_beside_its_float32_network():
    cell = cells_of(make_board(2, deployed=DEPLOYED), "int8")
    assert (cell.text, cell.second) == ("86.12", "fp32 86.51")
    assert cell.value == DEPLOYED["int8_accuracy"]
    text = leaderboard_html(make_leaderboard(make_board(2, deployed=DEPLOYED)))
    assert "tested in the same opening of the test split" in text
    assert "8 bits: test accuracy 86.12 %, validation 87.01 %, 1.4 MB" in text
    board = make_board(2, deployed=DEPLOYED)
    board = replace(board, rows=(replace(board.rows[0], deployed=None), board.rows[1]))
    assert (cells_of(board, "int8").text, cells_of(board, "int8").value) == (MISSING, None)
    caption = figures_of(board)["cost"].caption
    assert "Accuracies are those of the float32 networks" in caption


def test_bars_lie_on_the_scale():
    board = make_board(5)
    scale = accuracy_scale(board.rows)
    for row in board.rows:
        bar = scale.bar(row, board.rows[0])
        assert 0 < bar.low <= bar.mean <= bar.high < scale.width
    assert accuracy_scale(()).low == 0


def figures_of(board):
    return {figure.key: figure for figure in board_figures(board)}


def test_figures_are_plain_json_with_known_colours():
    for figure in board_figures(make_board(9)):
        text = json.dumps(figure.plain, allow_nan=False)
        assert set(re.findall(r'"(@[a-z]+)"', text)) <= set(THEMES["light"])
        for theme in THEMES:
            assert '"@' not in json.dumps(themed(figure.plain, theme))
        for variant in figure.variants:
            assert variant.spec["data"]
            assert all(len(row) == len(variant.header) for row in variant.rows)
    assert set(THEMES["light"]) == set(THEMES["dark"])


def test_a_figure_for_everything():
    keys = set(figures_of(make_board(4)))
    assert keys >= {"cost", "seeds", "recall", "confusion", "reliability", "roc", "gains"}
    assert keys >= {"search-1", "importance-1"}
    assert board_figures(replace(make_board(1), rows=())) == ()
    assert not {"gains", "search-1"} & set(figures_of(make_board(1, with_study=False)))


def test_one_class_alone_has_no_roc():
    labels = np.zeros(30, dtype=np.int64)
    rows = ranked([make_row(labels, number, seeds=1) for number in range(2)], labels)
    board = replace(make_board(2, with_study=False), labels=labels, rows=rows)
    assert "roc" not in figures_of(board)
    assert Page(leaderboard_html(make_leaderboard(board))).open == []


def test_absent_classes_have_no_recall():
    board = make_board(2, absent=("fear",))
    place = board.classes.index("fear")
    figures = figures_of(board)
    heat = figures["recall"].variants[0].spec["data"][0]
    assert [row[place] for row in heat["z"]] == [None, None]
    assert "no test image of fear" in figures["recall"].caption
    confusion = figures["confusion"].variants[0].spec["data"][0]
    assert set(confusion["z"][place]) == {None}
    curves = figures["roc"].variants[1].spec["data"]
    assert "fear" not in {trace["name"] for trace in curves}


def test_pareto_front_keeps_what_nothing_beats():
    assert pareto_front([1, 2, 3, 2], [0.5, 0.6, 0.55, 0.7]) == [0, 3]
    assert pareto_front([1, 1], [0.5, 0.5]) == [0, 1]
    assert pareto_front([1, 1], [0.5, 0.6]) == [1]
    assert pareto_front([2, 1], [0.5, 0.5]) == [1]
    assert pareto_front([None, None], [0.5, 0.6]) == []


def test_plotly_reads_no_markup_in_names():
    labels = draw_labels(60)
    rows = ranked([make_row(labels, 0, seeds=1, title=NASTY[0])], labels)
    board = replace(make_board(1, with_study=False), labels=labels, rows=rows)
    for figure in board_figures(board):
        for variant in figure.variants:
            assert "<img" not in json.dumps(variant.spec)


def test_reliability_counts_every_prediction():
    board = make_board(2, images=90)
    for variant in figures_of(board)["reliability"].variants:
        bars = variant.spec["data"][2]
        assert sum(bars["y"]) == 90 * 3


def test_search_figure_counts_states():
    board = make_board(2)
    figure = figures_of(replace(board, searches=make_board(3).searches))["search-1"]
    trials = make_board(3).searches[0].trials
    shown = sum(len(trace["x"]) for trace in figure.variants[0].spec["data"][1:])
    assert shown == sum(trial.value is not None for trial in trials)
    assert "1 failed" in figure.caption
    assert len(figure.variants[0].rows) == len(trials)
