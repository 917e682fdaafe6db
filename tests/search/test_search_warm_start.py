"""Searches that begin where another one ended, and searches that end when nothing gets better."""

from __future__ import annotations

import shutil

import optuna
import pytest
from conftest import TINY_DATA
from optuna.trial import TrialState, create_trial

import fersearch
from fersearch.errors import InputError
from fersearch.search.goals import Goals
from fersearch.search.proposals import Proposer
from fersearch.spec import load_study, override

FLOATS = ("space.temperature", "space.alpha", "space.learning_rate")


@pytest.fixture
def run(tmp_path, tiny_study_file, tiny_data, tiny_cache, tiny_plugin):
    """Run the tiny study in one workspace, one epoch a trial; return messages with the result."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")

    def run_study(name, *, settings=None, **options):
        messages = []
        result = fersearch.run_study(
            tiny_study_file,
            data=TINY_DATA,
            workspace=workspace,
            name=name,
            jobs=1,
            threads=1,
            track=False,
            export=False,
            settings={"budget.epochs": 1, "budget.seeds": 1, "budget.confirm_top": 1}
            | (settings or {}),
            listener=lambda progress: messages.append(progress.message),
            **options,
        )
        return result.content, messages

    run_study.workspace = workspace
    return run_study


def params_of(workspace, name):
    storage = f"sqlite:///{workspace}/optuna.db"
    study = optuna.load_study(study_name=name, storage=storage)
    return [trial.params for trial in study.trials]


def test_the_best_settings_of_an_earlier_study_are_tried_after_the_files_points(run):
    run("old", settings={"budget.trials": 5})
    storage = f"sqlite:///{run.workspace}/optuna.db"
    trials = optuna.load_study(study_name="old", storage=storage).trials
    ranked = sorted(
        (trial for trial in trials if trial.state == TrialState.COMPLETE),
        key=lambda trial: (-trial.value, trial.number),
    )
    own = trials[0].params  # the file's own point, tried first anyway
    expected = [own, *(trial.params for trial in ranked[:3] if trial.params != own)]
    content, messages = run("new", settings={"budget.trials": 4}, warm_start="old")
    assert params_of(run.workspace, "new")[: len(expected)] == expected
    assert content["protocol"]["enqueue"] == expected
    assert any("settings of old are tried first" in message for message in messages)
    assert any("warm start" in note for note in content["notes"])
    # The earlier study finds more; the one that began from it keeps its points.
    run("old", settings={"budget.trials": 7})
    again, _ = run("new", settings={"budget.trials": 5}, warm_start="old")
    assert again["protocol"]["enqueue"] == expected
    assert sum(again["trials"].values()) == 5


def test_what_cannot_start_a_study_is_refused(run):
    run("old", settings={"budget.trials": 1})
    with pytest.raises(InputError, match="did you mean old"):
        run("new", warm_start="olt")
    with pytest.raises(InputError, match="cannot start from itself"):
        run("old", warm_start="old")
    with pytest.raises(InputError, match=r"do not fit this study.*learning_rate"):
        run(
            "new",
            settings={"space.learning_rate.low": 0.1, "enqueue": []},
            warm_start="old",
        )


def history(values):
    """Return complete trials with these metrics."""
    return [
        create_trial(
            value=value,
            state=TrialState.COMPLETE,
            params={},
            distributions={},
        )
        for value in values
    ]


@pytest.mark.parametrize(
    ("values", "lag", "patience", "ended"),
    [
        # The best is trial 1. Trial 5 may learn from 0 to 4: three later ones were no better.
        ([0.2, 0.5, 0.4, 0.5, 0.3], 1, 3, True),
        ([0.2, 0.5, 0.4, 0.5, 0.3], 1, 4, False),
        ([0.2, 0.5, 0.4, 0.5, 0.6], 1, 1, False),
        # With lag 3, trial 5 may learn from 0 to 2 alone.
        ([0.2, 0.5, 0.4, 0.5, 0.3], 3, 1, True),
        ([0.2, 0.5, 0.4, 0.5, 0.3], 3, 2, False),
        ([0.5], 1, 1, False),
        ([], 1, 1, False),
    ],
)
def test_patience_counts_the_trials_since_the_best_that_may_be_known(
    tiny_study_file, values, lag, patience, ended
):
    settings = {"search.lag": lag, "search.patience": patience}
    spec = override(load_study(tiny_study_file), settings)
    trials = history(values)
    for number, trial in enumerate(trials):
        trial.number = number
    assert Proposer(spec, Goals.of(spec)).exhausted(trials, len(trials)) is ended


def test_a_search_without_progress_ends_and_goes_on_with_more_patience(run):
    settings = {"budget.trials": 12, "search.lag": 1}
    whole, _ = run("whole", settings=settings)
    assert sum(whole["trials"].values()) == 12
    short, messages = run("short", settings={**settings, "search.patience": 2})
    count = sum(short["trials"].values())
    assert count < 12
    assert any("2 trials in a row did not better the best one" in item for item in messages)
    assert params_of(run.workspace, "short") == params_of(run.workspace, "whole")[:count]
    assert run("short", settings={**settings, "search.patience": 2})[0] == short
    longer, _ = run("short", settings=settings)
    assert params_of(run.workspace, "short") == params_of(run.workspace, "whole")
    assert longer["test"] == whole["test"]


@pytest.mark.parametrize(
    "settings",
    [
        {"search.sampler": "grid", "enqueue": [], **dict.fromkeys(FLOATS)},
        {"search.costs": ("params",), "training.students": ("tiny_student", "tiny_wide")},
    ],
)
def test_patience_is_not_for_grids_and_fronts(run, settings):
    with pytest.raises(InputError, match="patience"):
        run("other", settings={**settings, "search.patience": 2})
