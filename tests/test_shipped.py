"""What ships works: every study parses and runs, and names mean the same in every room."""

from __future__ import annotations

import shutil

import pytest
from conftest import TINY_DATA

from fersearch.distill import LOSSES, RECIPES
from fersearch.plugins import list_shipped
from fersearch.spec import LOSSES as LOSS_NAMES
from fersearch.spec import RECIPES as RECIPE_NAMES
from fersearch.spec import load_study


def test_the_spec_names_exactly_the_losses_and_recipes_there_are():
    assert set(LOSS_NAMES) == set(LOSSES)
    assert set(RECIPE_NAMES) == set(RECIPES)


def test_the_distill_study_searches_what_the_documentation_says():
    spec = load_study("distill")
    assert [parameter.name for parameter in spec.space] == [
        "temperature", "alpha", "ffe_splits", "learning_rate",
    ]  # fmt: skip
    paper = {"alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01}
    assert [dict(point) for point in spec.enqueue] == [
        {"temperature": 8.0, **paper},
        {"temperature": 6.0, **paper},
    ]
    assert spec.budget.trials == 50
    assert (spec.search.sampler, spec.search.pruner) == ("tpe", "hyperband")


SMALL = {
    "budget.epochs": 1,
    "budget.teacher_epochs": 1,
    "budget.seeds": 1,
    "budget.confirm_top": 1,
}


def test_every_student_of_the_shipped_backbones_study_can_be_trained_on_its_images():
    from fersearch.models.students import resolve_students

    training = load_study("backbones").training
    found = resolve_students(training.students, classes=8, image_size=48, dropout=training.dropout)
    assert not found.refused
    assert tuple(student.name for student in found.accepted) == training.students
    assert all(5e5 < student.params < 6e6 for student in found.accepted)
    assert all(student.drops_out for student in found.accepted)


@pytest.mark.slow
def test_the_shipped_backbones_study_runs_on_tiny_data(tmp_path, tiny_data, tiny_cache):
    import fersearch

    shutil.copytree(tiny_cache / "data", tmp_path / "cache" / "data")
    result = fersearch.run_backbones(
        students=["lcnet_100"],
        data=TINY_DATA,
        workspace=tmp_path,
        jobs=1,
        threads=1,
        track=False,
        settings={**SMALL, "budget.trials": 2},
    )
    (row,) = result.content["students"]
    assert row["test"]["distilled"]["accuracy"] >= 0
    assert result.report.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in list_shipped("studies", ".toml")
        if not load_study(name).training.students  # those run once for each
    ],
)
def test_every_shipped_study_runs_on_tiny_data_with_its_own_networks(
    name, tmp_path, tiny_data, tiny_cache
):
    import fersearch

    shutil.copytree(tiny_cache / "data", tmp_path / "cache" / "data")
    grid = load_study(name).search.sampler == "grid"
    settings = SMALL if grid else {**SMALL, "budget.trials": 2}
    result = fersearch.run_study(
        name, data=TINY_DATA, workspace=tmp_path, jobs=1, threads=1, settings=settings
    )
    assert not result.warnings
    assert result.report.exists()
    if grid:
        assert len(result.content["cells"]) == 9
        assert {"student_alone", "teacher"} <= set(result.content)
        assert (result.folder / "figures" / "grid.png").exists()
        return
    assert result.content["test"]["distilled"]["accuracy"] >= 0
    assert result.content["cost"]["params"] == 1_261_804
    assert result.content["cost"]["teacher"]["params"] > 11_000_000


@pytest.mark.slow
def test_every_shipped_baseline_trains_and_is_tested_on_tiny_data(tmp_path, tiny_data, tiny_cache):
    import fersearch

    shutil.copytree(tiny_cache / "data", tmp_path / "cache" / "data")
    result = fersearch.run_baselines(
        data=TINY_DATA, workspace=tmp_path, jobs=1, threads=1, settings=SMALL
    )
    assert not result.warnings
    rows = result.content["rows"]
    assert set(rows) == set(list_shipped("baselines", ".py"))
    assert {name: row["params"] for name, row in rows.items()} == {
        "resnet18": 11_180_616,
        "rcl_net": 11_660_864,
        "tfen": 9_304_968,
        "ecdnet": 11_243_208,
    }
    assert rows["ecdnet"]["training_params"] == 24_040_563
    assert any("clusters" in note for note in rows["tfen"]["notes"])
    assert result.content["test_reads"] == 1


@pytest.mark.slow
def test_a_notebook_user_trains_a_teacher_and_distils_in_two_lines(tmp_path):
    import numpy as np

    import fersearch

    data = fersearch.load_data(TINY_DATA, workspace=tmp_path)
    teacher = fersearch.train_teacher(data, ffe_splits=2, epochs=1, workspace=tmp_path)
    student = fersearch.distil(data, teacher, alpha=0.5, epochs=1, workspace=tmp_path)
    alone = fersearch.train_student(data, epochs=1, workspace=tmp_path)
    again = fersearch.train_teacher(data, ffe_splits=2, epochs=1, workspace=tmp_path)
    assert again.record == teacher.record
    assert 0 <= student.val_accuracy <= 1
    probabilities = student.predict(data.val.images[:5])
    assert probabilities.shape == (5, 8)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    metrics = fersearch.evaluate(alone, data)
    assert metrics.accuracy == pytest.approx(alone.val_accuracy)
