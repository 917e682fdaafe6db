"""The losses that a study may have: what is written of them, and how a study searches them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fersearch.errors import InputError
from fersearch.spec import (
    LOSS_PARAMETERS,
    LOSSES,
    CategoricalParameter,
    FloatParameter,
    StudySpec,
    check_loss_space,
    load_study,
    parse_study,
    studied_losses,
    study_hash,
    with_loss,
)

BASE = """
name = "mine"
objective = "fersearch.search.objectives:distillation"

[space.temperature]
kind = "float"
low = 1
high = 16
"""
CHOICE = """
[space.loss]
kind = "categorical"
choices = ["kd", "dkd"]
"""
WEIGHT = """
[space.dkd_other_weight]
kind = "float"
low = 1
high = 4
"""


def space_of(spec: StudySpec) -> dict[str, object]:
    return {parameter.name: parameter for parameter in spec.space}


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        check_loss_space(parse_study(text, "mine.toml"))
    return str(caught.value)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_described_whole(name: str) -> None:
    description = LOSSES[name]
    assert description.name == name
    assert "arXiv:" in description.source
    for parameter in description.parameters:
        assert parameter.name.startswith(f"{name}_")
        assert parameter.meaning
        assert parameter.source
        assert parameter.at_least <= parameter.low <= parameter.default <= parameter.high
        assert LOSS_PARAMETERS[parameter.name] == name
    if description.parameters:  # one weight stays: alpha scales them all
        assert [item.searched for item in description.parameters].count(False) == 1


@pytest.mark.parametrize(
    ("loss", "added"),
    [
        ("kd", None),
        (
            "dkd",
            FloatParameter(name="dkd_other_weight", low=0.5, high=8.0, log=True),
        ),
        ("logit_std", None),
        (
            "dist",
            FloatParameter(name="dist_within_weight", low=0.25, high=4.0, log=True),
        ),
    ],
)
def test_a_loss_brings_its_own_parameters_into_the_space(
    loss: str, added: FloatParameter | None
) -> None:
    spec = load_study("distill")
    changed = with_loss(spec, loss)
    assert changed.training.loss == loss
    assert changed.space == (*spec.space, *([added] if added else []))
    start = {added.name: LOSSES[loss].defaults[added.name]} if added else {}
    # The paper's temperatures and balances stay the first that are tried.
    assert changed.enqueue == tuple({**point, **start} for point in spec.enqueue)
    check_loss_space(changed)


def test_the_loss_that_a_study_has_already_changes_nothing() -> None:
    spec = load_study("distill")
    assert with_loss(spec, "kd") == spec
    assert study_hash(with_loss(spec, "kd")) == study_hash(spec)


def test_all_searches_the_loss_and_each_parameter_only_where_its_loss_is() -> None:
    spec = load_study("distill")
    changed = with_loss(spec, "all")
    assert changed.space[:4] == spec.space
    assert changed.space[4:] == (
        CategoricalParameter(name="loss", choices=("kd", "dkd", "logit_std", "dist")),
        FloatParameter(
            name="dkd_other_weight", low=0.5, high=8.0, log=True, when={"loss": ("dkd",)}
        ),
        FloatParameter(
            name="dist_within_weight", low=0.25, high=4.0, log=True, when={"loss": ("dist",)}
        ),
    )
    assert changed.enqueue == tuple({**point, "loss": "kd"} for point in spec.enqueue)
    assert studied_losses(changed) == tuple(LOSSES)
    assert studied_losses(spec) == ("kd",)
    check_loss_space(changed)


@pytest.mark.parametrize("loss", [*LOSSES, "all"])
def test_what_is_chosen_twice_is_chosen_once(loss: str) -> None:
    changed = with_loss(load_study("distill"), loss)
    assert with_loss(changed, loss) == changed


@pytest.mark.parametrize("loss", LOSSES)
def test_one_loss_after_all_leaves_nothing_of_the_others(loss: str) -> None:
    spec = load_study("distill")
    one, after = with_loss(spec, loss), with_loss(with_loss(spec, "all"), loss)
    assert after.space == one.space
    assert after.training.loss == loss
    # The paper's points were tried with kd, which only kd itself still is.
    assert after.enqueue == (one.enqueue if loss == "kd" else ())


def test_the_file_s_own_range_of_a_parameter_stays() -> None:
    text = BASE + WEIGHT.replace("low = 1", "low = 3") + '[training]\nloss = "dkd"\n'
    text += "[[enqueue]]\ntemperature = 4\ndkd_other_weight = 3.5\n"
    both = with_loss(parse_study(text), "all")
    weight = space_of(both)["dkd_other_weight"]
    assert weight == FloatParameter(
        name="dkd_other_weight", low=3.0, high=4.0, when={"loss": ("dkd",)}
    )
    assert both.enqueue == ({"temperature": 4.0, "loss": "dkd", "dkd_other_weight": 3.5},)
    assert with_loss(parse_study(text), "dkd") == parse_study(text)
    assert with_loss(parse_study(text), "kd").enqueue == ({"temperature": 4.0},)


def test_points_of_another_loss_are_left_out() -> None:
    text = BASE + CHOICE + WEIGHT + 'when = { loss = "dkd" }\n'
    text += '[[enqueue]]\ntemperature = 2\nloss = "kd"\n'
    text += '[[enqueue]]\ntemperature = 3\nloss = "dkd"\ndkd_other_weight = 1.5\n'
    spec = parse_study(text)
    assert with_loss(spec, "dkd").enqueue == ({"temperature": 3.0, "dkd_other_weight": 1.5},)
    assert with_loss(spec, "kd").enqueue == ({"temperature": 2.0},)
    assert with_loss(spec, "dist").enqueue == ()
    assert [point["loss"] for point in with_loss(spec, "all").enqueue] == ["kd", "dkd"]


def test_other_conditions_on_the_loss_follow_it() -> None:
    text = BASE + CHOICE + '[space.alpha]\nkind = "float"\nlow = 0\nhigh = 1\n'
    spec = parse_study(text + 'when = { loss = ["dkd"] }\n')
    assert space_of(with_loss(spec, "dkd"))["alpha"] == FloatParameter(
        name="alpha", low=0.0, high=1.0
    )
    assert "alpha" not in space_of(with_loss(spec, "kd"))
    assert space_of(with_loss(spec, "all"))["alpha"] == space_of(spec)["alpha"]


def test_a_grid_gets_the_loss_as_an_axis_and_nothing_else() -> None:
    spec = load_study("ablation")
    both = with_loss(spec, "all", own_parameters=False)
    assert both.space == (*spec.space, CategoricalParameter(name="loss", choices=tuple(LOSSES)))
    one = with_loss(spec, "dkd", own_parameters=False)
    assert (one.space, one.training.loss) == (spec.space, "dkd")


def test_an_unknown_loss_is_refused_with_near_names_and_its_place() -> None:
    with pytest.raises(InputError) as caught:
        with_loss(load_study("distill"), "kdd", source="the options")
    assert str(caught.value) == (
        'loss must be one of kd, dkd, logit_std, dist, all but got "kdd"'
        " (training.loss in the options); did you mean kd or dkd?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            BASE + '[training]\nloss = "all"\n',
            'loss must be one of kd, dkd, logit_std, dist but got "all" (training.loss in'
            ' mine.toml); search it: add [space.loss] with kind = "categorical", or give --loss',
        ),
        (
            BASE + CHOICE.replace('"dkd"', '"dk"'),
            'choices[1] must be one of kd, dkd, logit_std, dist but got "dk"',
        ),
        (
            BASE + WEIGHT.replace("low = 1", "low = -1"),
            "low must be at least 0 but got -1.0 (space.dkd_other_weight.low in mine.toml)",
        ),
        (
            BASE + WEIGHT,
            "dkd_other_weight is a parameter of the loss dkd but is searched with kd"
            ' (space.dkd_other_weight of study mine); set loss = "dkd" in [training]',
        ),
        (
            BASE + CHOICE + WEIGHT,
            "dkd_other_weight is a parameter of the loss dkd but is searched with kd"
            ' (space.dkd_other_weight of study mine); add when = { loss = "dkd" } to it',
        ),
        (
            BASE + CHOICE + WEIGHT + 'when = { loss = ["kd", "dkd"] }\n',
            "is searched with kd",
        ),
    ],
)
def test_a_parameter_of_a_loss_is_searched_where_that_loss_is(text: str, message: str) -> None:
    assert message in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        BASE + WEIGHT + '[training]\nloss = "dkd"\n',
        BASE + CHOICE + WEIGHT + 'when = { loss = "dkd" }\n',
        BASE + CHOICE.replace('["kd", "dkd"]', '["dkd"]') + WEIGHT,
        BASE + CHOICE,
    ],
)
def test_a_file_may_search_its_loss_by_hand(text: str) -> None:
    check_loss_space(parse_study(text))


def test_the_documentation_tells_defaults_and_ranges_as_they_are() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "studies.md"
    rows = {
        cells[2].strip("`"): cells[4:6]
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (`\w+` )?\| `(dkd|dist)_", line)
        for cells in [[cell.strip() for cell in line.split("|")]]
    }
    expected = {}
    for description in LOSSES.values():
        for item in description.parameters:
            span = f"{item.low:g} to {item.high:g}{', logarithmic' if item.log else ''}"
            expected[item.name] = [f"{item.default:g}", span if item.searched else "no"]
    assert rows == expected
