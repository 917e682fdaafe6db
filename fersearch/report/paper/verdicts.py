"""When a claim counts as reproduced: the rule, the conditions it asks for, and the intervals.

The rule, in this order:

1. ``internally inconsistent``: an item of the audit decides this figure. The paper contradicts it
   itself, so no measurement can confirm the paper here; measured and difference are still given.
2. ``cannot be checked``: nothing was measured; or it was measured under other conditions than the
   paper's (data, completeness of the data, image size, epochs, batch size, recipe, loss,
   pre-training of the teacher; for a cell of Table I also learning rate and splits); or the model
   is rebuilt from a description; or the claim lies inside an interval too wide to say anything
   (:data:`WIDEST`), or outside one that rests on one training seed, and so leaves out how seeds
   differ.
3. ``reproduced``: a size, rounded to the printed digits, is the printed one; a score's measured
   95 % interval meets the values that round to the printed one.
4. ``not reproduced``: everything else, under the paper's conditions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.report.leaderboard.board import BoardRow
from fersearch.report.paper.audit import AuditItem
from fersearch.report.paper.claim_models import Claim, Claims
from fersearch.report.text import format_value
from fersearch.stats import accuracy_interval, crossed_interval
from fersearch.stats.intervals import pattern_draws

__all__ = [
    "CANNOT_BE_CHECKED",
    "INCONSISTENT",
    "NOT_REPRODUCED",
    "REBUILT",
    "REPRODUCED",
    "RULE",
    "VERDICTS",
    "WIDEST",
    "Measured",
    "differing_conditions",
    "is_complete_ferplus",
    "judge",
    "macro_precision_interval",
    "recall_interval",
    "size_differences",
]

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
CANNOT_BE_CHECKED = "cannot be checked"
INCONSISTENT = "internally inconsistent"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CANNOT_BE_CHECKED, INCONSISTENT)

RULE = (
    (
        REPRODUCED,
        "under the paper's conditions the measured 95 % interval, at most 10 points wide, holds "
        "the claim; or a size rounds to the printed one",
    ),
    (
        NOT_REPRODUCED,
        "under the paper's conditions, over two or more training seeds, it does not",
    ),
    (
        CANNOT_BE_CHECKED,
        "nothing was measured, the conditions are not the paper's, or the interval decides "
        "nothing; the difference is given, and says nothing about the paper",
    ),
    (INCONSISTENT, "the paper contradicts the figure itself; the audit says where"),
)

REBUILT = frozenset({"rcl_net", "tfen", "ecdnet"})
"""Baselines rebuilt from descriptions: their authors' internals are only partly public."""

REBUILT_WORDS = "model rebuilt from its description"

WIDEST = 0.10
"""Widest interval (0-1) that can reproduce a score: a wider one would hold most claims."""

# A complete data set may lack this share of its images: broken files are skipped.
TOLERATED_LOSS = 0.01
NAMES = {"ferplus": "FERPlus", "fer2013": "FER2013", "rafdb": "RAF-DB", "affectnet": "AffectNet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What stands beside a claim.

    Attributes:
        value: A share in 0-1, or a number of parameters.
        interval: Its 95 % interval; None for a count.
        seeds: Training seeds it is the mean of.
        row: The board's row that it is of.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: int
    row: BoardRow


def is_complete_ferplus(protocol: Mapping[str, Any], claims: Claims) -> bool:
    """Return whether a protocol's data are FERPlus with all training images of its label rule."""
    if protocol.get("data_kind") != claims.protocol.data_kind:
        return False
    count = claims.counts.get(f"ferplus_train_{protocol.get('label_rule', '')}")
    full = (count or claims.counts["ferplus_train_majority"]).value
    return int(protocol.get("n_train", 0)) >= (1 - TOLERATED_LOSS) * full


def differing_conditions(
    claim: Claim, row: BoardRow, protocol: Mapping[str, Any], claims: Claims
) -> tuple[str, ...]:
    """Return what differs between a measured score's conditions and the paper's, in words.

    Args:
        claim: The score that the paper claims.
        row: The measured row.
        protocol: The protocol of its board.
        claims: The claims, with the paper's conditions.
    """
    paper, found = claims.protocol, list(_data_differences(claim, protocol, claims))
    for name, unit in (("image_size", " px"), ("epochs", " epochs"), ("batch_size", " a batch")):
        measured, wanted = protocol.get(name), getattr(paper, name)
        if measured != wanted:
            found.append(f"{format_value(measured)}{unit}, not {wanted}")
    if protocol.get("recipe") != paper.recipe:
        found.append(f"recipe {format_value(protocol.get('recipe'))}, not the paper's")
    if row.role == "distilled":
        loss = row.settings.get("loss", protocol.get("loss", paper.loss))
        if loss != paper.loss:
            found.append(f"loss {format_value(loss)}, not {paper.loss}")
    if row.role in ("teacher", "distilled"):
        weights = protocol.get("teacher_weights_sha256")
        if weights is None:
            found.append(f"not recorded whether the teacher was pre-trained on {paper.pretraining}")
        elif not weights:
            found.append(f"teacher not pre-trained on {paper.pretraining}")
    if claim.temperature is not None:
        found += _grid_differences(row, claims)
    if row.model in REBUILT:
        found.append(REBUILT_WORDS)
    return tuple(found)


def size_differences(claim: Claim, row: BoardRow, claims: Claims) -> tuple[str, ...]:
    """Return why a measured number of parameters is not of the paper's network, in words.

    Sizes depend on no data but by the number of classes, which changes no printed digit here.
    """
    if row.model in REBUILT:
        return (REBUILT_WORDS,)
    splits = row.settings.get("ffe_splits", claims.protocol.ffe_splits)
    if claim.role == "teacher" and splits != claims.protocol.ffe_splits:
        return (f"teacher with n = {format_value(splits)}, not {claims.protocol.ffe_splits}",)
    return ()


def _grid_differences(row: BoardRow, claims: Claims) -> Sequence[str]:
    """Return what a cell of a grid over temperature and alpha holds fixed at another value."""
    found = []
    for name, title in (("learning_rate", "learning rate"), ("ffe_splits", "n")):
        value, wanted = row.settings.get(name), getattr(claims.protocol, name)
        if isinstance(value, int | float) and not math.isclose(value, wanted):
            found.append(f"{title} {format_value(value)}, not {wanted:g}")
    return found


def _data_differences(claim: Claim, protocol: Mapping[str, Any], claims: Claims) -> Sequence[str]:
    kind = str(protocol.get("data_kind", "unknown"))
    name = NAMES.get(kind, kind)
    if claim.data == "own":
        return (f"data {name}, not the authors' own, which are not public",)
    stated = claim.data == claims.protocol.data_kind
    found = [] if stated else [f"the paper does not name Table {claim.table}'s data set"]
    if kind != claims.protocol.data_kind:
        found.append(f"data {name}, not {claims.protocol.data}" if stated else f"data {name}")
    elif not is_complete_ferplus(protocol, claims):
        rule = protocol.get("label_rule", "")
        count = claims.counts.get(f"ferplus_train_{rule}")
        full = (count or claims.counts["ferplus_train_majority"]).value
        found.append(f"{int(protocol.get('n_train', 0)):,} of FERPlus's {full:,} training images")
    return found


def judge(
    claim: Claim,
    measured: Measured | None,
    *,
    differences: Sequence[str],
    decided_by: Sequence[tuple[int, AuditItem]],
    unmeasured: str = "not measured",
) -> tuple[str, str]:
    """Return a claim's verdict and the reason for it; the module's text states the rule.

    Args:
        claim: The claim, a number.
        measured: What stands beside it; None where nothing was measured.
        differences: What differs from the paper's conditions, in words.
        decided_by: Items of the audit that decide this claim, with their numbers.
        unmeasured: Why nothing was measured.
    """
    if decided_by:
        numbers = ", ".join(f"{number} ({item.id})" for number, item in decided_by)
        reason = f"audit item{'s' if len(decided_by) > 1 else ''} {numbers}"
        if measured is not None and claim.unit == "millions":
            reason += f"; built here, the network has {measured.value / 1e6:.2f} M"
        elif measured is not None and not differences:
            side = "inside" if _agrees(claim, measured) else "outside"
            reason += f"; {side} the 95 % interval measured under the paper's conditions"
        return INCONSISTENT, reason
    if measured is None:
        return CANNOT_BE_CHECKED, unmeasured
    if differences:
        return CANNOT_BE_CHECKED, "; ".join(differences)
    if claim.unit == "millions":
        if _agrees(claim, measured):
            return REPRODUCED, "equal after rounding"
        return NOT_REPRODUCED, "not equal after rounding"
    if _agrees(claim, measured):
        low, high = measured.interval or (measured.value, measured.value)
        if high - low > WIDEST:
            return CANNOT_BE_CHECKED, (
                f"inside the measured 95 % interval, which is wider than {100 * WIDEST:.0f} points "
                "and would hold most claims"
            )
        return REPRODUCED, "inside the measured 95 % interval"
    if measured.seeds < 2:
        return CANNOT_BE_CHECKED, (
            "one training seed: the claim is outside its interval, which leaves out how seeds "
            "differ"
        )
    return NOT_REPRODUCED, "outside the measured 95 % interval"


def _agrees(claim: Claim, measured: Measured) -> bool:
    if claim.unit == "millions":
        return f"{measured.value / 1e6:.{claim.decimals}f}" == claim.printed
    low, high = measured.interval or (measured.value, measured.value)
    slack = claim.half_step + 1e-12
    return low - slack <= claim.value <= high + slack


def macro_precision_interval(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    resamples: int = 2000,
    random_seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of macro precision, by the same bootstrap as macro-F1's.

    A class counts where it has a test image; one that a seed never predicts has precision 0.

    Args:
        logits: float, shape (S seeds, N images, C classes).
        labels: int, shape (N,).
        resamples: Number of bootstrap resamples of the images.
        random_seed: Seed of the resampling.
    """
    predictions = logits.argmax(axis=-1)
    classes = np.arange(logits.shape[-1])
    features = np.vstack([labels, predictions]).T
    counts, patterns = pattern_draws(features, resamples=resamples, random_seed=random_seed)
    sizes = np.unique(features, axis=0, return_counts=True)[1].astype(np.float64)
    true = patterns[:, :1] == classes

    def macro(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        present = weights @ true.astype(np.float64) > 0
        values = []
        for seed in range(len(predictions)):
            guessed = patterns[:, seed + 1, None] == classes
            hits = weights @ (true & guessed).astype(np.float64)
            given = weights @ guessed.astype(np.float64)
            precision = hits / np.maximum(given, 1.0)
            values.append((precision * present).sum(axis=1) / present.sum(axis=1))
        return np.stack(values, axis=1)

    interval = crossed_interval(macro(sizes[None])[0], macro(counts), scale="logit")
    return interval.ends


def recall_interval(
    logits: NDArray[np.float32], labels: NDArray[np.int64], index: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of one class's recall: the accuracy on its images.

    Args:
        logits: float, shape (S seeds, N images, C classes).
        labels: int, shape (N,).
        index: The class.

    Returns:
        Its ends; None without an image of the class.
    """
    chosen = labels == index
    if not chosen.any():
        return None
    return accuracy_interval(logits.argmax(axis=-1)[:, chosen] == index).ends
