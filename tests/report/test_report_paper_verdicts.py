"""When a claim of the paper is reproduced, and when that cannot be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from paper_samples import (
    CLASSES,
    PAPERS,
    grid_rows,
    make_labels,
    make_row,
    study_rows,
)
from sklearn.metrics import precision_score

from fersearch.report.paper.audit import audit
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.verdicts import (
    Measured,
    differing_conditions,
    judge,
    macro_precision_interval,
    recall_interval,
)

CLAIMS = load_claims()


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
