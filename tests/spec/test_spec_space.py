"""Conditions between parameters, points of a space, overrides and the hash of a study."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fersearch.errors import InputError
from fersearch.spec import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    StudySpec,
    is_active,
    load_study,
    override,
    parse_study,
    require_parameters,
    study_hash,
)

LOSSES = """
name = "losses"
objective = "a.b:c"
enqueue = [{loss = "kd"}, {loss = "dkd", beta = 2, warm = true, steps = 3}]
[space.steps]
kind = "int"
low = 1
high = 9
step = 2
when = {warm = true, beta = [2, 4.0]}
[space.beta]
kind = "float"
low = 1
high = 8
when = {loss = ["dkd", "dist"]}
[space.warm]
kind = "categorical"
choices = [true, false]
when = {loss = "dkd"}
[space.loss]
kind = "categorical"
choices = ["kd", "dkd", "dist"]
"""


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_study(text, "mine.toml")
    return str(caught.value)


def test_parameters_come_after_those_they_depend_on() -> None:
    names = [parameter.name for parameter in parse_study(LOSSES).space]
    assert names == ["loss", "beta", "warm", "steps"]


def test_a_parameter_is_searched_when_all_its_conditions_hold() -> None:
    steps = parse_study(LOSSES).space[-1]
    assert is_active(steps, {"loss": "dkd", "beta": 4.0, "warm": True})
    assert not is_active(steps, {"loss": "dkd", "beta": 4.0, "warm": False})
    assert not is_active(steps, {"loss": "dkd", "beta": 3.0, "warm": True})
    assert not is_active(steps, {"loss": "kd"})


def test_conditions_decide_what_an_enqueued_point_names() -> None:
    assert parse_study(LOSSES).enqueue == (
        {"loss": "kd"},
        {"loss": "dkd", "beta": 2.0, "warm": True, "steps": 3},
    )
    extra = refused(LOSSES.replace('{loss = "kd"}', '{loss = "kd", beta = 2.0}'))
    assert "beta is not searched at this point (enqueue[0].beta in mine.toml)" in extra
    missing = refused(LOSSES.replace('{loss = "kd"}', '{loss = "dist"}'))
    assert "beta is missing (enqueue[0].beta in mine.toml)" in missing
    off_step = refused(LOSSES.replace("steps = 3}", "steps = 4}"))
    assert "steps must be a whole number from 1 to 9 in steps of 2 but got 4" in off_step


def test_conditions_name_values_of_other_parameters() -> None:
    unknown = refused(LOSSES.replace('when = {loss = "dkd"}', 'when = {los = "dkd"}'))
    assert "los is not a parameter of the space (space.warm.when.los in mine.toml)" in unknown
    assert "did you mean loss?" in unknown
    outside = refused(LOSSES.replace('when = {loss = "dkd"}', 'when = {loss = "dk"}'))
    assert 'loss must be one of kd, dkd, dist but got "dk" (space.warm.when.loss' in outside
    empty = refused(LOSSES.replace('when = {loss = "dkd"}', "when = {loss = []}"))
    assert "loss must be a list of at least one value" in empty


def test_conditions_that_go_in_a_circle_are_refused() -> None:
    circle = LOSSES + "when = {warm = true}\n"
    assert "space has conditions that wait for each other: beta, loss, steps, warm" in refused(
        circle
    )
    own = LOSSES + 'when = {loss = "kd"}\n'
    assert "wait for each other" in refused(own)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_parameter_contains_its_range(value: float) -> None:
    parameter = FloatParameter(name="x", low=-1.0, high=2.0)
    assert parameter.contains(value) == (-1.0 <= value <= 2.0)


@given(st.integers(-30, 30))
def test_an_int_parameter_contains_its_steps(value: int) -> None:
    assert IntParameter(name="x", low=-3, high=9, step=4).contains(value) == (
        value in {-3, 1, 5, 9}
    )


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), [1]])
def test_numbers_are_numbers(value: object) -> None:
    assert not FloatParameter(name="x", low=0.0, high=2.0).contains(value)
    assert not IntParameter(name="x", low=0, high=2).contains(value)


def test_choices_keep_their_types() -> None:
    parameter = CategoricalParameter(name="x", choices=(1, "a", False))
    assert [parameter.contains(value) for value in (1, "a", False, 1.0, True, 0)] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_override_changes_what_it_names_and_nothing_else() -> None:
    spec = load_study("distill")
    changed = override(
        spec,
        {
            "budget.trials": 20,
            "training.student": "resnet18",
            "training.student_options.width": 2,
            "teacher.options.layout": "manet",
            "data.image_size": 64,
            "space.alpha.high": 0.9,
            "name": "other",
        },
    )
    assert changed.budget.trials == 20
    assert changed.training.student == "resnet18"
    assert changed.training.student_options == {"width": 2}
    assert changed.teacher.options == {"layout": "manet", "right": "reverse"}
    assert changed.data.image_size == 64
    assert changed.space[1] == FloatParameter(name="alpha", low=0.05, high=0.9)
    assert changed.name == "other"
    assert changed.search == spec.search
    assert spec == load_study("distill")


def test_override_with_none_takes_out() -> None:
    spec = load_study("distill")
    sized = override(spec, {"data.image_size": 64, "budget.epochs": 3})
    assert override(sized, {"data.image_size": None, "budget.epochs": None}) == spec
    assert override(spec, {"teacher.options.right": None}).teacher.options == {"layout": "count"}
    assert override(sized, {"budget": None}).budget == spec.budget
    without = override(spec, {"space.alpha": None, "enqueue": []})
    assert [item.name for item in without.space] == ["temperature", "ffe_splits", "learning_rate"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget.trials": 0}, "trials must be at least 1 but got 0 (budget.trials)"),
        ({"budget.trails": 5}, "trails is not a known key (budget.trails); did you mean trials?"),
        ({"budget.trails": None}, "did you mean trials?"),
        ({"bugdet.trials": 5}, "bugdet is not a known key; did you mean budget?"),
        ({"budget": 3}, "budget must be a table but got 3"),
        ({"name.first": "x"}, "name holds no further keys"),
        ({"name": None}, "name is missing"),
        ({"space": None}, "space is missing"),
        ({"space.alpha": None}, "alpha is not a parameter of the space (enqueue[0].alpha)"),
        ({"space.alpha.low": 0.5}, "alpha must be a number from 0.5 to 0.95 but got 0.4"),
    ],
)
def test_override_is_checked_like_a_file(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        override(load_study("distill"), changes)
    assert message in str(caught.value)


def test_override_names_where_the_change_came_from() -> None:
    with pytest.raises(InputError, match=r"\(budget\.epochs in the command line\)"):
        override(load_study("distill"), {"budget.epochs": 0}, source="the command line")


@pytest.mark.parametrize("spec", [load_study("distill"), parse_study(LOSSES)])
def test_an_override_without_changes_is_the_same_study(spec: StudySpec) -> None:
    assert override(spec, {}) == spec
    assert study_hash(override(spec, {})) == study_hash(spec)


def test_a_study_travels_between_processes() -> None:
    spec = parse_study(LOSSES)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_hash_stands_for_the_content() -> None:
    spec = parse_study(LOSSES)
    assert len(study_hash(spec)) == 16
    same = LOSSES.replace("high = 8\n", "high = 8.0  # a comment\n\n") + "[budget]\ntrials = 50\n"
    assert study_hash(parse_study(same)) == study_hash(spec)
    assert study_hash(override(spec, {"description": "words"})) == study_hash(spec)


@pytest.mark.parametrize(
    "changes",
    [
        {"budget.trials": 51},
        {"search.seed": 1},
        {"teacher.options.layout": "manet"},
        {"space.beta.high": 7.0},
        {"enqueue": []},
        {"name": "other"},
    ],
)
def test_the_hash_tells_studies_apart(changes: dict[str, object]) -> None:
    spec = parse_study(LOSSES)
    assert study_hash(override(spec, changes)) != study_hash(spec)


def test_the_hash_tells_kinds_and_orders_apart() -> None:
    header = 'name = "x"\nobjective = "a:b"\n'
    whole = '[space.a]\nkind = "int"\nlow = 1\nhigh = 2\n'
    real = whole.replace('"int"', '"float"')
    other = '[space.b]\nkind = "int"\nlow = 1\nhigh = 2\n'
    texts = [whole, real, whole + other, other + whole]
    assert len({study_hash(parse_study(header + text)) for text in texts}) == 4


def test_an_objective_names_the_parameters_it_understands() -> None:
    spec = load_study("distill")
    names = ["temperature", "alpha", "ffe_splits", "learning_rate"]
    require_parameters(spec, required=names, allowed=names)
    with pytest.raises(InputError, match=r"temperature is not a parameter of .*space\.temperature"):
        require_parameters(spec, allowed=["temperatures", "alpha"])
    with pytest.raises(InputError, match=r"beta is missing .*\[space\.beta\]"):
        require_parameters(spec, required=["beta"], allowed=[*names, "beta"])
