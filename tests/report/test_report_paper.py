"""Tables I to IV of the paper beside measured boards: which board, which row, which cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from paper_samples import (
    CLASSES,
    PAPERS,
    baseline_rows,
    grid_rows,
    make_board,
    make_labels,
    make_row,
    study_rows,
    whole_leaderboard,
)

from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.paper.build import paper_report
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.tables import choose_board, find_row
from fersearch.report.paper.verdicts import VERDICTS

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
