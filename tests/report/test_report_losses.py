"""Several losses on one board: each row says its own, and only kd rows are the paper's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from paper_samples import PAPERS, grid_rows, make_board, make_labels, study_rows

from fersearch.evaluations import TestedRow
from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.leaderboard.collect import settings_of
from fersearch.report.leaderboard.words import space_words
from fersearch.report.paper.build import paper_report
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.tables import find_row
from fersearch.report.study_report import confirmed_rows, setting_names, setting_rows
from fersearch.report.tables import claimed_precision

CLAIMS = load_claims()


def with_loss(row, loss, **fields):
    return replace(row, settings={**row.settings, "loss": loss}, **fields)


def test_a_claim_is_of_the_row_with_the_papers_loss():
    labels = make_labels(20)
    row = study_rows(labels)[2]
    mixed = [with_loss(row, "dist", key="a", seeds=(1, 2, 3)), with_loss(row, "kd", key="b")]
    claim = CLAIMS.figures["II.ferplus.distilled.accuracy"]
    assert find_row(make_board(mixed, labels, PAPERS), claim).key == "b"
    # Where there is none, another stands there, and the reason says what differs.
    only = make_board([mixed[0]], labels, PAPERS)
    assert find_row(only, claim).key == "a"
    paper = paper_report(Leaderboard(boards=(only,)))
    cell = next(c for t in paper.tables for r in t.rows for c in r.cells if c.claim == claim)
    assert "loss dist, not kd" in cell.reason or cell.verdict == "internally inconsistent"


def test_cells_of_another_loss_stand_below_table_one_and_beside_no_claim():
    labels = make_labels(20)
    row = grid_rows(labels)[0]
    cells = [with_loss(row, loss, key=loss, title=loss) for loss in ("dkd", "kd")]
    board = make_board(cells, labels, PAPERS, "ablation")
    assert find_row(board, CLAIMS.figures["I.t4_a0.4"]).key == "kd"
    table = paper_report(Leaderboard(boards=(board,))).tables[0]
    claimed = [item for item in table.rows if item.measured_as == "kd"]
    assert [cell.claim.id for cell in claimed[0].cells if cell.claim] == ["I.t4_a0.4"]
    (other,) = [item for item in table.rows if item.measured_as == "dkd"]
    assert other.title == "T = 4, alpha = 0.4, loss dkd"
    assert all(cell.claim is None for cell in other.cells)
    alone = make_board(cells[:1], labels, PAPERS, "ablation")
    assert find_row(alone, CLAIMS.figures["I.t4_a0.4"]) is None


@pytest.mark.parametrize(
    ("params", "protocol", "expected"),
    [
        ({}, {}, 0.988),
        ({}, {"loss": "kd"}, 0.988),
        ({}, {"loss": "dkd"}, None),
        ({"loss": "kd"}, {"loss": ["kd", "dkd"]}, 0.988),
        ({"loss": "dkd"}, {"loss": ["kd", "dkd"]}, None),
    ],
)
def test_the_papers_grid_figures_stand_beside_its_own_loss_only(params, protocol, expected):
    cell = {"temperature": 6.0, "alpha": 0.4, **params}
    assert claimed_precision(cell, protocol) == expected


class Studied:
    """What an evaluation says of its study."""

    def __init__(self, **protocol):
        self.protocol = protocol


def row_of(role, **settings):
    return TestedRow(
        key="k", model="m", model_options={}, title="t", role=role, seeds=(1,), runs=("r",),
        settings=settings, val_accuracy=(0.5,), params=1, training_params=1, macs=None,
        macs_not_counted=(), file_mb=0.1,
    )  # fmt: skip


def test_a_distilled_row_says_its_loss_since_studies_of_a_board_differ_in_it():
    row = row_of("distilled", alpha=0.4)
    assert settings_of(row, Studied(loss="dkd")) == {"alpha": 0.4, "loss": "dkd"}
    searched = row_of("distilled", loss="dist", alpha=0.4)
    assert settings_of(searched, Studied(loss=["kd", "dist"])) == {"loss": "dist", "alpha": 0.4}
    assert settings_of(row_of("student", alpha=0.4), Studied(loss="dkd")) == {"alpha": 0.4}
    assert settings_of(row, Studied()) == {"alpha": 0.4}


def test_settings_of_different_losses_share_a_table_with_gaps():
    paper = {"alpha": 0.4, "loss": "kd"}
    best = {"alpha": 0.2, "loss": "dkd", "dkd_other_weight": 4.0}
    third = {"alpha": 0.3, "loss": "dist", "dist_within_weight": 0.5}
    result = {
        "best": {"trial": 7, "params": best, "val_accuracy": 0.9},
        "paper_settings": [{"trial": 0, "params": paper, "val_accuracy": 0.8}],
        "confirmed": [
            {"params": params, "seeds": [1], "val_accuracy": [0.7]} for params in (best, third)
        ],
    }
    assert setting_names(result) == ["alpha", "loss", "dkd_other_weight", "dist_within_weight"]
    assert setting_rows(result) == [
        ("best (trial 7)", "0.2", "dkd", "4", "", "90.00 %"),
        ("paper (trial 0)", "0.4", "kd", "", "", "80.00 %"),
    ]
    assert [row[1:5] for row in confirmed_rows(result)] == [
        ("0.2", "dkd", "4", ""),
        ("0.3", "dist", "", "0.5"),
    ]


def test_the_space_in_words_says_where_a_parameter_is_searched():
    weight = {"low": 0.5, "high": 8.0, "log": True, "when": {"loss": ["dkd"]}}
    space = {"loss": {"choices": ["kd", "dkd"], "when": {}}, "dkd_other_weight": weight}
    assert space_words(space) == (
        "loss kd, dkd; dkd_other_weight 0.5 to 8 (logarithmic) where loss is dkd"
    )
