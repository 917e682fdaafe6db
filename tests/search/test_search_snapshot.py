"""Snapshots: a study of trials that others hold too, which nothing done to it changes."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from fersearch.search.snapshot import Snapshot

SPACE = {"x": FloatDistribution(0.0, 1.0)}


def trials(count):
    made = []
    for number in range(count):
        trial = create_trial(
            params={"x": number / count},
            distributions=SPACE,
            value=number / count,
            intermediate_values={0: number / count},
        )
        trial.number = trial._trial_id = number
        made.append(trial)
    return made


def study_of(storage, **options):
    return optuna.create_study(storage=storage, study_name="s", direction="maximize", **options)


def test_what_is_done_to_a_snapshot_stays_there():
    shared = trials(3)
    running = create_trial(state=TrialState.RUNNING, params={"x": 0.5}, distributions=SPACE)
    running.number = running._trial_id = 3
    shared.append(running)
    first, second = Snapshot(shared), Snapshot(shared)
    first.set_trial_intermediate_value(3, 0, 0.25)
    first.set_trial_user_attr(3, "note", "here")
    first.set_trial_system_attr(3, "rung", 1)
    first.set_trial_state_values(3, TrialState.COMPLETE, [0.75])
    first.create_new_trial(0)
    found = first.get_trial(3)
    assert (found.value, found.intermediate_values) == (0.75, {0: 0.25})
    assert (found.user_attrs, found.system_attrs) == ({"note": "here"}, {"rung": 1})
    assert second.get_trial(3) is running
    assert (running.state, running.intermediate_values) == (TrialState.RUNNING, {})
    assert (first.get_n_trials(0), second.get_n_trials(0), len(shared)) == (5, 4, 4)


def test_a_finished_trial_cannot_be_changed_and_a_missing_one_not_be_read():
    storage = Snapshot(trials(2))
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(1, "note", "no")
    with pytest.raises(KeyError, match="no trial 2"):
        storage.get_trial(2)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_optuna_proposes_the_same_from_a_snapshot_as_from_its_own_storage(sampler):
    samplers = {
        "tpe": optuna.samplers.TPESampler,
        "nsga2": optuna.samplers.NSGAIISampler,
        "random": optuna.samplers.RandomSampler,
    }

    def proposed(study):
        return study.ask(SPACE).params

    own = study_of(InMemoryStorage(), sampler=samplers[sampler](seed=1))
    own.add_trials(trials(15))
    shown = study_of(Snapshot(trials(15)), sampler=samplers[sampler](seed=1))
    assert proposed(shown) == proposed(own)
    assert shown.best_trial.number == own.best_trial.number == 14
    assert [trial.number for trial in shown.get_trials(states=(TrialState.RUNNING,))] == [15]


def test_the_study_knows_its_name_and_directions():
    study = study_of(Snapshot([]))
    study.set_user_attr("a", 1)
    assert study.study_name == "s"
    assert study.user_attrs == {"a": 1}
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE]
    with pytest.raises(KeyError, match="no study other"):
        study._storage.get_study_id_from_name("other")
