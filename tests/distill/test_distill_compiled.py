"""Compiled training steps: the same network up to rounding, dropout included."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from fersearch.api.stacking import check_vectorize, trials_together
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, TrainJob, make_recipe, train
from fersearch.distill.compiled import compiled
from fersearch.errors import FersearchError, InputError
from fersearch.models import create, train_fast_on_cpu
from fersearch.models.pooled_stem import pooled_first
from fersearch.models.shufflenet import ShuffleUnit
from fersearch.spec import load_study

CPU = Execution(threads=1, autocast="never")


@pytest.fixture(autouse=True)
def _models(tiny_plugin):
    """Register the tiny networks."""


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    """Return an execution that compiles into a folder of the test's."""
    folder = tmp_path / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    return dataclasses.replace(CPU, compile_cache=str(folder))


def job(data):
    return TrainJob(
        data_sha256=data.info.sha256,
        model="tiny_student",
        recipe=make_recipe("default", epochs=2, batch_size=16, learning_rate=0.05),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=0,
    )


@pytest.mark.slow
def test_a_compiled_run_has_the_weights_of_a_plain_one(tiny_data, compiling):
    plain = train(job(tiny_data), tiny_data, execution=CPU)
    fast = train(job(tiny_data), tiny_data, execution=compiling)
    assert [record.epoch for record in fast.epochs] == [0, 1]
    weights = plain.model.state_dict()
    assert fast.model.state_dict().keys() == weights.keys()
    for name, value in fast.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4)
    losses = [[record.train_loss for record in run.epochs] for run in (fast, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert any(Path(compiling.compile_cache).iterdir()), "nothing was compiled"


def test_nothing_is_compiled_unless_it_is_asked_for(tiny_data):
    network = torch.nn.Linear(2, 2)
    assert compiled(network, CPU) is network


def test_what_cannot_be_compiled_is_said(compiling, monkeypatch):
    def broken(*_, **__):
        raise torch._inductor.exc.InductorError(RuntimeError("no compiler here"), None)

    monkeypatch.setattr(torch, "compile", lambda network, **options: broken)
    with pytest.raises(FersearchError, match="no compiler here") as caught:
        compiled(torch.nn.Linear(2, 2), compiling)(torch.zeros(1, 2))
    assert "leave --compile out" in caught.value.hint


def test_compiled_trials_are_not_stacked(tiny_data):
    spec = load_study("distill")
    with pytest.raises(InputError, match="not compiled"):
        check_vectorize(2, spec, compiles=True)
    found = trials_together("auto", spec, tiny_data.info, device="cuda", compiles=True)
    assert found[0] == 1
    assert trials_together("auto", spec, tiny_data.info, device="cuda")[0] > 1


class Layers(nn.Module):
    """A stem, units of both kinds and dropout: all of the student's own layers, small."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.pooling = nn.MaxPool2d(3, 2, 1)
        self.rest = nn.Sequential(
            nn.ReLU(), ShuffleUnit(8, 8, 1), ShuffleUnit(8, 12, 2), nn.Dropout(0.5)
        )

    def forward(self, x):
        return self.rest(pooled_first(x, *self.stem, self.pooling))


@pytest.mark.slow
def test_a_compiled_step_of_shufflenets_layers_is_the_eager_one(compiling):
    """The layers that are faster on a CPU are compiled whole, and give the same numbers."""
    torch.manual_seed(0)
    layers = train_fast_on_cpu(Layers()).double().to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        layers.stem[1].weight[::2].neg_()
    images = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    images = images.to(memory_format=torch.channels_last)
    found = []
    for execution in (CPU, compiling):
        network, seen = deepcopy(layers), images.clone().requires_grad_()
        torch.manual_seed(1)
        answer = compiled(network, execution)(seen)
        (answer**3).sum().backward()
        gradients = [item.grad for item in network.parameters()]
        found.append([answer.detach(), seen.grad, *gradients, *network.buffers()])
    for fast, eager in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(fast, eager, rtol=1e-7, atol=1e-9)
    kernels = Path(compiling.compile_cache).rglob("*.py")
    written = "".join(file.read_text() for file in kernels)
    assert "fersearch.stem_backward" in written
    assert "fersearch.sum" in written


@pytest.mark.slow
def test_the_student_is_compiled_as_one_graph(compiling):
    network = train_fast_on_cpu(create("shufflenet_v2_x0_5", num_classes=7))
    network.to(memory_format=torch.channels_last).train()
    found = torch._dynamo.explain(network)(
        torch.randn(2, 3, 48, 48).to(memory_format=torch.channels_last)
    )
    assert found.graph_count == 1
    assert not found.break_reasons


def test_on_a_cpu_a_network_of_small_map_products_is_left_alone(compiling):
    network = train_fast_on_cpu(create("eff_resnet18", num_classes=7, image_size=32))
    assert compiled(network, compiling) is network
    assert compiled(network, dataclasses.replace(compiling, device="cuda")) is not network
