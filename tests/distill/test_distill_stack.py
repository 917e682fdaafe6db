"""Students that are trained together come out as if each had been trained alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import (
    Execution,
    LossSettings,
    ReplayedTeacher,
    Student,
    TrainJob,
    make_recipe,
    stack_key,
    train,
    train_stack,
)
from fersearch.distill.run import TrainingRun
from fersearch.distill.shared_dropout import SharedDropout
from fersearch.distill.stacked_students import try_stacking
from fersearch.errors import FersearchError

CPU = Execution(device="cpu", threads=1)
SETTINGS = (
    (LossSettings(temperature=4.0, alpha=0.7), 0.05),
    (LossSettings(temperature=1.5, alpha=0.2), 0.2),
    (LossSettings(temperature=9.0, alpha=0.95), 0.01),
)


@pytest.fixture(autouse=True)
def _models(tiny_plugin):
    """Register the tiny networks."""


@pytest.fixture
def double():
    """Train in float64, where what differs by rounding differs by 1e-12."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def teachers(tiny_data, tmp_path):
    """Two teachers' soft labels of eight epochs."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        for epoch in range(8):
            logits = 3 * random.standard_normal((96, 8))
            np.save(folder / f"epoch-{epoch:04d}.npy", logits.astype(np.float32))
    return {name: ReplayedTeacher(tmp_path / name) for name in ("a", "b")}


def make_job(data, setting, *, teacher="a", model="tiny_student", recipe="default", **fields):
    loss, rate = setting
    changes = {"dropout": 0.4, **fields.pop("changes", {})}
    budget = {"epochs": fields.pop("epochs", 2), "batch_size": fields.pop("batch_size", 16)}
    return TrainJob(
        data_sha256=data.info.sha256,
        model=model,
        recipe=make_recipe(recipe, learning_rate=rate, **budget, **changes),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=3,
        loss=loss,
        teacher="" if loss is None else teacher,
        **fields,
    )


def in_turn(jobs, data, teachers, hooks=None):
    hooks = hooks or [None] * len(jobs)
    return [
        train(job, data, execution=CPU, teacher=teachers.get(job.teacher), on_epoch=hook)
        for job, hook in zip(jobs, hooks, strict=True)
    ]


def together(jobs, data, teachers, hooks=None, checkpoints=None):
    hooks, checkpoints = hooks or [None] * len(jobs), checkpoints or [None] * len(jobs)
    students = [
        Student(job=job, teacher=teachers.get(job.teacher), on_epoch=hook, checkpoint=path)
        for job, hook, path in zip(jobs, hooks, checkpoints, strict=True)
    ]
    return train_stack(students, data, execution=CPU)


def assert_equal(stacked, alone, tolerance=1e-9):
    """Compare ends, weights, statistics and every figure of every epoch."""
    for one, other in zip(stacked, alone, strict=True):
        assert (one.state, one.reason, one.best_epoch) == (
            other.state, other.reason, other.best_epoch,
        )  # fmt: skip
        assert one.training_params == other.training_params
        assert len(one.epochs) == len(other.epochs)
        for left, right in zip(one.epochs, other.epochs, strict=True):
            figures = dataclasses.asdict(dataclasses.replace(left, seconds=right.seconds))
            # The validation loss is computed in float32.
            assert figures == pytest.approx(dataclasses.asdict(right), rel=max(tolerance, 1e-6))
        weights = other.model.state_dict()
        assert one.model.state_dict().keys() == weights.keys()
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(value, weights[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_tiny_students_equal_those_trained_alone(double, tiny_data, teachers, recipe):
    jobs = [
        make_job(tiny_data, setting, recipe=recipe, teacher=name)
        for setting, name in zip(SETTINGS, "aba", strict=True)
    ]
    assert_equal(together(jobs, tiny_data, teachers), in_turn(jobs, tiny_data, teachers))


def test_shufflenets_equal_those_trained_alone(double, tiny_data, teachers):
    # Small rates: on maps of one pixel, batch normalisation makes rounding grow at every step.
    rates = (1e-3, 2e-3, 5e-4)
    jobs = [
        make_job(tiny_data, (loss, rate), model="shufflenet_v2_x0_5", batch_size=32)
        for (loss, _), rate in zip(SETTINGS, rates, strict=True)
    ]
    stacked, alone = together(jobs, tiny_data, teachers), in_turn(jobs, tiny_data, teachers)
    assert_equal(stacked, alone)
    assert all(outcome.notes[0].startswith("trained in a stack of 3") for outcome in stacked)


def test_in_float32_they_are_equal_up_to_rounding(tiny_data, teachers):
    jobs = [make_job(tiny_data, setting) for setting in SETTINGS]
    stacked, alone = together(jobs, tiny_data, teachers), in_turn(jobs, tiny_data, teachers)
    for one, other in zip(stacked, alone, strict=True):
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(value, other.model.state_dict()[name], rtol=1e-2, atol=1e-3)


def test_losses_of_several_kinds_share_a_stack(double, tiny_data, teachers):
    losses = [
        LossSettings(name="dist", temperature=2.0, alpha=0.6, options={"dist_within_weight": 2.0}),
        LossSettings(name="dkd", temperature=4.0, alpha=0.5, options={"dkd_other_weight": 3.0}),
        LossSettings(name="logit_std", temperature=2.0, alpha=0.4),
        LossSettings(name="dkd", temperature=3.0, alpha=0.8),
        LossSettings(temperature=5.0, alpha=0.0),
    ]
    jobs = [make_job(tiny_data, (loss, 0.05)) for loss in losses]
    assert_equal(together(jobs, tiny_data, teachers), in_turn(jobs, tiny_data, teachers))


def test_students_without_a_teacher_share_a_stack(double, tiny_data):
    changes = {"label_smoothing": 0.1}
    jobs = [make_job(tiny_data, (None, rate), changes=changes) for rate in (0.01, 0.1)]
    # Plain cross entropy is computed in float32.
    assert_equal(together(jobs, tiny_data, {}), in_turn(jobs, tiny_data, {}), tolerance=1e-5)


def test_a_pruned_student_leaves_and_the_others_go_on(double, tiny_data, teachers):
    jobs = [make_job(tiny_data, setting, epochs=4) for setting in SETTINGS]
    hooks = [None, lambda record: record.epoch < 1, None]
    stacked = together(jobs, tiny_data, teachers, hooks)
    assert [outcome.state for outcome in stacked] == ["complete", "pruned", "complete"]
    assert_equal(stacked, in_turn(jobs, tiny_data, teachers, hooks))


def test_the_last_one_goes_on_alone(double, tiny_data, teachers):
    jobs = [make_job(tiny_data, setting, epochs=4) for setting in SETTINGS[:2]]
    hooks = [lambda record: record.epoch < 1, None]
    stacked = together(jobs, tiny_data, teachers, hooks)
    assert [len(outcome.epochs) for outcome in stacked] == [2, 4]
    assert_equal(stacked, in_turn(jobs, tiny_data, teachers, hooks))


@pytest.mark.parametrize("place", [0, 2])
def test_a_diverging_student_leaves_and_the_others_go_on(double, tiny_data, teachers, place):
    settings = list(SETTINGS)
    settings[place] = (settings[place][0], 1e200)
    jobs = [make_job(tiny_data, setting, changes={"clip_norm": 0.0}) for setting in settings]
    stacked = together(jobs, tiny_data, teachers)
    assert stacked[place].state == "pruned"
    assert stacked[place].reason.startswith("diverged: ")
    others = [number for number in range(3) if number != place]
    alone = in_turn(jobs, tiny_data, teachers)
    assert stacked[place].reason == alone[place].reason
    assert_equal([stacked[n] for n in others], [alone[n] for n in others])


def test_all_may_diverge(tiny_data, teachers):
    jobs = [make_job(tiny_data, (loss, 1e30), changes={"clip_norm": 0.0}) for loss, _ in SETTINGS]
    stacked = together(jobs, tiny_data, teachers)
    assert [outcome.state for outcome in stacked] == ["pruned"] * 3
    assert all(outcome.epochs == () for outcome in stacked)


@pytest.mark.parametrize("later", [1, 2, 3])
def test_a_stack_that_was_killed_goes_on_with_another_number_of_students(
    double, tiny_data, teachers, tmp_path, later
):
    jobs = [make_job(tiny_data, setting, epochs=4) for setting in SETTINGS]
    paths = [tmp_path / f"{number}.pt" for number in range(3)]

    def stop(record):
        if record.epoch == 1:
            raise KeyboardInterrupt
        return True

    # The first one's second epoch is kept, the others' is not.
    with pytest.raises(KeyboardInterrupt):
        together(jobs, tiny_data, teachers, [stop, None, None], paths)
    assert len({torch.load(path)["history"][-1]["epoch"] for path in paths}) == 2
    seen = [[], [], []]
    hooks = [lambda record, own=own: own.append(record.epoch) or True for own in seen]
    outcomes = []
    for start in range(0, 3, later):
        part = slice(start, start + later)
        if later == 1:
            outcomes += [
                train(
                    jobs[start],
                    tiny_data,
                    execution=CPU,
                    teacher=teachers["a"],
                    checkpoint=paths[start],
                    on_epoch=hooks[start],
                )
            ]
        else:
            outcomes += together(jobs[part], tiny_data, teachers, hooks[part], paths[part])
    assert seen == [[0, 1, 2, 3]] * 3
    assert_equal(outcomes, in_turn(jobs, tiny_data, teachers))


def test_a_lone_checkpoint_goes_on_in_a_stack(double, tiny_data, teachers, tmp_path):
    jobs = [make_job(tiny_data, setting, epochs=3) for setting in SETTINGS]
    path = tmp_path / "run.pt"

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            jobs[1],
            tiny_data,
            execution=CPU,
            teacher=teachers["a"],
            checkpoint=path,
            on_epoch=stop,
        )
    stacked = together(jobs, tiny_data, teachers, None, [None, path, None])
    assert_equal(stacked, in_turn(jobs, tiny_data, teachers))


def test_seconds_are_a_share_of_the_stacks(tiny_data, teachers, monkeypatch):
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr("fersearch.distill.stack.time.perf_counter", lambda: float(next(clock)))
    jobs = [make_job(tiny_data, setting, epochs=1) for setting in SETTINGS]
    stacked = together(jobs, tiny_data, teachers)
    assert [outcome.seconds for outcome in stacked] == [2.0, 2.0, 2.0]


def test_which_jobs_go_together(tiny_data, teachers):
    job = make_job(tiny_data, SETTINGS[0])
    assert stack_key(job) == stack_key(make_job(tiny_data, SETTINGS[1], teacher="b"))
    for other in (
        dataclasses.replace(job, seed=4),
        dataclasses.replace(job, model="tiny_wide"),
        dataclasses.replace(job, loss=None, teacher=""),
        dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, dropout=0.1)),
    ):
        assert stack_key(job) != stack_key(other)
        with pytest.raises(FersearchError, match="cannot be trained together"):
            together([job, other], tiny_data, teachers)
    assert stack_key(dataclasses.replace(job, baseline="resnet18")) is None


def test_a_network_that_cannot_be_stacked_is_trained_one_after_another(tiny_data, teachers):
    jobs = [make_job(tiny_data, setting, model="tiny_unexportable") for setting in SETTINGS]
    stacked, alone = together(jobs, tiny_data, teachers), in_turn(jobs, tiny_data, teachers)
    assert_equal(stacked, alone, tolerance=0.0)
    assert all("trained alone: not stacked" in outcome.notes[0] for outcome in stacked)


def test_weights_without_a_gradient_stay_as_they_were(double, tiny_data, teachers, monkeypatch):
    from fersearch.distill import run as module

    build = module.build_model

    def with_spare(job, classes, device="cpu"):
        model = build(job, classes, device)
        model.spare = nn.Linear(2, 2)
        nn.init.constant_(model.spare.weight, 0.5)
        nn.init.constant_(model.spare.bias, 0.5)
        model.features[0].weight.requires_grad_(False)
        return model

    monkeypatch.setattr(module, "build_model", with_spare)
    jobs = [make_job(tiny_data, setting) for setting in SETTINGS]
    stacked = together(jobs, tiny_data, teachers)
    assert_equal(stacked, in_turn(jobs, tiny_data, teachers))
    assert bool((stacked[0].model.spare.weight == 0.5).all())


def test_the_trial_step_changes_nothing(tiny_data, teachers):
    job = make_job(tiny_data, SETTINGS[0])
    run = TrainingRun(job, tiny_data, execution=CPU, teacher=teachers["a"], companion=None)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert try_stacking(run).refusal == ""
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5, 5)])
def test_the_shared_mask_is_the_one_that_a_lone_student_draws(shape):
    values = torch.randn(3, *shape, requires_grad=True)
    alone = values[1].detach()
    if alone.ndim == 4:
        alone = alone.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    expected = nn.functional.dropout(alone, 0.3)
    torch.manual_seed(1)
    with SharedDropout():
        stacked = torch.vmap(nn.Dropout(0.3), randomness="same")(values)
    torch.testing.assert_close(stacked[1], expected)
    stacked.sum().backward()
    torch.testing.assert_close(values.grad[0] != 0, values.grad[2] != 0)
    with SharedDropout():
        assert torch.equal(nn.functional.dropout(alone, 0.3, training=False), alone)
