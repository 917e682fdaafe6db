"""The shipped baselines' networks: sizes, costs, options, what they are registered as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from fersearch.errors import InputError
from fersearch.models import (
    BundleConfig,
    create,
    get_baseline,
    list_baselines,
    load_bundle,
    macs,
    parameter_count,
    save_bundle,
)
from fersearch.plugins import list_shipped

INFERENCE = {  # parameters with 7 classes, what one class more adds, GMACs at 224 px
    "resnet18": (11_180_103, 513, 1.8186),
    "rcl_net": (11_660_095, 769, 1.8675),
    "tfen": (9_304_711, 257, 2.968),
    "ecdnet": (11_243_079, 129, 1.8186),
}
OWN = ["rcl_net", "tfen", "ecdnet"]


def test_every_file_registers_the_baseline_of_its_name() -> None:
    assert list_shipped("baselines", ".py") == sorted(INFERENCE)
    assert set(INFERENCE) <= {baseline.name for baseline in list_baselines()}


def test_titles_say_what_is_not_the_original() -> None:
    assert {name: get_baseline(name).title for name in INFERENCE} == {
        "resnet18": "ResNet18",
        "rcl_net": "RCL-Net (style)",
        "tfen": "TFEN (style)",
        "ecdnet": "ECDNet (after its authors' design)",
    }
    assert {name: get_baseline(name).companion for name in INFERENCE} == {
        "resnet18": "",
        "rcl_net": "",
        "tfen": "",
        "ecdnet": "resnet18",
    }
    assert all(get_baseline(name).source for name in INFERENCE)
    assert all(get_baseline(name).notes for name in OWN)


@pytest.mark.parametrize("name", INFERENCE)
def test_deployed_networks_have_the_published_parameters(name: str) -> None:
    parameters, one_class, _ = INFERENCE[name]
    assert parameter_count(timm.create_model(name, num_classes=7)) == parameters
    assert parameter_count(timm.create_model(name, num_classes=8)) == parameters + one_class


@pytest.mark.parametrize("classes", [7, 8])
def test_ecdnet_in_training_has_the_published_parameters(classes: int) -> None:
    network = create("ecdnet", num_classes=classes)
    loss = get_baseline("ecdnet").loss(0.0)
    total = parameter_count(network) + parameter_count(loss)
    assert total == 24_040_434 + 129 * (classes - 7)


@pytest.mark.parametrize("name", INFERENCE)
def test_deployed_networks_cost_the_published_operations(name: str) -> None:
    measured = macs(create(name, num_classes=7), 224).total / 1e9
    assert measured == pytest.approx(INFERENCE[name][2], rel=5e-3)


def test_ecdnet_costs_the_published_operations_at_its_own_size() -> None:
    assert macs(create("ecdnet", num_classes=7), 112).total / 1e9 == pytest.approx(0.4862, rel=5e-3)


@pytest.mark.parametrize("size", [32, 48, 112, 224])
@pytest.mark.parametrize("name", INFERENCE)
def test_images_of_all_sizes_are_taken(name: str, size: int) -> None:
    create(name, num_classes=3, image_size=size)


@pytest.mark.parametrize("name", OWN)
def test_options_are_those_of_our_other_networks(name: str) -> None:
    network: Any = create(name, num_classes=3)
    assert network.drop_rate == 0.5
    assert create(name, num_classes=3, drop_rate=0.2).drop_rate == 0.2
    bare: Any = create(name, num_classes=0)
    assert isinstance(bare.get_classifier(), torch.nn.Identity)
    assert bare.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, bare.num_features)
    for options in ({"drop_rate": 1.5}, {"drop_rate": "half"}, {"widht": 3}):
        with pytest.raises(InputError, match=f"cannot build {name}"):
            create(name, num_classes=3, **options)


@pytest.mark.parametrize("name", OWN)
def test_dropout_stands_before_the_classifier(name: str) -> None:
    network: Any = create(name, num_classes=3, drop_rate=0.5)
    network.dropout.train()
    features = torch.ones(64, network.num_features)
    pooled = network.dropout(features)
    assert set(pooled.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(network.eval().dropout(features), features)


@pytest.mark.parametrize("name", OWN)
def test_there_are_no_pretrained_weights(name: str) -> None:
    for build in (timm.create_model, create):
        with pytest.raises(InputError, match=f"no pretrained weights of {name}"):
            build(name, num_classes=7, pretrained=True)


@pytest.mark.parametrize("name", INFERENCE)
def test_networks_are_built_without_memory_and_without_fetching(name: str) -> None:
    with torch.device("meta"):
        network = create(name, num_classes=7, image_size=48)
    assert next(network.parameters()).is_meta


@pytest.mark.parametrize("name", OWN)
def test_a_saved_network_answers_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = create(name, num_classes=3)
    if name == "rcl_net":
        network.set_preprocessing([0.5], [0.25])
    config = BundleConfig(model=name, classes=("a", "b", "c"), image_size=32)
    save_bundle(tmp_path / "model", network, config)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(load_bundle(tmp_path / "model")[0](x), network.eval()(x))


@pytest.mark.parametrize("name", OWN)
def test_the_channels_last_format_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    network = create(name, num_classes=3).eval()
    x = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        answer = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
