"""Pareto searches: costs are known beforehand, a front is what nothing beats, one is taken."""

from __future__ import annotations

import json
import shutil

import optuna
import pytest
from conftest import TINY_DATA

import fersearch
from fersearch.errors import FersearchError, InputError
from fersearch.search.pareto import points_to_confirm
from fersearch.stats import pareto_front

STUDENTS = ("tiny_student", "tiny_wide", "tiny_middle")


@pytest.fixture(autouse=True)
def _models(tiny_plugin):
    """Register the tiny networks."""


@pytest.fixture
def run(tmp_path, tiny_study_file, tiny_data, tiny_cache, tiny_plugin):
    """Run the tiny study over several students in a workspace of its own."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")

    def run_study(*, costs=("params",), students=STUDENTS, name="", **settings):
        return fersearch.run_study(
            tiny_study_file,
            data=TINY_DATA,
            workspace=workspace,
            jobs=1,
            threads=1,
            track=False,
            plugins=[tiny_plugin],
            export=False,
            name=name,
            settings={
                "training.students": students,
                "search.costs": costs,
                "search.pruner": "none",
                **settings,
            },
        )

    run_study.workspace = workspace
    return run_study


def test_a_front_of_accuracy_and_parameters(run):
    result = run(**{"budget.trials": 9})
    content = json.loads((result.folder / "result.json").read_text())
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{run.workspace}/optuna.db")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    sizes = {item["model"]: item["params"] for item in content["student_costs"]}
    assert set(sizes) == set(STUDENTS)
    for trial in study.trials:
        assert trial.values[1] == sizes[trial.params["student"]]
    values = [trial.values for trial in study.trials]
    wanted = {study.trials[i].number for i in pareto_front(values, maximise=[True, False])}
    points = content["front"]
    assert {point["trial"] for point in points if point["on_front"]} == wanted
    assert sum(point["recommended"] for point in points) == 1
    assert sum(point["knee"] for point in points) == 1
    taken = next(point for point in points if point["recommended"])
    assert taken["confirmed"] is not None
    # The model that is handed out, its control and its cost are those of the point.
    assert taken["test_accuracy"] == content["test"]["distilled"]["accuracy"]
    assert content["best"]["params"] == taken["params"]
    assert content["cost"]["params"] == sizes[taken["model"]]
    assert content["control"]["params"]["student"] == taken["params"]["student"]
    config = json.loads((result.model / "config.json").read_text())
    assert config["model"] == taken["model"]
    # Every confirmed point is tested, all in one opening of the test split.
    confirmed = [point for point in points if point["confirmed"] is not None]
    assert all(point["test_accuracy"] is not None for point in confirmed)
    assert content["test_reads"] == 1
    report = result.report.read_text()
    assert "## Front" in report
    assert "params" in str(result)


def test_a_pareto_search_in_pieces_is_one_search(run):
    for trials in (3, 6):
        pieces = run(**{"budget.trials": trials, "budget.confirm_top": 3}).content
    shutil.rmtree(run.workspace / "studies")
    (run.workspace / "optuna.db").unlink()
    straight = run(**{"budget.trials": 6, "budget.confirm_top": 3}).content
    for part in ("trials", "front", "best", "confirmed", "control", "gain"):
        assert pieces[part] == straight[part], part
    # The first piece tested points of its own; what is on both fronts is tested the same.
    for key in set(pieces["test"]) & set(straight["test"]):
        assert pieces["test"][key]["accuracy"] == straight["test"][key]["accuracy"]


@pytest.mark.slow
def test_latency_is_measured_once_and_a_limit_decides_which_point_is_taken(run):
    students = ("tiny_student", "shufflenet_v2_x0_5")  # far apart, whatever the machine
    result = run(costs=("latency",), students=students, **{"budget.trials": 4})
    costs = json.loads((result.folder / "costs.json").read_text())
    assert {item["latency"]["runtime"] for item in costs.values()} == {"onnxruntime"}
    again = run(costs=("latency",), students=students, **{"budget.trials": 5})
    assert json.loads((again.folder / "costs.json").read_text()) == costs
    quick, slow = sorted(item["latency"]["p50"] for item in costs.values())
    assert slow > 5 * quick
    settings = {"budget.trials": 4, "search.max_latency_ms": (quick + slow) / 2}
    limited = run(costs=("latency",), students=students, name="limited", **settings)
    taken = next(point for point in limited.content["front"] if point["recommended"])
    assert taken["model"] == "tiny_student"
    # The first trials are of the first student: with one trial there is none within the limit.
    settings["budget.trials"] = 1
    with pytest.raises(FersearchError, match="no complete trial keeps the limit"):
        run(costs=("latency",), students=students[::-1], name="one", **settings)


@pytest.mark.slow
def test_a_limit_that_no_student_keeps_is_refused_before_training(run):
    with pytest.raises(InputError, match="the fastest is tiny_"):
        run(costs=("latency",), **{"search.max_latency_ms": 1e-6})
    assert not list((run.workspace / "studies" / "tiny" / "runs").glob("*"))
    # What the hint says can be done, under the same name.
    assert run(costs=("latency",), **{"search.max_latency_ms": 1e3, "budget.trials": 2}).content


def test_the_size_that_the_student_works_at_can_be_searched(run):
    result = run(
        costs=("macs",),
        students=("tiny_student",),
        **{
            "space.input_size": {"kind": "categorical", "choices": [16, 20]},
            "budget.trials": 6,
        },
    )
    costs = {item["options"].get("input_size"): item for item in result.content["student_costs"]}
    assert set(costs) == {None, 20}
    assert costs[20]["macs"] > costs[None]["macs"]
    assert costs[20]["params"] == costs[None]["params"]


def test_a_size_that_the_students_patches_do_not_divide_is_refused(run):
    with pytest.raises(InputError, match=r"cannot work at 24 px: .* would leave out the last 8 of"):
        run(costs=("macs",), students=("vit_tiny_patch16_224",), **{
            "space.input_size": {"kind": "categorical", "choices": [16, 24]},
        })  # fmt: skip


def test_a_student_that_is_larger_than_its_teacher_is_noted(run):
    result = run(costs=(), students=("tiny_wide",), **{"budget.trials": 2})
    note = "tiny_wide has more parameters (6,128) than the teacher tiny_teacher (2,936)"
    assert note in result.content["notes"]
    assert note in result.report.read_text().replace("\\", "")


def test_several_students_without_costs_are_searched_for_the_best(run):
    result = run(costs=(), **{"budget.trials": 6})
    assert "front" not in result.content
    params = result.content["best"]["params"]
    assert params["student"] in STUDENTS
    assert result.content["cost"]["model"] == params["student"]
    assert result.content["control"]["params"]["student"] == params["student"]


def test_costs_that_are_the_same_for_every_trial_are_refused(run):
    with pytest.raises(InputError, match="would be the same for every trial"):
        run(students=("tiny_student",))


def test_a_limit_without_a_pareto_search_is_refused(run):
    with pytest.raises(InputError, match="a limit on the latency needs a Pareto search"):
        run(costs=(), **{"search.max_latency_ms": 1.0})


def test_other_costs_are_another_protocol(run):
    run(**{"budget.trials": 2})
    with pytest.raises(InputError, match="costs: "):
        run(costs=("macs",), **{"budget.trials": 2})


def test_the_knee_and_the_best_are_confirmed_first_and_a_limit_puts_the_best_first():
    front = [[0.9, 9.0], [0.88, 2.0], [0.7, 1.5], [0.5, 1.0]]
    maximise = (True, False)
    assert points_to_confirm(front, maximise=maximise, count=2) == [1, 0]
    assert points_to_confirm(front, maximise=maximise, count=2, best_first=True) == [0, 1]
    assert points_to_confirm(front[:1], maximise=maximise, count=3) == [0]


def test_another_student_takes_the_place_of_those_that_a_file_searches(run, tiny_study_file):
    text = tiny_study_file.read_text()
    text = text.replace(
        'student = "tiny_student"', 'student = "tiny_student"\nstudent_options = {}'
    )
    table = '[space.student]\nkind = "categorical"\nchoices = ["tiny_student", "tiny_wide"]\n\n'
    point = text.index("[[enqueue]]")
    tiny_study_file.write_text(
        text[:point] + table + text[point:] + 'student = "tiny_wide"\n', encoding="utf-8"
    )
    result = run(costs=(), students=("tiny_middle",), **{"budget.trials": 2})
    assert result.content["cost"]["model"] == "tiny_middle"
    assert "student" not in result.content["best"]["params"]


def test_sizes_are_listed_one_by_one(run):
    sizes = {"kind": "int", "low": 16, "high": 20}
    with pytest.raises(InputError, match='must be "categorical"'):
        run(**{"space.input_size": sizes})
