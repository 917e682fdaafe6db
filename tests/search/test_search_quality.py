"""Time to quality: when a search came near its best."""

from optuna.trial import TrialState, create_trial

from fersearch.search.quality import time_to_quality


def trial(value, seconds, state=TrialState.COMPLETE):
    complete = state == TrialState.COMPLETE
    return create_trial(
        state=state,
        value=value if complete else None,
        intermediate_values={} if complete else {0: value},
        user_attrs={"seconds": seconds},
    )


def test_trials_and_seconds_until_each_margin_by_hand():
    trials = [
        trial(0.70, 10.0),
        trial(0.99, 2.0, TrialState.PRUNED),
        trial(0.75, 10.0),
        trial(0.79, 10.0),
        trial(0.60, 1.0, TrialState.FAIL),
        trial(0.80, 10.0),
        trial(0.80, 10.0),
    ]
    found = {row["within"]: (row["trials"], row["seconds"]) for row in time_to_quality(trials)}
    assert found == {0.05: (3, 22.0), 0.02: (4, 32.0), 0.01: (4, 32.0), 0.0: (6, 43.0)}


def test_without_a_complete_trial_there_is_nothing_to_reach():
    assert time_to_quality([]) == []
    assert time_to_quality([trial(0.5, 3.0, TrialState.PRUNED)]) == []
