"""Tables I to IV and Figure 6 beside measured boards: choice of board, verdicts, formats."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from paper_samples import (
    CLASSES,
    DRAWN,
    NASTY,
    PAPERS,
    baseline_rows,
    grid_rows,
    make_board,
    make_cams,
    make_labels,
    make_row,
    study_rows,
    whole_leaderboard,
)
from PIL import Image
from sklearn.metrics import precision_score

from fersearch.errors import InputError
from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.paper.audit import audit
from fersearch.report.paper.build import paper_report
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.formats import CSV_COLUMNS, write_paper
from fersearch.report.paper.grad_cam_figure import (
    cam_panels,
    draw_grad_cam_figure,
    grad_cam_caption,
)
from fersearch.report.paper.tables import choose_board, find_row
from fersearch.report.paper.verdicts import (
    VERDICTS,
    Measured,
    differing_conditions,
    judge,
    macro_precision_interval,
    recall_interval,
)

CLAIMS = load_claims()


@pytest.fixture(scope="module")
def drawn():
    return paper_report(whole_leaderboard())


@pytest.fixture(scope="module")
def papers():
    return paper_report(whole_leaderboard(PAPERS))


def cells(paper):
    return {
        cell.claim.id: cell
        for table in paper.tables
        for row in table.rows
        for cell in row.cells
        if cell.claim is not None
    }


def measured_at(value, half, *, seeds=3, params=1_261_804):
    labels = make_labels(4)
    row = make_row(labels, "shufflenet_v2_x1_0", "distilled", seeds=seeds, params=params)
    return Measured(value=value, interval=(value - half, value + half), seeds=seeds, row=row)


@pytest.mark.parametrize(
    ("value", "half", "seeds", "verdict"),
    [
        (0.88, 0.010, 3, "reproduced"),
        (0.88, 0.001, 3, "not reproduced"),
        (0.88, 0.001, 1, "cannot be checked"),
        (0.88, 0.010, 1, "reproduced"),
        (0.88, 0.060, 3, "cannot be checked"),
        (0.88, 0.00146, 3, "reproduced"),  # its end rounds to the claim, 88.15 %
        (0.70, 0.060, 3, "not reproduced"),
    ],
)
def test_a_score_is_judged_by_its_interval(value, half, seeds, verdict):
    claim = CLAIMS.figures["II.ferplus.student.accuracy"]
    found, reason = judge(
        claim, measured_at(value, half, seeds=seeds), differences=(), decided_by=()
    )
    assert found == verdict
    assert reason


def test_conditions_come_before_the_interval_and_the_audit_before_all():
    claim = CLAIMS.figures["II.ferplus.student.accuracy"]
    measured = measured_at(0.5, 0.001)
    verdict = judge(claim, measured, differences=("8 epochs, not 150",), decided_by=())
    assert verdict == ("cannot be checked", "8 epochs, not 150")
    decided = [(2, audit()[1])]
    verdict, reason = judge(claim, measured, differences=(), decided_by=decided)
    assert verdict == "internally inconsistent"
    assert reason.startswith("audit item 2 (one_model_many_figures); outside the 95 % interval")
    assert judge(claim, None, differences=(), decided_by=())[1] == "not measured"


@pytest.mark.parametrize(
    ("params", "verdict"),
    [(1_260_779, "reproduced"), (1_349_999, "reproduced"), (1_240_000, "not reproduced")],
)
def test_sizes_are_equal_after_rounding(params, verdict):
    claim = CLAIMS.figures["II.ferplus.student.params"]
    measured = replace(measured_at(params, 0.0), interval=None)
    assert judge(claim, measured, differences=(), decided_by=())[0] == verdict


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_kind": "rafdb"}, "data RAF-DB, not FER2013Plus"),
        ({"n_train": 2_000}, "2,000 of FERPlus's 25,060 training images"),
        ({"label_rule": "argmax"}, "25,060 of FERPlus's 28,389 training images"),
        ({"image_size": 48}, "48 px, not 224"),
        ({"epochs": 8}, "8 epochs, not 150"),
        ({"batch_size": 64}, "64 a batch, not 128"),
        ({"recipe": "default"}, "recipe default, not the paper's"),
        ({"loss": "dkd"}, "loss dkd, not kd"),
        ({"teacher_weights_sha256": ""}, "teacher not pre-trained on MS-Celeb-1M"),
    ],
)
def test_each_condition_that_differs_is_named(change, words):
    claim = CLAIMS.figures["II.ferplus.distilled.accuracy"]
    row = study_rows(make_labels(4))[2]
    assert differing_conditions(claim, row, PAPERS, CLAIMS) == ()
    assert differing_conditions(claim, row, {**PAPERS, **change}, CLAIMS) == (words,)


def test_unrecorded_pre_training_and_other_data_sets_are_no_match():
    row = study_rows(make_labels(4))[2]
    protocol = {key: value for key, value in PAPERS.items() if "weights" not in key}
    claim = CLAIMS.figures["II.ferplus.distilled.accuracy"]
    assert "not recorded" in differing_conditions(claim, row, protocol, CLAIMS)[0]
    unnamed = differing_conditions(CLAIMS.figures["III.ours.accuracy"], row, PAPERS, CLAIMS)
    assert unnamed == ("the paper does not name Table III's data set",)
    # Broken files are skipped: less than one in a hundred does not make another data set.
    assert differing_conditions(claim, row, {**PAPERS, "n_train": 25_000}, CLAIMS) == ()


def test_a_grid_cell_asks_for_learning_rate_and_splits():
    row = grid_rows(make_labels(4))[0]
    claim = CLAIMS.figures["I.t4_a0.4"]
    other = replace(row, settings={**row.settings, "learning_rate": 0.05, "ffe_splits": 8})
    assert len(differing_conditions(claim, row, PAPERS, CLAIMS)) == 1
    assert differing_conditions(claim, other, PAPERS, CLAIMS)[1:] == (
        "learning rate 0.05, not 0.01", "n 8, not 4",
    )  # fmt: skip


def test_macro_precision_and_its_interval():
    labels = make_labels(30)
    row = study_rows(labels)[2]
    low, high = macro_precision_interval(row.logits, labels, resamples=500)
    mean = np.mean(
        [precision_score(labels, seed.argmax(-1), average="macro") for seed in row.logits]
    )
    assert row.metrics.macro_precision == pytest.approx(mean)
    assert low < mean < high
    # Its centre is the same figure, so an interval of equal images has that figure inside.
    accuracy = row.metrics.accuracy_ci95
    assert 0.4 < (high - low) / (accuracy[1] - accuracy[0]) < 2.5


def test_recall_of_a_class_without_images_has_no_interval():
    labels = make_labels(10, absent=["contempt"])
    logits = study_rows(labels)[0].logits
    assert recall_interval(logits, labels, CLASSES.index("contempt")) is None
    assert recall_interval(logits, labels, 0) is not None


def test_drawn_faces_reproduce_sizes_only(drawn):
    found = cells(drawn)
    assert len(found) == 46
    assert drawn.drawn
    reproduced = {name for name, cell in found.items() if cell.verdict == "reproduced"}
    assert reproduced == {
        "II.ferplus.teacher.params", "II.ferplus.student.params", "II.own.student.params",
        "III.resnet18.flops", "III.ours.flops",
    }  # fmt: skip
    assert not [cell for cell in found.values() if cell.verdict == "not reproduced"]
    assert found["II.ferplus.student.accuracy"].reason == (
        "data synthetic, not FER2013Plus; 48 px, not 224; 8 epochs, not 150; 64 a batch, not 128;"
        " recipe default, not the paper's"
    )
    assert sum(drawn.verdicts.values()) == 46
    assert list(drawn.verdicts) == list(VERDICTS)


def test_under_the_papers_conditions_claims_are_decided(papers):
    found = cells(papers)
    assert not papers.drawn
    assert found["II.ferplus.teacher.accuracy"].verdict == "reproduced"
    assert found["II.ferplus.distilled.accuracy"].verdict == "internally inconsistent"
    assert "inside the 95 % interval" in found["II.ferplus.distilled.accuracy"].reason
    assert found["II.ferplus.distilled.params"].reason.endswith("the network has 1.26 M")
    assert found["II.own.student.accuracy"].measured is None
    assert found["III.resnet18.accuracy"].verdict == "cannot be checked"
    assert found["III.tfen.flops"].reason == "model rebuilt from its description"
    assert found["IV.own.happy"].reason.startswith("not measured: the authors' own data")


def test_a_measured_miss_is_not_reproduced():
    labels = make_labels(400)
    board = make_board(study_rows(labels, accuracy=0.5), labels, PAPERS)
    found = cells(paper_report(Leaderboard(boards=(board,))))
    assert found["II.ferplus.student.accuracy"].verdict == "not reproduced"
    assert found["IV.ferplus.happy"].verdict == "not reproduced"
    assert found["II.ferplus.distilled.accuracy"].verdict == "internally inconsistent"


def test_every_cell_holds_measured_minus_claimed(drawn):
    for cell in cells(drawn).values():
        if cell.measured is None:
            assert cell.difference is None
        else:
            assert cell.difference == pytest.approx(cell.measured - cell.claim.value)


def test_tables_hold_what_the_paper_leaves_out(drawn):
    one, _, three, four = drawn.tables
    assert [row.title for row in one.rows[5:]] == [
        "T = 4, alpha = 0.2", "T = 8, alpha = 0.6", "shufflenet_v2_x1_0 as student",
    ]  # fmt: skip
    assert all(len(row.cells) == 2 for row in one.rows)
    assert four.rows[-1].title == "fear"
    assert four.rows[-1].support == 40
    assert [cell.quantity for cell in three.rows[0].cells][-1] == "multiply-accumulates"
    assert "FLOPs" in three.notes[0]


def test_recalls_are_those_of_the_class_that_is_meant(drawn):
    row = next(row for row in whole_leaderboard().boards[0].rows if row.role == "distilled")
    for claim in CLAIMS.of_table("IV"):
        cell = cells(drawn)[claim.id]
        if claim.data == "ferplus":
            assert cell.measured == row.metrics.per_class[claim.class_name].recall


def test_no_rows_at_all_gives_claims_and_commands():
    paper = paper_report(Leaderboard(boards=()))
    found = cells(paper)
    assert len(found) == 46
    assert {cell.verdict for cell in found.values()} == {
        "cannot be checked", "internally inconsistent",
    }  # fmt: skip
    assert [table.board for table in paper.tables] == ["No board has any of these rows."] * 4
    commands = [run.command for table in paper.tables for run in table.missing]
    assert commands[0] == (
        "fersearch study ablation --data ferplus:DIR --image-size 224 --epochs 150"
        " --batch-size 128 --recipe paper --teacher-weights FILE"
    )
    assert len(commands) == 8  # grid, study, four baselines and the study again, study


def test_only_a_baseline():
    labels = make_labels()
    board = make_board(baseline_rows(labels)[:1], labels)
    paper = paper_report(Leaderboard(boards=(board,)))
    found = cells(paper)
    assert found["III.resnet18.flops"].verdict == "reproduced"
    assert found["III.tfen.accuracy"].reason == "not measured"
    missing = [run.command for run in paper.tables[2].missing]
    assert missing[0].startswith("fersearch baseline run tfen --data synthetic:train=400 ")
    # No other table has a board: its commands ask for the same protocol.
    assert "synthetic:train=400" in paper.tables[0].missing[0].command


def test_a_grid_with_missing_cells_and_one_seed():
    labels = make_labels()
    board = make_board(grid_rows(labels, [(6, 0.4)], seeds=1), labels, kind="ablation")
    paper = paper_report(Leaderboard(boards=(board,)))
    table = paper.tables[0]
    assert [row.seeds for row in table.rows] == [0, 0, 1, 0, 0, 1]
    assert table.missing[0].title == (
        "T = 4, alpha = 0.4; T = 6, alpha = 0.2; T = 6, alpha = 0.6; T = 8, alpha = 0.4"
    )
    assert paper.tables[1].protocol_hash == ""


def test_the_board_with_the_nearest_data_is_taken_then_the_fullest():
    labels = make_labels(10)
    subset = {**PAPERS, "n_train": 500}
    rows = study_rows(labels)
    drawn = make_board(rows, labels)
    part = make_board(rows[:1], labels, subset)
    whole = make_board(rows[2:], labels, PAPERS)
    figures = CLAIMS.of_table("II")
    assert choose_board([drawn, part], "leaderboard", figures, CLAIMS) is part
    assert choose_board([drawn, part, whole], "leaderboard", figures, CLAIMS) is whole
    fuller = make_board(rows, labels, subset)
    assert choose_board([part, fuller], "leaderboard", figures, CLAIMS) is fuller
    assert choose_board([part], "ablation", figures, CLAIMS) is None
    other = make_board(baseline_rows(labels), labels, PAPERS)
    assert choose_board([other, drawn], "leaderboard", figures, CLAIMS) is drawn


def test_of_several_rows_the_best_is_not_chosen():
    labels = make_labels(20)
    good = make_row(labels, "resnet18", "baseline", accuracy=0.95, key="z")
    poor = make_row(labels, "resnet18", "baseline", accuracy=0.60, key="a")
    claim = CLAIMS.figures["III.resnet18.accuracy"]
    assert find_row(make_board([good, poor], labels), claim) is poor


def test_another_student_or_teacher_is_no_row_of_the_paper():
    labels = make_labels(10)
    rows = [replace(row, model="mine") for row in study_rows(labels)]
    paper = paper_report(Leaderboard(boards=(make_board(rows, labels),)))
    assert paper.tables[1].protocol_hash == ""
    teacher = study_rows(labels)[0]
    other = replace(teacher, settings={"ffe_splits": 8}, params=11_477_576)
    paper = paper_report(Leaderboard(boards=(make_board([other], labels, PAPERS),)))
    cell = cells(paper)["II.ferplus.teacher.params"]
    assert (cell.verdict, cell.reason) == ("cannot be checked", "teacher with n = 8, not 4")


def test_a_complete_ferplus_test_split_is_used_by_the_audit():
    labels = np.random.default_rng(0).integers(0, len(CLASSES), 3_153)
    board = make_board(study_rows(labels, seeds=1), labels, PAPERS)
    found = {item.id: item for item in paper_report(Leaderboard(boards=(board,))).audit}
    assert "recalls_against_accuracy" not in found  # fear is an eighth of these images


def test_a_class_without_test_images_is_said_to_be_so():
    labels = make_labels(absent=["contempt"])
    paper = paper_report(Leaderboard(boards=(make_board(study_rows(labels), labels),)))
    cell = cells(paper)["IV.ferplus.contempt"]
    assert (cell.measured, cell.interval) == (None, None)
    assert "no image of this class" in cell.reason


# ---- formats ----------------------------------------------------------------------------------


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


# ---- figure 6 ---------------------------------------------------------------------------------


def test_the_figure_shows_shared_images_only(tmp_path):
    first = make_cams(["distilled", "teacher"], indices=(3, 11, 27))
    second = make_cams(["resnet18"], indices=(27, 11, 40), seed=1)
    panels = {
        "T-SNet": (first, "distilled"),
        "teacher": (first, "teacher"),
        "ResNet18 $x$": (second, "resnet18"),
    }
    grid = cam_panels(panels)
    assert sorted(grid.indices.tolist()) == [11, 27]
    for panel, (cams, key) in zip(grid.panels, panels.values(), strict=True):
        for place, index in enumerate(grid.indices):
            at = cams.indices.tolist().index(index)
            assert np.array_equal(panel.maps[place], cams.maps[key][at])
            assert panel.predictions[place] == cams.predictions[key][at]
            assert np.array_equal(grid.images[place], cams.images[at])
    path = draw_grad_cam_figure(panels, tmp_path / "a.png", classes=["$", *CLASSES[1:]])
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height * 1.5
    caption = grad_cam_caption(panels)
    assert "smallest digest" in caption
    assert "T-SNet: layer4 (7 x 7)" in caption


def test_a_picture_with_the_same_number_of_other_data_is_not_shared():
    first, second = make_cams(["a"]), make_cams(["b"])
    other = replace(second, images=255 - second.images)
    assert cam_panels({"a": (first, "a"), "b": (other, "b")}) is None


def test_there_may_be_no_figure(tmp_path):
    assert draw_grad_cam_figure({}, tmp_path / "a.png") is None
    panels = {"a": (make_cams(["a"]), "a"), "b": (make_cams(["b"], indices=(90,)), "b")}
    assert draw_grad_cam_figure(panels, tmp_path / "a.png") is None
    assert not (tmp_path / "a.png").exists()
    assert grad_cam_caption(panels) == ""
    with pytest.raises(InputError, match="no Grad-CAM map of 'x' for a"):
        draw_grad_cam_figure({"a": (make_cams(["a"]), "x")}, tmp_path / "a.png")


def test_colour_images_and_maps_without_heat_are_drawn(tmp_path):
    cams = make_cams(["a"], indices=(1,))
    colour = replace(
        cams,
        images=np.repeat(cams.images, 3, axis=1),
        maps={"a": np.full((1, 48, 48), np.nan, dtype=np.float32)},
    )
    path = draw_grad_cam_figure({"a": (colour, "a")}, tmp_path / "a.png")
    assert path is not None
