"""The audit computes its findings, and finds nothing in figures that agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fersearch.errors import InputError
from fersearch.models import create, macs
from fersearch.report.paper.audit import CHECKS, audit
from fersearch.report.paper.audit_counts import accuracy_bound, layer_outputs, parameters
from fersearch.report.paper.claims import load_claims

STATUS = {"contradiction", "impossible", "missing", "mislabelled"}


def changed(**figures):
    """Return the claims with some figures printed otherwise; dots are written as double bars."""
    claims = load_claims()
    found = dict(claims.figures)
    for name, printed in figures.items():
        key = name.replace("__", ".")
        found[key] = replace(found[key], printed=printed)
    return replace(claims, figures=found)


def items(claims=None, **options):
    return {item.id: item for item in audit(claims, **options)}


def test_every_statement_is_found_wanting():
    found = items()
    assert list(found) == [statement.id for statement in load_claims().statements]
    assert {item.status for item in found.values()} == STATUS
    assert all(item.finding.endswith(".") and item.evidence for item in found.values())
    assert {statement.check for statement in load_claims().statements} == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "status", "parts"),
    [
        ("best_setting", "contradiction", ["place 5 of 5 (the lowest)", "0.988", "0.891"]),
        ("one_model_many_figures", "contradiction", ["2 values of precision", "3 values of acc"]),
        ("student_start", "contradiction", ["86.23 %", "88.15 %", "88.57 %", "90.45 %"]),
        ("one_network_two_sizes", "contradiction", ["1,260,779", "11,771,975", "adds 513"]),
        ("flops_are_parameters", "mislabelled", ["11,180,103", "1.819 G", "0.148 G"]),
        ("data_not_reported", "missing", ["No figure of RAF-DB"]),
        ("class_not_reported", "missing", ["no fear"]),
        ("metrics_not_reported", "missing", ["AUC and inference time"]),
        ("binary_definitions", "mislabelled", ["2 classes", "7 or more"]),
        ("accuracy_on_1700", "impossible", ["3 of 3", "1505.69", "1537.65", "1609.73"]),
        ("rare_recalls", "impossible", ["of 23 is 20.70", "of 27 is 24.57"]),
        ("recalls_against_accuracy", "contradiction", ["at least 93.5 %", "91.62 %", "4.3 %"]),
        ("maxpool_output", "impossible", ["56x56"]),
        ("ffe_output", "impossible", ["14x14", "256 channels"]),
    ],
)
def test_findings_hold_their_numbers(name, status, parts):
    item = items()[name]
    assert item.status == status
    for part in parts:
        assert part in f"{item.finding} {item.evidence}"


def test_figures_that_agree_are_not_found():
    assert "best_setting" not in items(changed(I__t8_a0__4="0.999"))
    one = changed(
        III__ours__precision="0.988",
        III__ours__accuracy="0.9162",
        text__accuracy="91.62",
        I__t6_a0__4="0.988",
    )
    assert "one_model_many_figures" not in items(one)
    assert "student_start" not in items(
        changed(text__ferplus__student_start="88.15", text__own__student_start="90.45")
    )
    fitting = changed(
        II__own__teacher__accuracy="88.59",
        II__own__student__accuracy="90.47",
        II__own__distilled__accuracy="94.71",
    )
    assert "accuracy_on_1700" not in items(fitting)
    assert "recalls_against_accuracy" not in items(
        changed(II__ferplus__distilled__accuracy="94.00")
    )
    sizes = changed(
        II__ferplus__distilled__params="1.3",
        II__own__distilled__params="1.3",
        II__own__teacher__params="11.8",
    )
    assert "one_network_two_sizes" not in items(sizes)


def test_measured_supports_replace_the_assumed_shares():
    counts = dict.fromkeys(load_claims().class_counts["majority"], 100)
    counts |= {"disgust": 20, "contempt": 100}
    found = items(ferplus_supports=counts)
    assert "rare_recalls" not in found  # 18 of 20 and 91 of 100
    assert "recalls_against_accuracy" not in found  # an eighth of the images is of fear
    counts["fear"] = 5
    text = items(ferplus_supports=counts)["recalls_against_accuracy"].evidence
    assert "test split that was measured" in text


def test_the_bound_is_the_weighted_recall():
    claims = load_claims()
    recalls = {
        "anger": claims.figures["IV.ferplus.angry"],
        "sadness": claims.figures["IV.ferplus.sad"],
    }
    bound = accuracy_bound(recalls, {"anger": 60, "sadness": 20, "fear": 20}, 0.5)
    assert bound.printed == pytest.approx((60 * 0.95 + 20 * 0.92) / 100)
    assert bound.lowest == pytest.approx((60 * 0.945 + 20 * 0.915) / 100)
    inner = (60 * 0.945 + 20 * 0.915) / 80
    assert inner * (1 - bound.needed_share) == pytest.approx(0.5)


def test_known_counts_are_those_of_the_networks():
    counts = load_claims().counts
    assert parameters("resnet18") == 11_180_103
    assert parameters("shufflenet_v2_x1_0") == 1_260_779
    assert layer_outputs() == {"maxpool": (64, 56, 56), "layer3": (256, 14, 14)}
    for model in ("resnet18", "shufflenet_v2_x1_0"):
        counted = macs(create(model, num_classes=7), 224).total
        assert counted == pytest.approx(counts[f"{model}_macs"].value, rel=1e-3)


def test_an_unknown_check_is_named():
    claims = load_claims()
    wrong = (replace(claims.statements[0], check="best_settings"),)
    with pytest.raises(InputError, match=r"best_settings.*did you mean best_setting"):
        audit(replace(claims, statements=wrong))
