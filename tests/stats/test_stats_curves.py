"""Reliability and ROC curves against hand computation and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import auc, roc_auc_score

from fersearch.errors import InputError
from fersearch.stats import calibration_error, evaluate, reliability, roc_curves

CLASSES = ("neutral", "happiness", "surprise")


def random_case(
    seed: int, *, seeds: int = 2, images: int = 80, num_classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=images)
    noise = generator.normal(size=(seeds, images, num_classes))
    return noise + 1.5 * np.eye(num_classes)[labels], labels


def test_reliability_by_hand() -> None:
    # With 2 bins 0.5 belongs to the lower one; the upper one holds 0.6 and 0.9.
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9]])
    diagram = reliability(probabilities, np.array([0, 1, 1]), bins=2)
    assert diagram.centres.tolist() == [0.25, 0.75]
    assert diagram.counts.tolist() == [1, 2]
    assert diagram.confidence == pytest.approx([0.5, 0.75])
    assert diagram.right == pytest.approx([1.0, 0.5])
    assert diagram.ece == pytest.approx((1 * 0.5 + 2 * 0.25) / 3)


def test_an_empty_bin_has_no_share() -> None:
    diagram = reliability([[1.0, 0.0]], [0], bins=4)
    assert diagram.counts.tolist() == [0, 0, 0, 1]
    assert np.isnan(diagram.right[:3]).all()
    assert np.isnan(diagram.confidence[:3]).all()


@settings(max_examples=40, deadline=None)
@given(case=st.integers(0, 10_000), bins=st.integers(1, 30))
def test_the_diagram_of_one_seed_gives_the_calibration_error(case: int, bins: int) -> None:
    logits, labels = random_case(case, seeds=1)
    probabilities = softmax(logits[0], axis=-1)
    diagram = reliability(probabilities, labels, bins=bins)
    gaps = np.abs(diagram.right - diagram.confidence) * diagram.counts / len(labels)
    expected = calibration_error(probabilities, labels, bins=bins)
    assert np.nansum(gaps) == pytest.approx(expected)
    assert diagram.ece == pytest.approx(expected)
    assert diagram.counts.sum() == len(labels)


def test_seeds_share_the_bins_and_the_error_is_that_of_the_tables() -> None:
    logits, labels = random_case(1, seeds=3)
    probabilities = softmax(logits, axis=-1)
    together = reliability(probabilities, labels)
    alone = [reliability(seed, labels) for seed in probabilities]
    assert together.counts.tolist() == np.sum([one.counts for one in alone], axis=0).tolist()
    right = np.nansum([one.right * one.counts for one in alone], axis=0)
    assert np.nan_to_num(together.right * together.counts) == pytest.approx(right)
    assert together.ece == pytest.approx(evaluate(logits, labels, CLASSES, seeds=[0, 1, 2]).ece)


def test_roc_curve_by_hand() -> None:
    # Class b: scores 4 (hit), 3 (false alarm), 2 (hit), 1 (false alarm). Rates (0, 1/2), then
    # (1/2, 1/2), straight up to (1/2, 1), then (1, 1). Area 3/4.
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    logits = np.stack([np.zeros(4), scores], axis=1)[None]
    curves = roc_curves(logits, np.array([1, 0, 1, 0]), ("a", "b"))
    b = curves.classes[1]
    assert curves.fpr == pytest.approx(np.arange(101) / 100)
    assert b.name == "b"
    assert b.tpr[:50] == pytest.approx(np.full(50, 0.5))
    assert b.tpr[50:] == pytest.approx(np.ones(51))
    assert b.auc == 0.75
    # With two classes, the other one's scores are turned round: the same curve turned round.
    assert curves.classes[0].auc == 0.75
    assert curves.macro is not None
    assert curves.macro.auc == 0.75
    assert curves.left_out == ()


def test_seeds_are_averaged_vertically() -> None:
    logits, labels = random_case(2, seeds=3)
    together = roc_curves(logits, labels, CLASSES)
    alone = [roc_curves(seed[None], labels, CLASSES) for seed in logits]
    for index in range(3):
        mean = np.mean([one.classes[index].tpr for one in alone], axis=0)
        assert together.classes[index].tpr == pytest.approx(mean)
        assert together.classes[index].auc == pytest.approx(
            np.mean([one.classes[index].auc for one in alone])
        )


def test_the_macro_area_is_that_of_the_tables_and_near_that_of_the_curve() -> None:
    logits, labels = random_case(3, images=2000)
    curves = roc_curves(logits, labels, CLASSES)
    assert curves.macro is not None
    metrics = evaluate(logits, labels, CLASSES, seeds=[0, 1])
    assert curves.macro.auc == pytest.approx(metrics.auc)
    assert auc(curves.fpr, curves.macro.tpr) == pytest.approx(curves.macro.auc, abs=0.005)
    probabilities = softmax(logits, axis=-1)
    first = np.mean([roc_auc_score(labels == 0, seed[:, 0]) for seed in probabilities])
    assert curves.classes[0].auc == pytest.approx(first)


@settings(max_examples=25, deadline=None)
@given(case=st.integers(0, 10_000), images=st.integers(3, 40))
def test_curves_never_fall_and_end_at_one(case: int, images: int) -> None:
    logits, labels = random_case(case, images=images)
    curves = roc_curves(logits, labels, CLASSES)
    for curve in (*curves.classes, *([curves.macro] if curves.macro else [])):
        assert (np.diff(curve.tpr) >= -1e-12).all()
        assert curve.tpr[-1] == pytest.approx(1.0)
        assert (curve.tpr >= 0).all()
    assert {curve.name for curve in curves.classes} | set(curves.left_out) == set(CLASSES)


def test_classes_without_images_are_left_out_and_named() -> None:
    logits, labels = random_case(4)
    curves = roc_curves(logits, np.where(labels == 2, 0, labels), CLASSES)
    assert [curve.name for curve in curves.classes] == ["neutral", "happiness"]
    assert curves.left_out == ("surprise",)


def test_a_single_class_has_no_curve() -> None:
    logits, labels = random_case(5)
    curves = roc_curves(logits, np.zeros_like(labels), CLASSES)
    assert (curves.classes, curves.macro, curves.left_out) == ((), None, CLASSES)


@pytest.mark.parametrize(
    ("probabilities", "bins", "words"),
    [
        (np.full((2, 2), 0.5), 0, "cannot have 0 bins"),
        (np.array([[2.0, -1.0], [0.5, 0.5]]), 15, "no probabilities"),
        (np.array([[3.0, 1.0], [0.5, 0.5]]), 15, "no probabilities"),
        (np.full((3, 2), 0.5), 15, "do not fit"),
        (np.zeros(()), 15, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities: np.ndarray, bins: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        reliability(probabilities, np.array([0, 1]), bins=bins)
