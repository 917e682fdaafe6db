"""The comparison with the paper as a page, Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from paper_samples import (
    DRAWN,
    NASTY,
    grid_rows,
    make_board,
    make_cams,
    make_labels,
    study_rows,
    whole_leaderboard,
)

from fersearch.errors import InputError
from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.paper.build import paper_report
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.formats import CSV_COLUMNS, write_paper
from fersearch.report.paper.verdicts import VERDICTS

CLAIMS = load_claims()


@pytest.fixture(scope="module")
def drawn():
    return paper_report(whole_leaderboard())


class Page(HTMLParser):
    """Collects what a page opens, its texts, and whether its elements close."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def nasty_leaderboard():
    labels = make_labels(10)
    first, second = NASTY
    rows = [
        replace(
            row,
            title=first if row.role == "teacher" else second,
            notes=(first,),
            settings={**row.settings, first: second},
        )
        for row in study_rows(labels)
    ]
    # A row of the grid that the paper has not shows its own title.
    grid = [replace(row, title=second) for row in grid_rows(labels)]
    protocol = {**DRAWN, "data": first, "label_rule": second}
    return Leaderboard(
        boards=(make_board(rows, labels, protocol), make_board(grid, labels, protocol, "ablation")),
        left_out=NASTY,
        created=first,
        version=second,
        tracking=first,
        command=f"fersearch report paper {first}",
    )


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nasty")
    cams = make_cams(["a"])
    paper = paper_report(nasty_leaderboard(), cams={NASTY[0]: (cams, "a")})
    write_paper(paper, folder)
    return folder


def test_all_files_are_written_and_named(drawn, tmp_path):
    written = write_paper(drawn, tmp_path)
    assert [path.name for path in written] == [
        f"paper.{n}" for n in ("html", "md", "csv", "json", "tex")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in written)
    assert write_paper(drawn, tmp_path / "b", ["json"]) == [tmp_path / "b" / "paper.json"]
    with pytest.raises(InputError, match="unknown report format 'pdf'"):
        write_paper(drawn, tmp_path, ["pdf"])


def test_html_is_whole_accessible_and_needs_nothing_else(drawn, tmp_path):
    cams = make_cams(["distilled"])
    paper = replace(drawn, cams={"T-SNet": (cams, "distilled")})
    figure, html = write_paper(paper, tmp_path, ["html"])
    assert figure == tmp_path / "figures" / "grad_cam.png"
    text = html.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("caption") == page.tags.count("table") == 5
    headers = [attrs for tag, attrs in page.attributes if tag == "th"]
    assert all(attrs.get("scope") for attrs in headers)
    sources = [attrs["src"] for tag, attrs in page.attributes if tag == "img"]
    assert [source[:22] for source in sources] == ["data:image/png;base64,"]
    assert all(
        attrs["href"].startswith(("#", "data:")) for _, attrs in page.attributes if "href" in attrs
    )
    targets = {attrs["id"] for _, attrs in page.attributes if "id" in attrs}
    links = {attrs["href"][1:] for tag, attrs in page.attributes if tag == "a"}
    assert links <= targets
    for words in ("cannot be checked", "internally inconsistent", "Drawn faces", "86.23 %"):
        assert words in page.text


def test_nasty_names_are_shown_literally_in_html(nasty):
    text = (nasty / "paper.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("script") == 1
    assert NASTY[0] in page.text
    assert "<script>alert" not in text


def test_nasty_names_are_shown_literally_in_markdown(nasty):
    text = (nasty / "paper.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in prose
    assert "\n\n\n" not in text
    width = 0
    for line in prose.splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        count = line.replace("\\|", "").count("|")
        width = width or count
        assert count == width, line


def test_csv_holds_every_cell_and_no_formula(nasty):
    content = (nasty / "paper.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.reader(io.StringIO(content)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert {len(row) for row in rows} == {len(CSV_COLUMNS)}
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert {row["claim"] for row in table if row["claim"]} == {
        claim.id for claim in CLAIMS.figures.values() if claim.table != "text"
    }
    assert any(row["measured_as"] == "'" + NASTY[1] for row in table)
    for row in table:
        for value in row.values():
            assert not value.startswith(("=", "@", "\t")), value
    number = next(row for row in table if row["claim"] == "II.ferplus.teacher.accuracy")
    assert float(number["claimed"]) == 0.8623
    assert float(number["difference"]) == pytest.approx(float(number["measured"]) - 0.8623)


def test_json_is_strict_and_holds_claim_and_verdict(nasty, drawn, tmp_path):
    write_paper(drawn, tmp_path, ["json"])
    for folder in (nasty, tmp_path):
        text = (folder / "paper.json").read_text(encoding="utf-8")
        plain = json.loads(text, parse_constant=pytest.fail)
        assert [table["table"] for table in plain["tables"]] == ["I", "II", "III", "IV"]
        assert sum(plain["verdicts"].values()) == 46
        assert [item["number"] for item in plain["audit"]] == list(range(1, 15))
        cell = plain["tables"][1]["rows"][0]["cells"][1]
        assert (cell["printed"], cell["claimed"]) == ("86.23", 0.8623)
        assert cell["verdict"] in VERDICTS


def test_latex_is_balanced_and_escaped(nasty):
    text = (nasty / "paper.tex").read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}%&#_$]", "", body)
    assert bare.count("{") == bare.count("}")
    assert "\\input{y}" not in body
    assert "%" not in bare
    for line in re.findall(r"^    .*\\\\$", body, re.MULTILINE):
        count = len(re.findall(r"(?<!\\)&", line))
        assert count in (5, 6), line
    for name in ("table*", "tabular", "figure", "description"):
        assert body.count(f"\\begin{{{name}}}") == body.count(f"\\end{{{name}}}")
    assert "\\includegraphics" in body


def test_a_page_without_anything_measured_is_written(tmp_path):
    paper = paper_report(Leaderboard(boards=()))
    write_paper(paper, tmp_path)
    assert "No Grad-CAM maps" in (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert "nan" not in (tmp_path / "paper.md").read_text(encoding="utf-8")
