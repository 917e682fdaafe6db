"""Test figures, their intervals and paired tests; numpy, scipy and scikit-learn only."""

from fersearch.stats.intervals import Interval, accuracy_interval, crossed_interval, wilson_interval
from fersearch.stats.metrics import (
    ClassMetrics,
    SeedMetrics,
    TestMetrics,
    calibration_error,
    evaluate,
)
from fersearch.stats.paired import (
    McNemar,
    PairedGain,
    holm,
    mcnemar,
    paired_gain,
    paired_gain_of_correct,
)

__all__ = [
    "ClassMetrics",
    "Interval",
    "McNemar",
    "PairedGain",
    "SeedMetrics",
    "TestMetrics",
    "accuracy_interval",
    "calibration_error",
    "crossed_interval",
    "evaluate",
    "holm",
    "mcnemar",
    "paired_gain",
    "paired_gain_of_correct",
    "wilson_interval",
]
