"""The leaderboard as JSON, CSV, Markdown and LaTeX, names of every awkward kind included."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from board_samples import (
    CLASSES,
    DEPLOYED,
    NASTY,
    make_board,
    make_latencies,
    make_leaderboard,
    nasty_leaderboard,
    small_leaderboard,
    twin_board,
)

from fersearch.errors import InputError
from fersearch.report.leaderboard.formats import (
    leaderboard_csv,
    leaderboard_json,
    leaderboard_latex,
    leaderboard_markdown,
    safe_cell,
)
from fersearch.report.leaderboard.latex import columns, escape_latex
from fersearch.report.leaderboard.sessions import latency_sessions
from fersearch.report.leaderboard.text import leaderboard_text
from fersearch.report.leaderboard.words import ranks, separation, standing
from fersearch.report.leaderboard.write import LEADERBOARD_FORMATS, write_leaderboard

ROW_KEYS = {
    "model",
    "role",
    "seeds",
    "accuracy",
    "accuracy_ci95",
    "macro_precision",
    "macro_f1",
    "balanced_accuracy",
    "auc",
    "ece",
    "params",
    "macs",
    "file_mb",
    "latency_ms",
    "latencies_ms",
    "deployed",
    "claimed",
    "p_value_vs_first",
    "run_ids",
    "title",
    "settings",
    "macro_f1_ci95",
    "balanced_accuracy_ci95",
    "training_params",
    "macs_not_counted",
    "study",
    "command",
    "source",
    "notes",
    "gain_vs_first",
}


@pytest.fixture(scope="module")
def small():
    return small_leaderboard()


@pytest.fixture(scope="module")
def nasty():
    return nasty_leaderboard()


def test_json_holds_every_board_and_the_first_at_the_top(small):
    plain = leaderboard_json(small)
    assert plain["protocol_hash"] == small.boards[0].protocol_hash
    assert plain["rows"] == plain["tables"][0]["rows"]
    assert [table["protocol_hash"] for table in plain["tables"]] == [
        board.protocol_hash for board in small.boards
    ]
    assert len(plain["rows"]) == 7
    for row in plain["rows"]:
        assert set(row) >= ROW_KEYS
    assert plain["left_out"]
    assert plain["version"] == "0.1.0"
    json.dumps(plain, allow_nan=False)


def test_json_row_has_the_figures_of_its_metrics(small):
    board, row = small.boards[0], leaderboard_json(small)["rows"][1]
    given = board.rows[1]
    assert row["seeds"] == list(given.seeds)
    assert row["accuracy"] == given.metrics.accuracy
    assert row["accuracy_ci95"] == list(given.metrics.accuracy_ci95)
    assert set(row["latency_ms"]) >= {"runtime", "threads", "image_size", "p50", "p90", "min"}
    assert set(row["gain_vs_first"]) >= {"accuracy", "ci95", "p_value"}
    assert row["p_value_vs_first"] == given.p_value_vs_first
    assert np.sum(row["confusion"]) == len(board.labels) * len(given.seeds)
    distilled = next(row for row in leaderboard_json(small)["rows"] if row["role"] == "distilled")
    assert distilled["claimed"] == {"accuracy": 0.988, "precision": None, "params_m": 1.3}
    assert leaderboard_json(small)["rows"][0]["gain_vs_first"] is None


def test_json_turns_what_is_missing_into_null(small, nasty):
    second = leaderboard_json(small)["tables"][1]
    assert second["rows"][0]["macs"] is None
    assert second["rows"][0]["latency_ms"] is None
    assert second["rows"][0]["per_class"]["contempt"]["recall"] is None
    assert leaderboard_json(nasty)["rows"][0]["settings"]["loss"] is None


def test_latencies_of_all_runtimes_stand_beside_the_main_one(small):
    row = leaderboard_json(small)["rows"][0]
    assert list(row["latencies_ms"]) == ["onnxruntime", "onnxruntime-int8"]
    assert row["latency_ms"] == row["latencies_ms"]["onnxruntime"]
    for name, block in row["latencies_ms"].items():
        assert set(block) >= {
            "runtime", "runtime_version", "threads", "image_size", "p50", "p90", "min", "runs",
            "host", "session", "unsteady",
        }  # fmt: skip
        assert block["runtime"] == name
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(small), newline="")))
    assert float(lines[0]["latency_p50_ms"]) == row["latency_ms"]["p50"]
    assert lines[0]["latency_runtime"] == "onnxruntime"
    int8 = row["latencies_ms"]["onnxruntime-int8"]
    for name in ("p50", "p90", "min"):
        assert float(lines[0][f"latency_in_onnxruntime_int8_{name}_ms"]) == int8[name]
    assert lines[-1]["latency_in_onnxruntime_int8_p50_ms"] == ""
    text = leaderboard_markdown(small)
    fp32 = row["latency_ms"]
    assert "| latency fp32 p50 / p90 (ms) | latency int8 p50 (ms) |" in text
    assert f"| {fp32['p50']:.2f} / {fp32['p90']:.2f} | {int8['p50']:.2f} |" in text
    latex = leaderboard_latex(small)
    assert r"fp32\,ms & int8\,ms" in latex
    assert f"{fp32['p50']:.2f} / {fp32['p90']:.2f} & {int8['p50']:.2f} &" in latex
    assert "fp32 (ONNX Runtime 1.32.0), int8 (ONNX Runtime 1.32.0); 1 thread" in latex
    shown = leaderboard_text(small)
    assert "fp32 (ms)  int8 (ms)" in shown
    assert f"{fp32['p50']:.2f}" in shown


def test_a_main_runtime_that_failed_is_null_whatever_the_others_gave():
    board = make_board(2)
    only = {"onnxruntime-int8": board.rows[0].latencies["onnxruntime-int8"]}
    board = replace(board, rows=(replace(board.rows[0], latencies=only), board.rows[1]))
    row = leaderboard_json(make_leaderboard(board))["rows"][0]
    assert row["latency_ms"] is None
    assert list(row["latencies_ms"]) == ["onnxruntime-int8"]
    line = next(csv.DictReader(io.StringIO(leaderboard_csv(make_leaderboard(board)), newline="")))
    assert line["latency_p50_ms"] == ""
    assert line["latency_in_onnxruntime_int8_p50_ms"] != ""


def test_the_8_bit_file_is_in_every_format_and_only_where_it_was_tested():
    board = make_board(2, deployed=DEPLOYED)
    board = replace(board, rows=(board.rows[0], replace(board.rows[1], deployed=None)))
    leaderboard = make_leaderboard(board)
    rows = leaderboard_json(leaderboard)["rows"]
    assert [row["deployed"] for row in rows] == [DEPLOYED, None]
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(leaderboard), newline="")))
    assert {name: float(lines[0][name]) for name in DEPLOYED} == DEPLOYED
    assert {lines[1][name] for name in DEPLOYED} == {""}
    text = leaderboard_markdown(leaderboard)
    assert "| int8 accuracy (fp32) (%) |" in text
    assert "| 86.12 (86.51) |" in text
    assert "tested in the same opening of the test split" in text
    latex = leaderboard_latex(leaderboard)
    assert r"ms & int8 & $\Delta$ first" in latex
    assert "& 86.12 &" in latex
    assert "8-bit file" in latex
    assert "86.12" in leaderboard_text(leaderboard)
    for write in (leaderboard_markdown, leaderboard_latex, leaderboard_text):
        without = write(make_leaderboard(make_board(2)))
        assert "int8 acc" not in without
        assert "8-bit" not in without


def test_json_of_nothing():
    plain = leaderboard_json(make_leaderboard())
    assert plain["rows"] == []
    assert plain["tables"] == []
    assert plain["protocol_hash"] is None


def test_csv_has_a_line_a_row(small):
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(small), newline="")))
    assert len(lines) == 9
    assert {line["protocol_hash"] for line in lines} == {
        board.protocol_hash for board in small.boards
    }
    given = small.boards[0].rows[1]
    assert float(lines[1]["accuracy"]) == given.metrics.accuracy
    assert float(lines[1]["accuracy_low"]) == given.metrics.accuracy_ci95[0]
    assert float(lines[1]["gain_vs_first"]) == given.versus_first.accuracy  # negative, and a number
    assert lines[1]["latency_unsteady"] in {"true", "false"}
    assert lines[-1]["macs"] == ""


def test_csv_runs_no_formula(nasty):
    board = nasty.boards[0]
    for line in csv.reader(io.StringIO(leaderboard_csv(nasty), newline="")):
        for cell in line:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
                float(cell)
    titles = [
        line["title"] for line in csv.DictReader(io.StringIO(leaderboard_csv(nasty), newline=""))
    ]
    assert [title.removeprefix("'") for title in titles] == [row.title for row in board.rows]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-2+3", "'-2+3"),
        ("+nan", "'+nan"),
        ("-1.5e-05", "-1.5e-05"),
        (-3, "-3"),
        ("+4", "+4"),
        (None, ""),
        (False, "false"),
        ("plain", "plain"),
    ],
)
def test_csv_cells(value, cell):
    assert safe_cell(value) == cell


def test_markdown_tables_are_whole(small, nasty):
    for leaderboard in (small, nasty):
        text = leaderboard_markdown(leaderboard)
        width = 0
        for line in text.splitlines():
            if not line.startswith("|"):
                width = 0
                continue
            bars = len(re.findall(r"(?<!\\)\|", line))
            assert width in (0, bars), line
            width = bars


def test_markdown_says_what_a_reader_needs(small):
    text = leaderboard_markdown(small)
    for board in small.boards:
        assert board.protocol_hash in text
    assert "not comparable" in text
    assert "not separable from the first at 95 %" in text
    assert "drawings, not photographs" in text
    assert "fersearch study distill --trials 50 --name 'distill'" in text
    assert "Holm" in text
    assert "its logits are missing" in text
    assert "Latency was not measured." in text


def test_markdown_lets_no_html_through(nasty):
    text = leaderboard_markdown(nasty)
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    assert "<img" not in outside
    assert "<script" not in outside


def test_latex_escapes_every_special_character():
    escaped = escape_latex("\\ { } $ & # ^ _ ~ % < >")
    bare = re.sub(r"\\(textbackslash|text[a-z]+)\{\}|\\[{}$&#_%]", "", escaped)
    assert not set(bare) & set("\\{}$&#^_~%<>")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("--trials", "-{}-trials"),
        ("naïve \N{EN DASH} ok", "naïve -- ok"),
        ("模", "[U+6A21]"),
        ("a\nb", "a b"),
        ('"x"', "''x''"),
    ],
)
def test_latex_texts(text, latex):
    assert escape_latex(text) == latex


def test_latex_is_balanced_and_whole(small, nasty):
    for leaderboard in (small, nasty):
        text = leaderboard_latex(leaderboard)
        body = re.sub(r"\\[{}$&#_%]", "", re.sub(r"^%.*$", "", text, flags=re.MULTILINE))
        assert body.count("{") == body.count("}")
        assert body.count("$") % 2 == 0
        assert text.count(r"\begin{table*}") == text.count(r"\end{table*}")
        assert text.count(r"\toprule") == len(leaderboard.boards)
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        widths = [len(columns(item)) for item in leaderboard.boards for _ in (0, *item.rows)]
        assert [len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows] == widths
        assert text.isascii() or set(text) - set(map(chr, range(128))) <= set("ïéè")


def test_latex_commands_are_known(nasty):
    known = {
        *("begin", "end", "centering", "caption", "label", "scriptsize", "setlength", "tabcolsep"),
        *("toprule", "midrule", "bottomrule", "rlap", "approx", "Delta", "ldots", "times", ","),
        *("textbackslash", "textless", "textgreater", "textasciicircum", "textasciitilde"),
        *("textbar", "usepackage", "\\"),
        *("{", "}", "$", "&", "#", "_", "%", "`"),
    }
    found = re.findall(r"\\([A-Za-z]+|.)", leaderboard_latex(nasty))
    assert set(found) <= known


def test_latex_of_nothing():
    assert r"\begin" not in leaderboard_latex(make_leaderboard())


def test_equal_rows_share_their_rank_and_are_not_separable():
    rows = twin_board().rows
    places = ranks(rows)
    twins = [
        place
        for row, place in zip(rows, places, strict=True)
        if row.title in {"EFF-ResNet18", "Twin of the first"}
    ]
    assert twins[0] == twins[1]
    twin = next(row for row in rows if row.title == "Twin of the first")
    assert separation(twin) == "not separable from the first at 95 %"
    for write in (leaderboard_markdown, leaderboard_latex, leaderboard_csv):
        assert "Twin of the first" in write(make_leaderboard(twin_board()))


def test_rows_whose_seeds_do_not_pair_are_not_compared():
    board = make_board(3)
    rows = (
        *board.rows[:2],
        replace(board.rows[2], versus_first=None, p_value_vs_first=None),
    )
    board = replace(board, rows=rows)
    assert "seeds do not pair" in leaderboard_markdown(make_leaderboard(board))
    assert "1 model has other seeds" in standing(board)
    assert separation(rows[2]) == ""


def test_what_stands_first_is_said_for_one_row_and_for_none():
    assert "nothing to compare it with" in standing(make_board(1))
    assert standing(replace(make_board(1), rows=())).startswith("No model")


def test_sessions_are_kept_apart():
    board = make_board(4)
    rows = tuple(
        replace(row, latencies=make_latencies(1.0 + place, session=f"bench-{place % 2}"))
        for place, row in enumerate(board.rows)
    )
    sessions = latency_sessions(replace(board, rows=rows))
    assert [session.letter for session in sessions] == ["a", "b"]
    assert sessions[0].members == tuple(
        (rows[place].key, name) for place in (0, 2) for name in rows[0].latencies
    )
    assert list(sessions[0].latencies) == ["onnxruntime", "onnxruntime-int8"]
    text = leaderboard_markdown(make_leaderboard(replace(board, rows=rows)))
    assert "do not compare and are not ranked together" in text


def test_everything_is_written_whole(tmp_path, small):
    paths = write_leaderboard(small, tmp_path / "new")
    assert [path.name for path in paths] == [f"leaderboard.{name}" for name in LEADERBOARD_FORMATS]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in paths
    )
    assert json.loads(paths[3].read_text(encoding="utf-8")) == leaderboard_json(small)
    assert paths[2].read_bytes().count(b"\r\n") == 10
    assert b"\r\r\n" not in paths[2].read_bytes()


def test_some_formats_only(tmp_path, small):
    assert [path.name for path in write_leaderboard(small, tmp_path, ("md", "md"))] == [
        "leaderboard.md"
    ]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path, small):
    with pytest.raises(InputError, match=r"no leaderboard format 'jsn'.*json"):
        write_leaderboard(small, tmp_path, ("md", "jsn"))
    assert list(tmp_path.iterdir()) == []


def test_classes_and_names_are_complete(nasty):
    plain = leaderboard_json(nasty)
    assert plain["tables"][0]["classes"] == list(CLASSES)
    assert {row["title"] for row in plain["rows"]} == set(NASTY)
