"""Proposals: the same trials in one go, in pieces, and whatever order the workers finish in."""

from __future__ import annotations

import random
import statistics

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from fersearch.search.goals import Goals
from fersearch.search.proposals import DIVERGED, NOTED, Proposer, distribution
from fersearch.search.storage import open_storage, open_study
from fersearch.spec import CategoricalParameter, FloatParameter, IntParameter, load_study, override

EPOCHS = 8


def make_spec(sampler="tpe", pruner="hyperband", seed=0, lag=1, **changes):
    return override(
        load_study("distill"),
        {
            **changes,
            "search.sampler": sampler,
            "search.pruner": pruner,
            "search.seed": seed,
            "search.lag": lag,
            "budget.epochs": EPOCHS,
        },
    )


def curve(params):
    """Return a made-up learning curve with its optimum at T = 5, lr = 0.03."""
    quality = 1 - abs(params["temperature"] - 5) / 20 - abs(params["learning_rate"] - 0.03)
    quality -= {2: 0.1, 4: 0.0, 8: 0.05}[params["ffe_splits"]] + abs(params["alpha"] - 0.6) / 10
    return [quality * (1 - 0.5 ** (epoch + 1)) for epoch in range(EPOCHS)]


class Search:
    """A study whose trials cost nothing, run the way the engine runs it."""

    def __init__(self, study, spec, goals=None):
        self.study = study
        self.goals = goals or Goals.of(spec)
        self.proposer = Proposer(spec, self.goals)

    def start(self):
        trials = self.study.get_trials(deepcopy=False)
        params, noted = self.proposer.propose(trials, len(trials))
        self.study.enqueue_trial(params, user_attrs={NOTED: noted})
        trial = self.study.ask(self.proposer.active_distributions(params))
        watch = self.proposer.watch(self.study.get_trials(deepcopy=False), trial.number, params)
        return trial, watch

    def finish(self, trial, watch):
        state = TrialState.COMPLETE
        for step, value in enumerate(curve(trial.params)):
            # As the engine does: `trial.report` refuses studies of several objectives.
            self.study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
            if watch.report(step, value) and step < EPOCHS - 1:
                state = TrialState.PRUNED
                break
        trial.set_user_attr("rungs", watch.rungs())
        if state == TrialState.COMPLETE:
            self.study.tell(trial, self.goals.values(value, trial.params))
        else:
            self.study.tell(trial, state=state)

    def run(self, count):
        for _ in range(count):
            self.finish(*self.start())

    def result(self):
        return [
            (trial.number, trial.params, trial.state.name, len(trial.intermediate_values))
            for trial in self.study.get_trials()
        ]


def in_memory(spec):
    return Search(optuna.create_study(direction="maximize"), spec)


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "gp"])
@pytest.mark.parametrize("pruner", ["hyperband", "median", "none"])
def test_four_and_four_and_four_trials_equal_twelve(sampler, pruner, tmp_path):
    spec = make_spec(sampler, pruner)
    straight = in_memory(spec)
    straight.run(12)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(3):
        # A new process would open the storage anew, and knows nothing else of the trials before.
        pieces = Search(open_study(open_storage(url, lock=tmp_path / "lock"), "s"), spec)
        pieces.run(4)
    assert pieces.result() == straight.result()


SIZES = {"small": 1.0, "middle": 2.0, "large": 4.0}
PARETO = Goals(
    metric="accuracy", costs=("params",), cost_of=lambda params: [SIZES[params["student"]]]
)


def pareto_spec(**settings):
    space = {"space.student": {"kind": "categorical", "choices": list(SIZES)}, "enqueue": []}
    return make_spec(**settings, **space)


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "gp"])
def test_a_search_of_two_objectives_is_the_same_in_pieces(sampler, tmp_path):
    spec = pareto_spec(sampler=sampler)
    straight = Search(optuna.create_study(directions=PARETO.directions), spec, PARETO)
    straight.run(16)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):
        storage = open_storage(url, lock=tmp_path / "lock")
        Search(open_study(storage, "s", PARETO.directions), spec, PARETO).run(8)
    pieces = Search(open_study(storage, "s", PARETO.directions), spec, PARETO)
    assert pieces.result() == straight.result()
    assert len(straight.study.best_trials) >= 1


def test_a_pareto_search_prunes_against_students_that_cost_no_more():
    search = Search(
        optuna.create_study(directions=PARETO.directions), pareto_spec(sampler="random"), PARETO
    )
    search.run(40)
    pruned = [trial for trial in search.study.trials if trial.state == TrialState.PRUNED]
    assert 3 <= len(pruned) <= 30
    for trial in pruned:
        step = max(trial.intermediate_values)
        rivals = [
            other.intermediate_values[step]
            for other in search.study.trials[: trial.number]
            if step in other.intermediate_values
            and SIZES[other.params["student"]] <= SIZES[trial.params["student"]]
        ]
        assert step >= EPOCHS // 4
        assert len(rivals) >= 4
        assert trial.intermediate_values[step] < statistics.median(rivals)


def test_what_diverged_is_no_success_to_the_sampler_of_a_pareto_search():
    spec = pareto_spec(sampler="tpe")
    search = Search(optuna.create_study(directions=PARETO.directions), spec, PARETO)
    for diverged in (True, False):
        trial, _ = search.start()
        search.study._storage.set_trial_intermediate_value(trial._trial_id, 0, 0.9)
        trial.set_user_attr(DIVERGED, diverged)
        search.study.tell(trial, state=TrialState.PRUNED)
    trials = search.study.get_trials(deepcopy=False)
    shown = search.proposer._view(trials, 2).get_trials(deepcopy=False)
    assert [trial.values[0] for trial in shown] == [0.0, 0.9]


def test_a_pareto_search_without_a_pruner_prunes_nothing():
    spec = pareto_spec(sampler="random", pruner="none")
    search = Search(optuna.create_study(directions=PARETO.directions), spec, PARETO)
    search.run(20)
    assert {trial.state for trial in search.study.trials} == {TrialState.COMPLETE}


def test_the_genetic_sampler_has_generations():
    search = in_memory(make_spec("nsga2", "none"))
    search.run(60)
    generations = [
        next(iter(trial.user_attrs.get(NOTED, {}).values()), None) for trial in search.study.trials
    ]
    assert generations[0] == 0
    assert generations == sorted(generations)
    assert generations[-1] >= 4
    values = [trial.value for trial in search.study.trials]
    # Children of good parents: the last two generations beat the first two, which are random.
    assert statistics.fmean(values[-20:]) > statistics.fmean(values[:20]) + 0.01


@pytest.mark.parametrize("lag", [2, 4])
def test_the_order_in_which_workers_finish_changes_nothing(lag):
    spec = make_spec(lag=lag)

    def run(order):
        search = in_memory(spec)
        running = []
        while len(search.study.trials) < 20 or running:
            trials = search.study.get_trials(deepcopy=False)
            may_start = len(trials) < 20 and search.proposer.ready(trials, len(trials))
            if may_start and (not running or order.random() < 0.6):
                running.append(search.start())
            else:
                search.finish(*running.pop(order.randrange(len(running))))
        return search.result()

    expected = run(random.Random(0))
    assert run(random.Random(1)) == expected
    assert run(random.Random(2)) == expected


def test_the_papers_settings_come_first_and_no_point_comes_twice():
    search = in_memory(make_spec(pruner="none"))
    search.run(12)
    params = [trial.params for trial in search.study.trials]
    paper = {"alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01}
    assert params[0] == {"temperature": 8.0, **paper}
    assert params[1] == {"temperature": 6.0, **paper}
    assert len({tuple(sorted(item.items())) for item in params}) == 12


def test_another_seed_is_another_search():
    first, second = in_memory(make_spec(seed=0)), in_memory(make_spec(seed=1))
    first.run(4)
    second.run(4)
    assert first.result()[:2] != []
    assert first.result()[2:] != second.result()[2:]


def test_hyperband_prunes_and_the_search_beats_its_start():
    search = in_memory(make_spec())
    search.run(40)
    states = [trial.state for trial in search.study.trials]
    assert states.count(TrialState.PRUNED) > 10
    assert states.count(TrialState.COMPLETE) >= 3
    assert search.study.best_value > curve(search.study.trials[0].params)[-1]


def test_reporting_an_epoch_twice_changes_nothing():
    search = in_memory(make_spec())
    search.run(6)
    _, watch = search.start()
    first = [watch.report(step, 0.0) for step in range(3)]
    assert any(first)
    assert [watch.report(step, 0.0) for step in range(3)] == [False, False, False]


def test_a_trial_waits_for_the_results_it_may_learn_from():
    search = in_memory(make_spec(lag=2))
    first, second = search.start(), search.start()
    trials = search.study.get_trials(deepcopy=False)
    assert not search.proposer.ready(trials, 2)
    search.finish(*second)
    assert not search.proposer.ready(search.study.get_trials(deepcopy=False), 2)
    search.finish(*first)
    assert search.proposer.ready(search.study.get_trials(deepcopy=False), 2)


def test_conditional_parameters_are_only_proposed_where_they_apply():
    spec = override(
        load_study("distill"),
        {
            "space": {
                "learning_rate": {"kind": "float", "low": 0.01, "high": 0.1},
                "kind": {"kind": "categorical", "choices": ["a", "b"]},
                "depth": {"kind": "int", "low": 1, "high": 5, "when": {"kind": "b"}},
            },
            "enqueue": [],
        },
    )
    study = optuna.create_study(direction="maximize")
    proposer = Proposer(spec, Goals.of(spec))
    seen = set()
    for number in range(12):
        params, _ = proposer.propose(study.get_trials(deepcopy=False), number)
        seen.add((params["kind"], "depth" in params))
        study.enqueue_trial(params)
        study.tell(study.ask(proposer.active_distributions(params)), 0.5)
    assert seen == {("a", False), ("b", True)}


def test_ranges_in_optunas_form():
    assert distribution(FloatParameter(name="x", low=0.1, high=1, log=True)) == FloatDistribution(
        0.1, 1, log=True
    )
    assert distribution(IntParameter(name="x", low=1, high=9, step=2)) == IntDistribution(
        1, 9, step=2
    )
    assert distribution(CategoricalParameter(name="x", choices=(2, 4))) == CategoricalDistribution(
        (2, 4)
    )
