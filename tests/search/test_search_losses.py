"""Searching the loss: the setting's loss, conditional parameters, and a whole study of all four."""

from __future__ import annotations

import json
import logging
import shutil

import optuna
import pytest
from conftest import TINY_DATA, TINY_STUDY
from optuna.trial import TrialState

import fersearch
from fersearch.distill import LossSettings
from fersearch.errors import InputError
from fersearch.search import parameter_importances
from fersearch.search.goals import Goals
from fersearch.search.objectives import is_paper_setting, loss_of, resolve_objective
from fersearch.search.proposals import NOTED, Proposer
from fersearch.spec import LOSS_PARAMETERS, LOSSES, load_study, override, parse_study, with_loss

PAPER = {"temperature": 8.0, "alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01}
OWN = {"kd": set(), "dkd": {"dkd_other_weight"}, "logit_std": set(), "dist": {"dist_within_weight"}}


def own_of(params):
    return {name for name in params if name in LOSS_PARAMETERS}


# --- from a setting to its loss -------------------------------------------------------------------


def test_a_setting_has_the_loss_it_names_with_its_own_parameters():
    spec = load_study("distill")
    assert loss_of(spec, {}) == LossSettings(name="kd", temperature=6.0, alpha=0.4)
    assert loss_of(with_loss(spec, "dist"), PAPER) == LossSettings(
        name="dist", temperature=8.0, alpha=0.4
    )
    params = {**PAPER, "loss": "dkd", "dkd_other_weight": 5.0, "dkd_target_weight": 0}
    assert loss_of(spec, params) == LossSettings(
        name="dkd",
        temperature=8.0,
        alpha=0.4,
        options={"dkd_other_weight": 5.0, "dkd_target_weight": 0.0},
    )
    # What belongs to another loss is not this one's, whatever a setting carries along.
    assert loss_of(spec, {**params, "loss": "kd"}).options == {}


def test_only_the_papers_loss_makes_a_setting_the_papers():
    assert is_paper_setting(PAPER, loss="kd")
    assert is_paper_setting({**PAPER, "temperature": 6.0, "loss": "kd"}, loss=["kd", "dkd"])
    assert not is_paper_setting(PAPER, loss="dist")
    assert not is_paper_setting({**PAPER, "loss": "dist"}, loss="kd")
    assert not is_paper_setting({**PAPER, "dkd_other_weight": 2.0}, loss="dkd")
    assert not is_paper_setting({**PAPER, "temperature": 7.0}, loss="kd")


def test_the_distillation_objective_knows_the_parameters_of_its_losses():
    spec = load_study("distill")
    for loss in (*LOSSES, "all"):
        resolve_objective(with_loss(spec, loss))
    stray = override(
        spec,
        {"space.dkd_other_weight": {"kind": "float", "low": 1, "high": 2}, "enqueue": []},
    )
    with pytest.raises(InputError, match="a parameter of the loss dkd but is searched with kd"):
        resolve_objective(stray)


# --- proposals ------------------------------------------------------------------------------------


def proposed(sampler, *, trials=32, lag=1):
    """Return the settings of a search that costs nothing, run the way the engine runs it."""
    spec = override(load_study("distill"), {"search.sampler": sampler, "search.lag": lag})
    spec = with_loss(spec, "all")
    study, proposer = optuna.create_study(direction="maximize"), Proposer(spec, Goals.of(spec))
    for number in range(trials):
        params, noted = proposer.propose(study.get_trials(deepcopy=False), number)
        study.enqueue_trial(params, user_attrs={NOTED: noted})
        trial = study.ask(proposer.active_distributions(params))
        assert trial.params == params
        quality = {"kd": 0.5, "dkd": 0.8, "logit_std": 0.4, "dist": 0.6}[params["loss"]]
        quality -= abs(params.get("dkd_other_weight", 5) - 5) / 20
        if number % 7 == 6:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, quality)
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_every_sampler_proposes_all_losses_each_with_its_own_parameters(sampler, caplog):
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            # A Gaussian process of many trials takes seconds.
            settings = proposed(sampler, trials=20 if sampler == "gp" else 32)
    finally:
        optuna.logging.disable_propagation()
    assert "independent" not in caplog.text
    assert [params["loss"] for params in settings[:2]] == ["kd", "kd"]
    assert is_paper_setting(settings[0], loss="")
    assert {params["loss"] for params in settings} == set(LOSSES)
    assert len(settings) > 12  # gp and tpe draw their first ten at random
    for params in settings:
        assert own_of(params) == OWN[params["loss"]]
        for name in own_of(params):
            low, high = (0.5, 8) if name == "dkd_other_weight" else (0.25, 4)
            assert low <= params[name] <= high


@pytest.mark.parametrize("lag", [1, 4])
def test_the_search_learns_which_loss_is_best_and_its_parameter(lag):
    late = proposed("tpe", trials=48, lag=lag)[24:]
    best = [params["dkd_other_weight"] for params in late if params["loss"] == "dkd"]
    assert len(best) > 12
    assert sum(abs(weight - 5) < 2 for weight in best) > len(best) / 2


# --- importances ----------------------------------------------------------------------------------


def conditional_trials(count):
    rows = []
    for number in range(count):
        loss = ("dkd", "kd")[number % 2]
        params = {"loss": loss, "alpha": (number * 7 % 11) / 11}
        if loss == "dkd":
            params["dkd_other_weight"] = 0.5 + 7 * (number * 5 % 13) / 13
        if number == 0:
            params["dist_within_weight"] = 1.0
        rows.append((params, 0.5 + 0.4 * (loss == "dkd") - 0.01 * (number % 3)))
    return rows


def test_importances_take_in_what_only_some_trials_have_and_say_so():
    shares, note = parameter_importances(conditional_trials(40), {})
    assert set(shares) == {"loss", "alpha", "dkd_other_weight"}
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "loss"
    assert "PED-ANOVA over 40 complete trials" in note
    assert "searched in fewer of them: dkd_other_weight 20, dist_within_weight 1" in note
    assert "left out below 4: dist_within_weight" in note


def test_importances_of_a_parameter_that_one_trial_lacks_warn_of_nothing(recwarn):
    trials = [pair for pair in conditional_trials(40) if pair[0]["loss"] == "dkd"]
    trials.append(conditional_trials(2)[1])
    shares, _ = parameter_importances(trials, {})
    assert "dkd_other_weight" in shares
    assert not [item for item in recwarn if "regime" in str(item.message)]


# --- whole studies --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, tiny_study_file, tiny_plugin, tiny_data, tiny_cache):
    """Run a study of tiny networks in a workspace of its own; decoded data are shared."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")

    def run_study(study=tiny_study_file, *, track=False, **settings):
        return fersearch.run_study(
            study,
            data=TINY_DATA,
            workspace=workspace,
            jobs=1,
            threads=1,
            track=track,
            settings={"budget.epochs": 1, "budget.seeds": 1, "search.pruner": "none", **settings},
        )

    run_study.workspace = workspace
    return run_study


def trial_records(result):
    files = sorted((result.folder / "runs").glob("trial-*.json"))
    return [json.loads(file.read_text()) for file in files]


ALL = {"training.loss": "all", "search.sampler": "random", "budget.trials": 12}


def test_a_study_of_all_losses_searches_them_and_says_what_it_did(run):
    result = run(**ALL)
    content = result.content
    assert content["protocol"]["loss"] == list(LOSSES)
    assert content["protocol"]["space"]["dkd_other_weight"]["when"] == {"loss": ["dkd"]}
    settings = [record["parameters"] for record in trial_records(result)]
    assert settings[0] == {**PAPER, "loss": "kd"}
    assert {params["loss"] for params in settings} == set(LOSSES)
    for params in settings:
        assert own_of(params) == OWN[params["loss"]]
    assert [row["params"] for row in content["paper_settings"]] == [{**PAPER, "loss": "kd"}]
    report = result.report.read_text()
    assert "| distillation loss | kd, dkd, logit_std, dist |" in report
    drawn = {title for title, _ in content["figures"]}
    assert {"Parameter importances", "Parallel coordinates"} <= drawn
    # Going on continues the same study.
    again = run(**{**ALL, "budget.trials": 13})
    assert sum(again.content["trials"].values()) == 13
    assert [record["parameters"] for record in trial_records(again)][:12] == settings


@pytest.mark.slow
def test_the_tracker_and_the_board_have_of_each_run_what_it_has(run):
    from fersearch.api.reports import leaderboard
    from fersearch.track import read_studies

    result = run(track=True, **ALL)
    settings = [record["parameters"] for record in trial_records(result)]
    _, (study,) = read_studies(
        run.workspace, None, experiment="fersearch", folder=run.workspace / "copies"
    )
    tracked = {item.name: item.params for item in study.runs if item.role == "trial"}
    for number, params in enumerate(settings):
        found = tracked[f"trial-{number:04d}"]
        assert {name: found[name] for name in params if name != "loss"} == pytest.approx(
            {name: value for name, value in params.items() if name != "loss"}
        )
        assert found["loss"] == params["loss"]
        assert own_of(found) == own_of(params)
    run(track=True, **{"training.loss": "dist", "budget.trials": 2, "name": "other"})
    board = leaderboard(workspace=run.workspace, latency=False).content.boards[0]
    losses = {row.study: row.settings["loss"] for row in board.rows if row.role == "distilled"}
    assert losses == {"tiny": result.content["best"]["params"]["loss"], "other": "dist"}
    assert board.searches[0].importances


def test_a_study_of_one_other_loss_searches_its_parameter_and_names_no_paper_rows(run):
    result = run(**{"training.loss": "dkd", "budget.trials": 3})
    assert result.content["protocol"]["loss"] == "dkd"
    settings = [record["parameters"] for record in trial_records(result)]
    assert settings[0] == {**PAPER, "dkd_other_weight": 2.0}
    assert len({params["dkd_other_weight"] for params in settings}) == 3
    assert result.content["paper_settings"] == []
    assert "dkd_other_weight" in result.report.read_text()


def test_a_grid_over_the_losses_claims_the_paper_s_figures_for_its_own_loss_only(run, tmp_path):
    head = TINY_STUDY.partition("[space.temperature]")[0]
    axes = {"temperature": [6.0], "alpha": [0.4], "ffe_splits": [4], "learning_rate": [0.05]}
    grid = tmp_path / "grid.toml"
    grid.write_text(
        head.replace("trials = 6\n", "").replace(
            "[training]", '[search]\nsampler="grid"\n[training]'
        )
        + "".join(
            f'[space.{name}]\nkind = "categorical"\nchoices = {choices}\n'
            for name, choices in axes.items()
        )
    )
    result = run(grid, **{"training.loss": "all"})
    assert [cell["params"]["loss"] for cell in result.content["cells"]] == list(LOSSES)
    rows = {line.split()[0]: line for line in str(result).splitlines() if line.startswith("loss=")}
    assert set(rows) == {f"loss={name}" for name in LOSSES}
    assert "98.8 %" in rows["loss=kd"]
    assert not any("98.8 %" in rows[f"loss={name}"] for name in LOSSES if name != "kd")


def test_a_study_file_that_searches_the_loss_by_hand_runs(run, tmp_path):
    text = TINY_STUDY.replace("[[enqueue]]", '[[enqueue]]\nloss = "dkd"\ndkd_other_weight = 4.0')
    text += """
[space.loss]
kind = "categorical"
choices = ["dkd", "dist"]

[space.dkd_other_weight]
kind = "categorical"
choices = [4.0]
when = { loss = "dkd" }
"""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert parse_study(text).enqueue[0]["dkd_other_weight"] == 4.0
    result = run(file, **{"budget.trials": 4, "search.sampler": "random", "budget.confirm_top": 1})
    settings = [record["parameters"] for record in trial_records(result)]
    assert all(("dkd_other_weight" in params) == (params["loss"] == "dkd") for params in settings)
    assert result.content["protocol"]["loss"] == ["dkd", "dist"]


def test_one_distillation_with_parameters_of_its_loss(tiny_data, tiny_plugin, tmp_path):
    options = {"epochs": 1, "workspace": tmp_path}
    teacher = fersearch.train_teacher(tiny_data, model="tiny_teacher", **options)

    def distilled(**loss):
        return fersearch.distil(tiny_data, teacher, model="tiny_student", **loss, **options)

    plain = distilled(loss="dkd")
    heavy = distilled(loss="dkd", loss_options={"dkd_other_weight": 8.0})
    assert plain.job.digest() != heavy.job.digest()
    assert plain.record.epochs[0].train_loss != heavy.record.epochs[0].train_loss
    with pytest.raises(InputError, match="is not a parameter of the loss kd"):
        distilled(loss_options={"dkd_other_weight": 8.0})
