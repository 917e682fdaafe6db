"""Soft-label replay equals the online teacher; training resumes and never reads the test split."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fersearch.data import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views, epoch_order
from fersearch.distill import (
    Execution,
    LossSettings,
    OnlineTeacher,
    ReplayedTeacher,
    TrainJob,
    build_model,
    compute_soft_labels,
    make_recipe,
    predict_logits,
    split_metrics,
    train,
)
from fersearch.distill.checkpoint import load_checkpoint
from fersearch.distill.run import VIEW_PIXELS, TrainingRun
from fersearch.distill.trainer import training_context
from fersearch.errors import FersearchError

CPU = Execution(device="cpu", threads=1)
KD = LossSettings(temperature=4.0, alpha=0.7)


@pytest.fixture(autouse=True)
def _models(tiny_plugin):
    """Register the tiny networks."""


def make_job(data, *, model="tiny_student", epochs=3, learning_rate=0.05, seed=0, **fields):
    recipe = make_recipe("default", epochs=epochs, batch_size=16, learning_rate=learning_rate)
    return TrainJob(
        data_sha256=data.info.sha256,
        model=model,
        recipe=recipe,
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=seed,
        **fields,
    )


def train_views(data, job):
    return Views(
        data.train.images,
        preprocessing=job.preprocessing,
        policy=job.policy,
        seed=job.seed,
    )


def logits_of(model, data, job):
    return predict_logits(model, train_views(data, job), execution=CPU)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("tiny_student", "tiny_teacher"),
        pytest.param("shufflenet_v2_x0_5", "eff_resnet18", marks=pytest.mark.slow),
    ],
)
def test_a_student_of_replayed_soft_labels_equals_one_of_the_online_teacher(
    tiny_data, tmp_path, student, teacher
):
    teacher_job = make_job(tiny_data, model=teacher, model_options={"ffe_splits": 4})
    network = build_model(teacher_job, 8).eval()
    job = make_job(tiny_data, model=student, loss=KD, teacher=teacher_job.digest(), epochs=2)
    computed = compute_soft_labels(
        tmp_path,
        load_teacher=lambda: network,
        views=train_views(tiny_data, job),
        epochs=2,
        execution=CPU,
    )
    assert computed == 2
    online = train(job, tiny_data, execution=CPU, teacher=OnlineTeacher(network, CPU))
    replayed = train(job, tiny_data, execution=CPU, teacher=ReplayedTeacher(tmp_path))
    np.testing.assert_allclose(
        logits_of(replayed.model, tiny_data, job),
        logits_of(online.model, tiny_data, job),
        rtol=1e-3,
        atol=1e-3,
    )
    assert [record.val_accuracy for record in online.epochs] == [
        record.val_accuracy for record in replayed.epochs
    ]


def test_the_teacher_matters(tiny_data, tmp_path):
    teacher_job = make_job(tiny_data, model="tiny_teacher")
    network = build_model(teacher_job, 8).eval()
    job = make_job(tiny_data, loss=KD, teacher="x")
    taught = train(job, tiny_data, execution=CPU, teacher=OnlineTeacher(network, CPU))
    alone = train(make_job(tiny_data), tiny_data, execution=CPU)
    difference = logits_of(taught.model, tiny_data, job) - logits_of(alone.model, tiny_data, job)
    assert np.abs(difference).max() > 0.01


def test_soft_labels_do_not_depend_on_the_order_of_the_data(tiny_data, tmp_path):
    job = make_job(tiny_data)
    network = build_model(make_job(tiny_data, model="tiny_teacher"), 8).eval()
    views = train_views(tiny_data, job)
    compute_soft_labels(
        tmp_path, load_teacher=lambda: network, views=views, epochs=2, execution=CPU
    )
    indices = np.array([70, 3, 3, 41])
    inputs = views.training(1, indices)
    torch.testing.assert_close(
        ReplayedTeacher(tmp_path).logits(1, indices, inputs),
        OnlineTeacher(network, CPU).logits(1, indices, inputs),
        rtol=1e-4,
        atol=1e-5,
    )


def test_soft_labels_that_the_device_holds_are_the_same(tmp_path):
    # What a GPU does, tried on the CPU.
    for epoch in range(2):
        logits = np.arange(12, dtype=np.float32).reshape(4, 3) + 100 * epoch
        np.save(tmp_path / f"epoch-{epoch:04d}.npy", logits)
    mapped, held = ReplayedTeacher(tmp_path), ReplayedTeacher(tmp_path)
    held._maps = False
    for epoch in (0, 1, 0):
        for indices in (np.array([3, 1]), torch.tensor([0, 0, 2])):
            found = held.logits(epoch, indices, torch.zeros(1))
            assert torch.equal(found, mapped.logits(epoch, indices, torch.zeros(1)))
            assert float(found[-1, 0]) == 3 * int(indices[-1]) + 100 * epoch


def test_an_interrupted_computation_goes_on_where_it_stopped(tiny_data, tmp_path):
    job = make_job(tiny_data)
    network = build_model(make_job(tiny_data, model="tiny_teacher"), 8).eval()

    def compute(epochs, *, stop_after=None):
        def on_epoch(epoch):
            if epoch == stop_after:
                raise KeyboardInterrupt

        return compute_soft_labels(
            tmp_path,
            load_teacher=lambda: network,
            views=train_views(tiny_data, job),
            epochs=epochs,
            execution=CPU,
            on_epoch=on_epoch,
        )

    with pytest.raises(KeyboardInterrupt):
        compute(4, stop_after=1)
    assert compute(4) == 2
    assert compute(4) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_unreadable_soft_labels_say_what_to_do(tiny_data, tmp_path):
    (tmp_path / "epoch-0000.npy").write_bytes(b"not an array")
    with pytest.raises(FersearchError, match="delete that folder and run the command again"):
        ReplayedTeacher(tmp_path).logits(0, np.array([0]), torch.zeros(1))


def test_equal_jobs_give_equal_networks(tiny_data):
    job = make_job(tiny_data)
    first, second = (train(job, tiny_data, execution=CPU) for _ in range(2))
    assert (logits_of(first.model, tiny_data, job) == logits_of(second.model, tiny_data, job)).all()
    other = make_job(tiny_data, seed=1)
    third = train(other, tiny_data, execution=CPU)
    assert (logits_of(first.model, tiny_data, job) != logits_of(third.model, tiny_data, job)).any()


def test_a_callers_random_numbers_are_left_alone(tiny_data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make_job(tiny_data, epochs=1), tiny_data, execution=CPU)
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_a_run_that_was_stopped_and_continued_equals_one_straight_through(
    tiny_data, tmp_path, recipe
):
    job = make_job(tiny_data, epochs=4)
    job = dataclasses.replace(
        job, recipe=make_recipe(recipe, epochs=4, batch_size=16, learning_rate=0.05)
    )
    straight = train(job, tiny_data, execution=CPU)
    checkpoint = tmp_path / "run.pt"

    def stop(record):
        if record.epoch == 1:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        train(job, tiny_data, execution=CPU, checkpoint=checkpoint, on_epoch=stop)
    seen = []

    def keep(record):
        seen.append(record.epoch)
        return True

    continued = train(job, tiny_data, execution=CPU, checkpoint=checkpoint, on_epoch=keep)
    assert seen == [0, 1, 2, 3]
    strip = [dataclasses.replace(record, seconds=0) for record in straight.epochs]
    assert [dataclasses.replace(record, seconds=0) for record in continued.epochs] == strip
    assert (
        logits_of(straight.model, tiny_data, job) == logits_of(continued.model, tiny_data, job)
    ).all()


def test_a_checkpoint_of_another_job_or_a_spoiled_one_counts_as_none(tiny_data, tmp_path):
    checkpoint = tmp_path / "run.pt"
    job = make_job(tiny_data, epochs=1)
    train(job, tiny_data, execution=CPU, checkpoint=checkpoint)
    assert load_checkpoint(checkpoint, job=job.digest(), device="cpu") is not None
    assert load_checkpoint(checkpoint, job="another", device="cpu") is None
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert load_checkpoint(checkpoint, job=job.digest(), device="cpu") is None
    outcome = train(job, tiny_data, execution=CPU, checkpoint=checkpoint)
    assert outcome.state == "complete"


def test_validation_picks_the_best_epoch_and_the_outcome_has_its_weights(tiny_data):
    job = make_job(tiny_data, epochs=6, learning_rate=0.3)
    outcome = train(job, tiny_data, execution=CPU)
    accuracies = [record.val_accuracy for record in outcome.epochs]
    assert outcome.best_epoch == accuracies.index(max(accuracies))
    views = Views(tiny_data.val.images, preprocessing=job.preprocessing, policy=job.policy, seed=0)
    metrics = split_metrics(
        predict_logits(outcome.model, views, execution=CPU), np.array(tiny_data.val.labels)
    )
    assert metrics.accuracy == max(accuracies)


def test_a_diverging_run_is_pruned_with_its_reason(tiny_data):
    job = make_job(tiny_data, learning_rate=1e30)
    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, clip_norm=0.0))
    outcome = train(job, tiny_data, execution=CPU)
    assert outcome.state == "pruned"
    assert outcome.reason.startswith("diverged: ")
    assert "epoch 0" in outcome.reason


def test_a_run_that_the_pruner_stops_says_so(tiny_data):
    outcome = train(
        make_job(tiny_data), tiny_data, execution=CPU, on_epoch=lambda record: record.epoch < 1
    )
    assert (outcome.state, len(outcome.epochs)) == ("pruned", 2)
    assert outcome.reason == "stopped by the pruner after epoch 1"


def test_every_epoch_trains_in_training_mode(tiny_data):
    # A student left in evaluation mode after its first validation would freeze its statistics:
    # 96 faces in batches of 16 are 6 steps an epoch, and the statistics must have seen all.
    steps = []

    def count(record):
        steps.append(record.epoch)
        return True

    job = make_job(tiny_data, epochs=4, learning_rate=0.3)
    outcome = train(job, tiny_data, execution=CPU, on_epoch=count)
    tracked = int(outcome.model.state_dict()["features.1.num_batches_tracked"])
    assert steps == [0, 1, 2, 3]
    assert tracked == 6 * (outcome.best_epoch + 1)
    assert outcome.best_epoch > 0
    assert not outcome.model.training


def test_training_does_not_open_the_test_split(tiny_data, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(tiny_data.path, folder)
    for path in folder.glob("test.*"):
        path.unlink()
    data = Dataset.open(Path(folder))
    assert train(make_job(data), data, execution=CPU).state == "complete"


def test_a_job_for_other_data_or_without_its_teacher_is_refused(tiny_data):
    with pytest.raises(FersearchError, match="other data"):
        train(dataclasses.replace(make_job(tiny_data), data_sha256="0"), tiny_data, execution=CPU)
    with pytest.raises(FersearchError, match="needs a teacher"):
        train(make_job(tiny_data, loss=KD, teacher="x"), tiny_data, execution=CPU)


def test_split_metrics_by_hand():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]], dtype=np.float32)
    metrics = split_metrics(logits, np.array([0, 1, 1, 0]))
    assert metrics.accuracy == 0.75
    # Class 0: precision 2/3, recall 1; class 1: precision 1, recall 1/2.
    assert metrics.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    expected = (3 * np.log(1 + np.exp(-2)) + np.log(1 + np.exp(2))) / 4
    assert metrics.loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pixels", [1, 40 * 48**2, 1 << 40])
def test_batches_are_the_same_however_many_are_made_at_once(tiny_data, monkeypatch, pixels):
    monkeypatch.setitem(VIEW_PIXELS, "cpu", pixels)
    job = make_job(tiny_data)
    run = TrainingRun(job, tiny_data, execution=CPU, teacher=None, companion=None)
    batches = list(run.epoch_batches(1))
    count = len(tiny_data.train.images)
    order = epoch_order(job.seed, 1, count)[: 16 * (count // 16)]
    assert torch.cat([batch.indices for batch in batches]).tolist() == order.tolist()
    for batch in batches:
        assert batch.labels.tolist() == run.labels[batch.indices].tolist()
        alone = run.train_views.training(1, batch.indices)
        torch.testing.assert_close(batch.inputs, alone, rtol=0, atol=1e-6)
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert [batch.progress * 3 for batch in batches] == pytest.approx(
        [1 + number / len(batches) for number in range(len(batches))]
    )


def test_training_keeps_cudnn_on_and_repeatable():
    with training_context(CPU):
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
