"""Steps that a GPU recorded are the steps that it makes one by one."""

from __future__ import annotations

import dataclasses
import random

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
    TrainJob,
    build_model,
    make_recipe,
    train,
)
from fersearch.distill.recorded import RecordedStep
from fersearch.distill.run import TrainingRun
from fersearch.distill.stack import Student, train_stack
from fersearch.distill.trainer import training_context
from fersearch.models import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
RECORDED = Execution(device="cuda", threads=1, autocast="never")
ONE_BY_ONE = dataclasses.replace(RECORDED, records=False)
EPOCHS = 3


@pytest.fixture
def job(tiny_data, tmp_path):
    random = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        logits = random.standard_normal((len(tiny_data.train), 8)).astype(np.float32)
        np.save(tmp_path / f"epoch-{epoch:04d}.npy", logits)
    return TrainJob(
        data_sha256=tiny_data.info.sha256,
        model="shufflenet_v2_x0_5",
        recipe=make_recipe("default", epochs=EPOCHS, batch_size=16, learning_rate=0.02),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(tiny_data.train.images),
        seed=0,
        loss=LossSettings(temperature=4.0, alpha=0.7),
        teacher="random",
    )


def trained(job, data, execution, folder, **options):
    teacher = ReplayedTeacher(folder, device="cuda")
    return train(job, data, execution=execution, teacher=teacher, **options)


def weights(outcome):
    return torch.cat([item.detach().flatten().cpu() for item in outcome.model.parameters()])


def small_batch():
    return Batch(
        inputs=torch.ones(2, 4, device="cuda"),
        labels=torch.ones(2, dtype=torch.int64, device="cuda"),
        indices=torch.arange(2, device="cuda"),
        epoch=0,
        progress=0.0,
    )


@pytest.mark.parametrize(
    ("model", "autocast"), [("shufflenet_v2_x0_5", "never"), ("eff_resnet18", "auto")]
)
def test_a_recorded_run_equals_one_that_is_not(job, tiny_data, tmp_path, model, autocast):
    """Dropout, schedule, soft labels and clipping included: all change from step to step."""
    job = dataclasses.replace(job, model=model)
    recorded, one_by_one = (
        trained(job, tiny_data, dataclasses.replace(execution, autocast=autocast), tmp_path)
        for execution in (RECORDED, ONE_BY_ONE)
    )
    for one, other in zip(recorded.epochs, one_by_one.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.learning_rate == other.learning_rate
    if autocast == "never":
        torch.testing.assert_close(weights(recorded), weights(one_by_one), rtol=1e-3, atol=1e-4)


def test_the_steps_are_recorded(job, tiny_data, tmp_path):
    teacher = ReplayedTeacher(tmp_path, device="cuda")
    with training_context(RECORDED):
        run = TrainingRun(job, tiny_data, execution=RECORDED, teacher=teacher, companion=None)
        run.train_epoch(0)
    assert run.recorded is not None
    assert run.recorded.is_recorded
    assert not run.recorded.refusal


@pytest.mark.parametrize(
    ("model", "memory_format"),
    [("shufflenet_v2_x0_5", torch.contiguous_format), ("resnet18", torch.channels_last)],
)
def test_each_network_is_in_the_format_that_is_fast(job, model, memory_format):
    network = build_model(dataclasses.replace(job, model=model), 8, "cuda")
    kernels = [item for item in network.parameters() if item.ndim == 4 and min(item.shape[1:]) > 1]
    assert kernels
    assert all(item.is_contiguous(memory_format=memory_format) for item in kernels)


def test_an_interrupted_recorded_run_goes_on(job, tiny_data, tmp_path):
    whole = trained(job, tiny_data, RECORDED, tmp_path)
    file = tmp_path / "checkpoint.pt"
    stopped = trained(
        job, tiny_data, RECORDED, tmp_path, checkpoint=file, on_epoch=lambda record: False
    )
    assert len(stopped.epochs) == 1
    went_on = trained(job, tiny_data, RECORDED, tmp_path, checkpoint=file)
    torch.testing.assert_close(weights(went_on), weights(whole), rtol=1e-3, atol=1e-4)


def test_a_step_that_asks_the_gpu_for_a_number_is_made_as_it_is():
    layer = nn.Linear(4, 4, device="cuda")
    losses = []
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, fused=True)

    def step(batch):
        optimizer.zero_grad()
        loss = (layer(batch.inputs) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))

    batch = small_batch()
    recorded = RecordedStep(optimizer, torch.device("cuda"))
    for _ in range(8):
        recorded(step, batch)
    assert recorded.refusal
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 8
    assert losses[-1] < losses[0]


def test_a_step_that_draws_on_the_host_is_made_as_it_is():
    layer = nn.Linear(4, 4, device="cuda")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, fused=True)
    made = []

    def step(batch):
        optimizer.zero_grad()
        (layer(batch.inputs) * random.random()).mean().backward()
        optimizer.step()
        made.append(1)

    recorded = RecordedStep(optimizer, torch.device("cuda"))
    for _ in range(8):
        recorded(step, small_batch())
    assert "random numbers on the host" in recorded.refusal
    assert len(made) == 8


def test_students_side_by_side_are_the_students_that_they_are_alone(job, tiny_data, tmp_path):
    jobs = [
        dataclasses.replace(job, loss=LossSettings(temperature=temperature, alpha=0.7))
        for temperature in (1.0, 4.0, 9.0)
    ]
    teacher = ReplayedTeacher(tmp_path, device="cuda")
    students = [Student(job=one, teacher=teacher) for one in jobs]
    together = train_stack(students, tiny_data, execution=RECORDED)
    for one, outcome in zip(jobs, together, strict=True):
        alone = trained(one, tiny_data, RECORDED, tmp_path)
        torch.testing.assert_close(weights(outcome), weights(alone), rtol=1e-3, atol=1e-4)
        assert "stack of 3" in outcome.notes[0]
