"""Test figures against hand computation, scikit-learn and laws."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, roc_auc_score

from fersearch.errors import InputError
from fersearch.records import to_plain
from fersearch.stats import TestMetrics, calibration_error, evaluate
from fersearch.stats.confusion import resampled_figures

CLASSES = ("neutral", "happiness", "surprise")


def logits_of(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    return 4.0 * np.eye(num_classes)[predictions]


def random_case(
    seed: int, *, seeds: int = 2, images: int = 60, num_classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=images)
    noise = generator.normal(size=(seeds, images, num_classes))
    return noise + 1.5 * np.eye(num_classes)[labels], labels


def hand_case() -> TestMetrics:
    """Six images; the confusion of the one seed is [[2, 1, 0], [0, 2, 0], [1, 0, 0]]."""
    labels = np.array([0, 0, 0, 1, 1, 2])
    predictions = np.array([0, 0, 1, 1, 1, 0])
    return evaluate(logits_of(predictions, 3)[None], labels, CLASSES, seeds=[7])


def test_figures_of_a_small_confusion_matrix_by_hand() -> None:
    metrics = hand_case()
    assert metrics.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics.macro_precision == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert metrics.per_class["neutral"].recall == pytest.approx(2 / 3)
    assert metrics.per_class["happiness"].precision == pytest.approx(2 / 3)
    assert [block.support for block in metrics.per_class.values()] == [3, 2, 1]
    assert metrics.seeds[0].seed == 7
    assert metrics.seeds[0].accuracy == metrics.accuracy


def test_one_seed_and_unpredicted_classes_are_noted() -> None:
    metrics = hand_case()
    assert "one training seed" in metrics.notes[0]
    assert "surprise" in metrics.notes[1]
    assert "do not cover what other seeds would give" in metrics.interval


def test_overall_figures_are_means_over_seeds_and_the_confusion_is_a_sum() -> None:
    logits, labels = random_case(3, seeds=3)
    together = evaluate(logits, labels, CLASSES, seeds=[0, 1, 2])
    alone = [evaluate(one[None], labels, CLASSES, seeds=[0]) for one in logits]
    for figure in ("accuracy", "macro_precision", "macro_f1", "balanced_accuracy", "auc", "ece"):
        mean = np.mean([getattr(metrics, figure) for metrics in alone])
        assert getattr(together, figure) == pytest.approx(mean)
    assert np.array_equal(together.confusion, np.sum([m.confusion for m in alone], axis=0))
    assert np.sum(together.confusion) == 3 * len(labels)


def test_agrees_with_scikit_learn() -> None:
    logits, labels = random_case(4, seeds=1, images=200)
    metrics = evaluate(logits, labels, CLASSES, seeds=[0])
    guess = logits[0].argmax(axis=1)
    odds = np.exp(logits[0])
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    assert metrics.macro_f1 == pytest.approx(f1_score(labels, guess, average="macro"))
    assert metrics.macro_precision == pytest.approx(precision_score(labels, guess, average="macro"))
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, guess))
    assert metrics.auc == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))


def test_calibration_error_by_hand() -> None:
    # Bin (9/15, 10/15]: confidences 0.65 and 0.65, one right: |1 - 1.3| = 0.3.
    # Bin (13/15, 14/15]: 0.9, right: 0.1. Bin (14/15, 1]: 1.0, wrong: 1.0. Sum 1.4 over 4 images.
    confidence = np.array([0.65, 0.65, 0.9, 1.0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert calibration_error(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(1.4 / 4)


def test_a_bin_is_closed_above() -> None:
    # With 2 bins, 0.5 belongs to the lower one and 0.6 to the upper: the gaps do not cancel.
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])
    error = calibration_error(probabilities, np.array([0, 1]), bins=2)
    assert error == pytest.approx((0.5 + 0.6) / 2)


def test_a_class_without_test_images_is_left_out_and_named() -> None:
    logits, labels = random_case(5, seeds=2, num_classes=3)
    wider = np.concatenate([logits, np.full((*logits.shape[:2], 1), -9.0)], axis=2)
    metrics = evaluate(wider, labels, (*CLASSES, "contempt"), seeds=[0, 1])
    narrow = evaluate(logits, labels, CLASSES, seeds=[0, 1])
    contempt = metrics.per_class["contempt"]
    assert (contempt.recall, contempt.precision, contempt.support) == (None, None, 0)
    assert metrics.macro_f1 == pytest.approx(narrow.macro_f1)
    assert metrics.macro_f1_ci95 == pytest.approx(narrow.macro_f1_ci95)
    assert metrics.auc == pytest.approx(narrow.auc, abs=1e-3)
    assert "no test images of contempt" in metrics.notes[0]


def test_a_test_split_of_one_class_has_no_auc() -> None:
    logits, _ = random_case(5)
    metrics = evaluate(logits, np.zeros(60, dtype=int), CLASSES, seeds=[0, 1])
    assert metrics.auc is None
    assert metrics.balanced_accuracy == pytest.approx(metrics.accuracy)


def test_perfect_predictions() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    metrics = evaluate(logits_of(labels, 3)[None] * 99, labels, CLASSES, seeds=[0])
    assert metrics.accuracy == metrics.macro_f1 == metrics.auc == 1.0
    assert metrics.ece == pytest.approx(0.0)
    assert metrics.accuracy_ci95[0] < 0.7
    assert metrics.accuracy_ci95[1] == 1.0
    assert metrics.macro_f1_ci95 == (1.0, 1.0)
    assert any("Wilson" in note for note in metrics.notes)


def test_result_becomes_json() -> None:
    plain = json.loads(json.dumps(to_plain(hand_case())))
    assert plain["per_class"]["surprise"] == {"recall": 0.0, "precision": 0.0, "support": 1}
    assert plain["seeds"][0]["seed"] == 7


@settings(max_examples=12, deadline=None)
@given(case=st.integers(0, 10_000), order=st.permutations(range(3)))
def test_order_of_images_and_of_classes_changes_nothing(case: int, order: list[int]) -> None:
    logits, labels = random_case(case)
    metrics = evaluate(logits, labels, CLASSES, seeds=[0, 1], resamples=100)
    for low, point, high in (
        (metrics.accuracy_ci95[0], metrics.accuracy, metrics.accuracy_ci95[1]),
        (metrics.macro_f1_ci95[0], metrics.macro_f1, metrics.macro_f1_ci95[1]),
        (
            metrics.balanced_accuracy_ci95[0],
            metrics.balanced_accuracy,
            metrics.balanced_accuracy_ci95[1],
        ),
    ):
        assert 0.0 <= low <= point <= high <= 1.0
    images = np.random.default_rng(case).permutation(len(labels))
    moved = evaluate(logits[:, images], labels[images], CLASSES, seeds=[0, 1], resamples=100)
    assert moved.confusion == metrics.confusion
    assert moved.macro_f1_ci95 == pytest.approx(metrics.macro_f1_ci95)
    assert moved.auc == pytest.approx(metrics.auc)
    names = [CLASSES[index] for index in order]
    renamed = evaluate(
        logits[:, :, order], np.argsort(order)[labels], names, seeds=[0, 1], resamples=100
    )
    assert list(renamed.per_class) == names
    for name in CLASSES:
        assert renamed.per_class[name].recall == pytest.approx(metrics.per_class[name].recall)
    assert renamed.macro_f1 == pytest.approx(metrics.macro_f1)
    assert renamed.ece == pytest.approx(metrics.ece)


def test_resampled_figures_equal_figures_of_the_resampled_images() -> None:
    # Every image has a pattern of its own but for the first two, and class 2 may be drawn away.
    labels = np.array([0, 0, 1, 1, 2])
    predictions = np.array([[0, 0, 1, 0, 2], [1, 1, 1, 0, 0]])
    figures = resampled_figures(labels, predictions, num_classes=3, resamples=200, random_seed=3)
    patterns, counts = np.unique(np.vstack([labels, predictions]).T, axis=0, return_counts=True)
    drawn = np.random.default_rng(3).multinomial(5, counts / 5, size=200)
    for resample in (0, 17, 101):
        images = np.repeat(patterns, drawn[resample], axis=0)
        truth = images[:, 0]
        for seed in range(2):
            guess = images[:, seed + 1]
            expected = f1_score(
                truth, guess, labels=np.unique(truth), average="macro", zero_division=0
            )
            assert figures.macro_f1[resample, seed] == pytest.approx(expected)
            assert figures.accuracy[resample, seed] == pytest.approx((truth == guess).mean())


def test_macro_f1_interval_covers_the_true_value() -> None:
    generator = np.random.default_rng(8)
    shares = np.array([0.6, 0.3, 0.1])

    def sample(images: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.choice(3, size=images, p=shares)
        return generator.normal(size=(1, images, 3)) + 1.8 * np.eye(3)[labels], labels

    logits, labels = sample(400_000)
    truth = f1_score(labels, logits[0].argmax(axis=1), average="macro")
    hits = 0
    for _ in range(100):
        logits, labels = sample(400)
        low, high = evaluate(logits, labels, CLASSES, seeds=[0], resamples=200).macro_f1_ci95
        hits += low <= truth <= high
    assert 0.88 <= hits / 100 <= 1.0


def test_a_real_test_split_is_measured_within_a_few_seconds() -> None:
    logits, labels = random_case(1, seeds=3, images=5000, num_classes=8)
    names = [f"class {index}" for index in range(8)]
    evaluate(logits[:, :100], labels[:100], names, seeds=[0, 1, 2])  # imports
    start = time.perf_counter()
    evaluate(logits, labels, names, seeds=[0, 1, 2])
    assert time.perf_counter() - start < 3.0


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "seeds", "words"),
    [
        (np.zeros((1, 0, 3)), np.zeros(0, dtype=int), CLASSES, [0], "no test image"),
        (np.zeros((1, 4, 2)), np.zeros(4, dtype=int), CLASSES, [0], "do not fit"),
        (np.zeros((4, 3)), np.zeros(4, dtype=int), CLASSES, [0], "do not fit"),
        (np.zeros((1, 4, 3)), np.array([0, 1, 2, 3]), CLASSES, [0], "span 0 to 3"),
        (np.zeros((1, 4, 3)), np.array([0.0, 1, 2, 1]), CLASSES, [0], "whole numbers"),
        (np.full((1, 4, 3), np.nan), np.zeros(4, dtype=int), CLASSES, [0], "NaN"),
        (np.zeros((1, 4, 3)), np.zeros(4, dtype=int), CLASSES, [0, 1], "2 seeds"),
        (np.zeros((1, 4, 3)), np.zeros(4, dtype=int), ("a", "a", "b"), [0], "2 names"),
    ],
)
def test_what_does_not_fit_is_refused(
    logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], seeds: list[int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(logits, labels, classes, seeds=seeds)
