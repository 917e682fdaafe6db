"""Test figures, their intervals and paired tests; numpy, scipy and scikit-learn only."""

from fersearch.stats.curves import (
    Reliability,
    RocCurve,
    RocCurves,
    reliability,
    roc_curves,
)
from fersearch.stats.grim import is_possible, nearest_percentages, possible_counts
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
from fersearch.stats.pareto import crowding, knee, pareto_front
from fersearch.stats.ranks import RankComparison, compare_ranks, critical_value

__all__ = [
    "ClassMetrics",
    "Interval",
    "McNemar",
    "PairedGain",
    "RankComparison",
    "Reliability",
    "RocCurve",
    "RocCurves",
    "SeedMetrics",
    "TestMetrics",
    "accuracy_interval",
    "calibration_error",
    "compare_ranks",
    "critical_value",
    "crossed_interval",
    "crowding",
    "evaluate",
    "holm",
    "is_possible",
    "knee",
    "mcnemar",
    "nearest_percentages",
    "paired_gain",
    "paired_gain_of_correct",
    "pareto_front",
    "possible_counts",
    "reliability",
    "roc_curves",
    "wilson_interval",
]
