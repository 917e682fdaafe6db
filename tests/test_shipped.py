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


@pytest.mark.slow
@pytest.mark.parametrize("name", list_shipped("studies", ".toml"))
def test_every_shipped_study_runs_on_tiny_data_with_its_own_networks(
    name, tmp_path, tiny_data, tiny_cache
):
    import fersearch

    shutil.copytree(tiny_cache / "data", tmp_path / "cache" / "data")
    result = fersearch.run_study(
        name,
        data=TINY_DATA,
        workspace=tmp_path,
        jobs=1,
        threads=1,
        settings={
            "budget.trials": 2,
            "budget.epochs": 1,
            "budget.teacher_epochs": 1,
            "budget.seeds": 1,
            "budget.confirm_top": 1,
        },
    )
    assert result.content["test"]["distilled"]["accuracy"] >= 0
    assert result.content["cost"]["params"] == 1_261_804
    assert result.content["cost"]["teacher"]["params"] > 11_000_000
    assert not result.warnings


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
