"""Study files: what a file means, and what each mistake in one is answered with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fersearch.errors import InputError
from fersearch.spec import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    load_study,
    parse_study,
)

SMALL = """
name = "small"
objective = "package.module:function"

[space.temperature]
kind = "float"
low = 1
high = 16

[space.ffe_splits]
kind = "categorical"
choices = [2, 4, 8]
"""


def broken(extra: str, *, base: str = SMALL) -> str:
    """Return the message that a study file with ``extra`` at its end is refused with."""
    with pytest.raises(InputError) as caught:
        parse_study(base + extra, "mine.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def with_line(old: str, new: str) -> str:
    """Return the message that the small study with one line changed is refused with."""
    assert old in SMALL
    return broken("", base=SMALL.replace(old, new))


def test_shipped_study_searches_the_published_space() -> None:
    spec = load_study("distill")
    assert spec.name == "distill"
    assert spec.objective == "fersearch.search.objectives:distillation"
    assert spec.space == (
        FloatParameter(name="temperature", low=1.0, high=16.0),
        FloatParameter(name="alpha", low=0.05, high=0.95),
        CategoricalParameter(name="ffe_splits", choices=(2, 4, 8)),
        FloatParameter(name="learning_rate", low=1e-3, high=0.3, log=True),
    )
    assert [tuple(point.values()) for point in spec.enqueue] == [
        (8.0, 0.4, 4, 0.01),
        (6.0, 0.4, 4, 0.01),
    ]
    assert spec.teacher.options == {"layout": "count", "right": "reverse"}
    assert (spec.budget.trials, spec.search.sampler, spec.search.pruner) == (50, "tpe", "hyperband")


def test_a_file_that_says_little_gets_the_defaults() -> None:
    spec = parse_study(SMALL)
    assert spec.budget.epochs == 8
    assert spec.training.student == "shufflenet_v2_x1_0"
    assert spec.data.image_size is None
    assert spec.enqueue == ()
    assert spec.space[0] == FloatParameter(name="temperature", low=1.0, high=16.0)


def test_every_kind_of_parameter_is_read() -> None:
    spec = parse_study(
        SMALL
        + """
[space.depth]
kind = "int"
low = 2
high = 10
step = 4
[space.width]
kind = "int"
low = 1
high = 64
log = true
[space.norm]
kind = "categorical"
choices = ["batch", true, 0.5, 3]
"""
    )
    assert spec.space[2:] == (
        IntParameter(name="depth", low=2, high=10, step=4),
        IntParameter(name="width", low=1, high=64, log=True),
        CategoricalParameter(name="norm", choices=("batch", True, 0.5, 3)),
    )


def test_whole_numbers_stand_for_floats() -> None:
    spec = parse_study(
        "enqueue = [{temperature = 8, ffe_splits = 4}]\n" + SMALL + "[training]\ndropout = 0\n"
    )
    assert repr(spec.enqueue[0]["temperature"]) == "8.0"
    assert repr(spec.training.dropout) == "0.0"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "[budget]\ntrials = 0",
            "trials must be at least 1 but got 0 (budget.trials in mine.toml)",
        ),
        ("[budget]\ntrials = -3", "trials must be at least 1 but got -3"),
        ("[budget]\nepochs = 0", "epochs must be at least 1 but got 0"),
        ("[budget]\nbatch_size = 1", "batch_size must be at least 2 but got 1"),
        ("[budget]\nepochs = 2.0", "epochs must be a whole number but got 2.0"),
        ("[budget]\nepochs = true", "epochs must be a whole number but got true"),
        ("[budget]\nseeds = '3'", 'seeds must be a whole number but got "3"'),
        (
            "[budget]\ntrails = 20",
            "trails is not a known key (budget.trails in mine.toml); did you mean trials?",
        ),
        ("[bugdet]\ntrials = 20", "bugdet is not a known key (mine.toml); did you mean budget?"),
        (
            "[search]\nsampler = 'tp'",
            'sampler must be one of tpe, gp, random, nsga2, grid but got "tp"'
            " (search.sampler in mine.toml); did you mean tpe?",
        ),
        ("[search]\npruner = 5", "pruner must be one of hyperband, median, none but got 5"),
        ("[search]\nmetric = 'loss'", "metric must be one of accuracy, macro_f1"),
        ("[search]\nseed = -1", "seed must be at least 0 but got -1"),
        ("[training]\ndropout = 1.0", "dropout must be at least 0 and below 1 but got 1.0"),
        ("[training]\nlabel_smoothing = nan", "must be a finite number but got nan"),
        ("[training]\nlabel_smoothing = 'a'", 'must be a number but got "a"'),
        ("[training]\nstudent = ''", 'student must be a text that is not empty but got ""'),
        ("[training]\nstudent_options = 3", "student_options must be a table but got 3"),
        ("[training.student_options]\nwidths = [1, 2]", "training.student_options.widths in mine"),
        ("[training.student_options]\nwidth = inf", "width must be a finite number but got inf"),
        ("[teacher]\nlearning_rate = 0", "learning_rate must be above 0 but got 0"),
        ("[data]\nimage_size = 8", "image_size must be at least 16 but got 8"),
    ],
)
def test_a_broken_setting_is_named_with_its_rule(extra: str, message: str) -> None:
    assert message in broken(extra)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "name is missing (mine.toml)"),
        ('name = "small"', 'name = "../up"', "name must be at most 64 letters"),
        ("package.module:function", "eval('1')", "objective must be written as module:function"),
        ("package.module:function", "module.function", "must be written as module:function"),
        ('kind = "float"', "", "kind is missing (space.temperature.kind in mine.toml)"),
        ('kind = "float"', 'kind = "flaot"', "did you mean float?"),
        ("low = 1", "", "low is missing (space.temperature.low in mine.toml)"),
        ("low = 1", "low = 0", "low must be above 0 but got 0.0 (space.temperature.low"),
        ("low = 1", "low = 16", "low must be below high (16) but got 16.0"),
        ("low = 1", "low = 1\nstep = 2", "step is not a known key (space.temperature.step"),
        ("low = 1", 'low = "1"', 'low must be a number but got "1"'),
        ("low = 1", "low = 1\nlog = 1", "log must be true or false but got 1"),
        ("[2, 4, 8]", "[]", "choices must be a list of at least one value but got []"),
        ("[2, 4, 8]", "8", "choices must be a list of at least one value but got 8"),
        ("[2, 4, 8]", "[2, 4, 2]", "choices must be different values but got [2, 4, 2]"),
        ("[2, 4, 8]", "[0, 4]", "choices[0] must be at least 1 but got 0"),
        ("[2, 4, 8]", "[[2], 4]", "choices[0] must be a text, a number, true or false"),
        ("[2, 4, 8]", "[nan, 4]", "choices[0] must be a finite number"),
        ("space.temperature", 'space."T = 3"', "T = 3 is no name of a parameter"),
    ],
)
def test_a_broken_line_is_named_with_its_rule(old: str, new: str, message: str) -> None:
    assert message in with_line(old, new)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("low = -0.5\nhigh = 0.5", "low must be at least 0 and at most 1 but got -0.5"),
        ("low = 0.5\nhigh = 1.5", "high must be at least 0 and at most 1 but got 1.5"),
    ],
)
def test_alpha_is_a_share(limits: str, message: str) -> None:
    assert message in broken(f'[space.alpha]\nkind = "float"\n{limits}')


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("low = 0\nhigh = 8\nlog = true", "low must be above 0 on a logarithmic scale but got 0"),
        ("low = 1\nhigh = 8\nstep = 2", "high must be low (1) plus a multiple of step (2) but got"),
        ("low = 1\nhigh = 8\nstep = 0", "step must be at least 1 but got 0"),
        ("low = 1\nhigh = 9\nstep = 2\nlog = true", "step must be 1 on a logarithmic scale"),
        ("low = 1.5\nhigh = 8", "low must be a whole number but got 1.5"),
    ],
)
def test_whole_number_ranges(limits: str, message: str) -> None:
    assert message in broken(f'[space.depth]\nkind = "int"\n{limits}')


def test_a_study_without_a_space_is_refused() -> None:
    header = 'name = "x"\nobjective = "a:b"\n'
    assert "space is missing" in broken("", base=header)
    assert "space holds no parameter" in broken("", base=header + "[space]\n")
    assert "space must be a table but got 3" in broken("", base=header + "space = 3\n")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "temperature = 20.0\nffe_splits = 4",
            "temperature must be a number from 1 to 16 but got 20.0 (enqueue[0].temperature in",
        ),
        ("temperature = 2.0\nffe_splits = 3", "ffe_splits must be one of 2, 4, 8 but got 3"),
        ("temperature = 2.0\nffe_splits = 4.0", "ffe_splits must be one of 2, 4, 8 but got 4.0"),
        ("temperature = true\nffe_splits = 4", "but got true"),
        ("temperature = 2.0", "ffe_splits is missing (enqueue[0].ffe_splits in mine.toml)"),
        (
            "temperatur = 2.0\nffe_splits = 4",
            "temperatur is not a parameter of the space (enqueue[0].temperatur in mine.toml);"
            " did you mean temperature?",
        ),
    ],
)
def test_an_enqueued_point_lies_in_the_space(point: str, message: str) -> None:
    assert message in broken(f"[[enqueue]]\n{point}")


def test_enqueued_points_are_a_list() -> None:
    assert "enqueue must be a list of points but got 3" in broken("", base="enqueue = 3\n" + SMALL)
    assert "enqueue[0] must be a table but got 3" in broken("", base="enqueue = [3]\n" + SMALL)


def test_text_that_is_not_toml_is_refused_with_its_line() -> None:
    message = broken("[budget\n")
    assert message.startswith("mine.toml is not valid TOML")
    assert re.search(r"line \d+", message)
    with pytest.raises(InputError, match="the study is not valid TOML"):
        parse_study("= 3")


def test_a_long_value_is_cut_in_the_message() -> None:
    message = broken(f"[search]\nsampler = '{'x' * 500}'")
    assert len(message) < 250
    assert "xxx..." in message


def test_a_study_is_found_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    assert load_study(file) == load_study("mine.toml") == load_study("./mine.toml")
    assert load_study(str(file)).name == "small"
    (tmp_path / "distill").mkdir()
    assert load_study("distill").name == "distill"


def test_an_unknown_study_is_refused_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study 'distil'; did you mean distill\?"):
        load_study("distil")
    with pytest.raises(InputError, match=r"missing\.toml: No such file.*distill"):
        load_study(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="cannot read the study file"):
        load_study(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xe9"')
    with pytest.raises(InputError, match="is not UTF-8"):
        load_study(latin)
