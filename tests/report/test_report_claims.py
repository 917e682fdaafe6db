"""The claims file: complete, as printed, and strict."""

from __future__ import annotations

import pytest

from fersearch.errors import InputError
from fersearch.plugins import shipped
from fersearch.report.paper.claims import claimed_for, load_claims, parse_claims

TEXT = shipped("reports", "claims.toml").read_text(encoding="utf-8")


def test_every_claimed_figure_is_there():
    claims = load_claims()
    assert {name: len(claims.of_table(name)) for name in claims.tables} == {
        "I": 5, "II": 12, "III": 15, "IV": 14, "text": 4,
    }  # fmt: skip
    printed = {claim.id: claim.printed for claim in claims.figures.values()}
    assert printed["I.t6_a0.4"] == "0.988"
    assert printed["II.own.distilled.accuracy"] == "94.69"
    assert printed["III.resnet18.flops"] == "11.18"
    assert printed["IV.ferplus.disgust"] == "0.90"
    assert [other.model for other in claims.others][-1] == "T-SNet (Zhao et al.)"
    assert {other.source for other in claims.others} <= set(claims.sources)


@pytest.mark.parametrize(
    ("name", "value", "half_step", "percent"),
    [
        ("II.ferplus.distilled.accuracy", 0.9162, 0.00005, "91.62"),
        ("IV.ferplus.disgust", 0.90, 0.005, "90"),
        ("III.ours.accuracy", 0.988, 0.0005, "98.8"),
    ],
)
def test_a_share_knows_its_value_and_its_rounding(name, value, half_step, percent):
    claim = load_claims().figures[name]
    assert claim.value == pytest.approx(value)
    assert claim.half_step == pytest.approx(half_step)
    assert claim.percent == percent


def test_a_size_is_in_parameters():
    claim = load_claims().figures["II.ferplus.teacher.params"]
    assert (claim.value, claim.half_step, claim.shown) == (11.8e6, 50_000, "11.8 M")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "version must be 1"),
        ("version = 1", "version = 1\nother_things = 3", "other_things is not a known key"),
        ("epochs = 150", "epochs = 150\nepoch = 1", "epoch is not a known key (protocol.epoch"),
        ('printed = "0.899"', "printed = 0.899", "table[0].figures[0].printed"),
        ('printed = "0.899"', 'printed = "0.899", note = "x"', "table[0].figures[0].note"),
        ('printed = "0.899"', 'printed = ""', "exactly when the unit is none"),
        ('id = "t6_a0.2"', 'id = "t4_a0.4"', "'I.t4_a0.4' is given twice"),
        ('unit = "percent"', 'unit = "per cent"', "must be one of fraction"),
        ('decides = ["I.t6_a0.4", "I.t8', 'decides = ["I.t6_a0.5", "I.t8', "decides[0]"),
        ('source = "qcs"', 'source = "qsc"', "other[0].source"),
        ("disgust = 119", 'disgust = "119"', "class_counts.majority.disgust"),
        ("[scope]", "[scop]", "scop is not a known key"),
        ("value = 1700", "value = 1700.5", "count[0].value"),
        ("[scope]", "[scope", "not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_with_the_path(old, new, message):
    assert old in TEXT
    with pytest.raises(InputError) as caught:
        parse_claims(TEXT.replace(old, new, 1), "claims.toml")
    assert message in str(caught.value)


def test_a_missing_section_is_named():
    with pytest.raises(InputError, match="source is missing"):
        parse_claims("version = 1", "x.toml")


def test_claims_for_the_board():
    shufflenet = "shufflenet_v2_x1_0"
    assert claimed_for("eff_resnet18", "teacher", "ferplus") == {
        "accuracy": 0.8623, "params_m": 11.8,
    }  # fmt: skip
    assert claimed_for(shufflenet, "student", "ferplus") == {"accuracy": 0.8815, "params_m": 1.3}
    assert claimed_for(shufflenet, "distilled", "synthetic") == {"params_m": 1.2}
    assert claimed_for("ecdnet", "baseline", "rafdb") == {
        "accuracy": 0.903, "precision": 0.897, "params_m": 3.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "role"),
    [
        ("shufflenet_v2_x0_5", "distilled"),
        ("resnet18", "teacher"),
        ("eff_resnet18", "baseline"),
        ("mine", "baseline"),
        (load_claims().figures["II.ferplus.teacher.params"].model, "nobody"),
    ],
)
def test_nothing_is_claimed_of_other_models(model, role):
    assert claimed_for(model, role, "ferplus") is None
