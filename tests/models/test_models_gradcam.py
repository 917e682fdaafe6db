"""Grad-CAM against hand computation, and what it leaves behind."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fersearch.errors import FersearchError, InputError
from fersearch.models import create
from fersearch.models.gradcam import RULE, choose_images, grad_cam


class Hand(nn.Module):
    """Two channels, once and twice the input, then two logits of their means."""

    def __init__(self, side: int, weight: list[list[float]]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))
            self.fc.weight.copy_(torch.tensor(weight))
            self.fc.bias.copy_(torch.tensor([0.0, -100.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean(dim=(2, 3)))


def ramp(side: int) -> Tensor:
    return torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side)


def test_map_of_a_network_by_hand() -> None:
    # Channels x and 2x; the winning logit's weights 3 and -1 over 64 positions each give
    # weights 3/64 and -1/64: (3x - 2x) / 64 = x / 64, and divided by its maximum x / 63.
    result = grad_cam(Hand(8, [[3.0, -1.0], [0.0, 0.0]]), ramp(8))
    assert result.predictions.tolist() == [0]
    assert result.layer == "conv (8 x 8)"
    assert (result.maps.dtype, result.predictions.dtype) == (np.float32, np.int64)
    assert result.maps[0] == pytest.approx(ramp(8)[0, 0].numpy() / 63, abs=1e-6)


def test_what_speaks_against_the_class_is_not_shown() -> None:
    # Weights 1 and -1: x - 2x is nowhere above zero.
    result = grad_cam(Hand(8, [[1.0, -1.0], [0.0, 0.0]]), ramp(8))
    assert (result.maps == 0).all()


def test_images_of_a_batch_do_not_meet() -> None:
    network = create("shufflenet_v2_x0_5", num_classes=5)
    inputs = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    together = grad_cam(network, inputs)
    for number in range(3):
        alone = grad_cam(network, inputs[number : number + 1])
        assert alone.maps[0] == pytest.approx(together.maps[number], abs=1e-3)
        assert alone.predictions[0] == together.predictions[number]


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [
        ("resnet18", 48, "layer2 (6 x 6)"),
        ("resnet18", 224, "layer4 (7 x 7)"),
        ("eff_resnet18", 48, "layer2 (6 x 6)"),
        ("shufflenet_v2_x1_0", 48, "stage2 (6 x 6)"),
        ("shufflenet_v2_x1_0", 224, "conv5 (7 x 7)"),
        ("mobilenetv3_small_050", 48, "blocks.1 (6 x 6)"),
        ("swin_tiny_patch4_window7_224", 224, "norm (7 x 7)"),
        ("vit_tiny_patch16_224", 48, "patch_embed.proj (3 x 3)"),
    ],
)
def test_maps_of_real_networks(name: str, side: int, layer: str) -> None:
    torch.manual_seed(0)
    network = create(name, num_classes=7, image_size=side)
    inputs = torch.randn(2, 3, side, side)
    result = grad_cam(network, inputs)
    assert result.layer == layer
    assert result.maps.shape == (2, side, side)
    assert np.isfinite(result.maps).all()
    assert result.maps.min() >= 0.0
    assert result.maps.max(axis=(1, 2)) == pytest.approx([1.0, 1.0])
    assert (result.maps.std(axis=(1, 2)) > 0.01).all()
    network.eval()
    with torch.no_grad():
        assert result.predictions.tolist() == network(inputs).argmax(dim=1).tolist()


def test_the_network_is_left_as_it_was() -> None:
    network = create("shufflenet_v2_x0_5", num_classes=5)
    network.train()
    network.stage2.eval()
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    first = next(network.parameters())
    first.grad = torch.ones_like(first)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    inputs = torch.rand(2, 3, 48, 48)
    before = inputs.clone()
    grad_cam(network, inputs)
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in list(network.parameters())[1:])
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad


def test_frozen_networks_and_inference_mode_give_the_same_maps() -> None:
    network = create("resnet18", num_classes=5)
    inputs = torch.randn(1, 3, 48, 48)
    free = grad_cam(network, inputs)
    network.requires_grad_(False)
    with torch.inference_mode():
        frozen = grad_cam(network, inputs + 0.0)
    assert frozen.maps == pytest.approx(free.maps, abs=1e-5)


class Changing(nn.Module):
    """Changes its input in place, and has an auxiliary map that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.aside = nn.Conv2d(4, 1, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.body(x.mul_(2.0)))
        self.aside(x)
        return self.fc(x.mean(dim=(2, 3)))


def test_changes_in_place_and_maps_that_lead_nowhere() -> None:
    torch.manual_seed(0)
    result = grad_cam(Changing(), torch.randn(2, 3, 16, 16))
    assert result.layer == "act (8 x 8)"


def test_hooks_and_modes_return_when_the_network_fails() -> None:
    class Failing(Changing):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("no more")

    network = Failing()
    with pytest.raises(FersearchError, match="Failing fails on these images: no more"):
        grad_cam(network, torch.zeros(1, 3, 16, 16))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("network", "inputs", "words"),
    [
        (nn.Flatten(), torch.zeros(3, 8), "square images"),
        (nn.Flatten(), torch.zeros(0, 3, 8, 8), "square images"),
        (nn.Flatten(), torch.zeros(1, 3, 8, 6), "square images"),
        (nn.Flatten(), torch.zeros(1, 3, 8, 8), "no module whose output is a map"),
        (nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8), "one row of logits"),
    ],
)
def test_what_has_no_map_is_refused(network: nn.Module, inputs: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        grad_cam(network, inputs)


def test_logits_without_gradient_are_refused() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 3)

    with pytest.raises(InputError, match="no gradient"):
        grad_cam(Constant(), torch.zeros(1, 3, 8, 8))


def test_chosen_images_are_those_of_the_smallest_digests_whatever_the_order() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(30, 3, 4, 4), dtype=np.uint8)
    labels = generator.integers(3, size=30)
    chosen = choose_images(images, labels, per_class=2)
    assert labels[chosen].tolist() == [0, 0, 1, 1, 2, 2]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    for label in range(3):
        own = sorted(digests[index] for index in np.flatnonzero(labels == label))
        assert [digests[index] for index in chosen if labels[index] == label] == own[:2]
    order = generator.permutation(30)
    moved = choose_images(images[order], labels[order], per_class=2)
    assert order[moved].tolist() == chosen.tolist()
    assert "SHA-256" in RULE


def test_classes_with_too_few_images_give_what_they_have() -> None:
    images = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    assert choose_images(images, np.array([4, 1, 4]), per_class=5).tolist() == [1, 0, 2]


@pytest.mark.parametrize("options", [{"per_class": 0}, {"labels": np.zeros(2, dtype=int)}])
def test_choices_that_cannot_be_made_are_refused(options: dict[str, Any]) -> None:
    given = {"images": np.zeros((3, 1, 2, 2), np.uint8), "labels": np.zeros(3, int), **options}
    with pytest.raises(InputError, match="cannot choose"):
        choose_images(given.pop("images"), given.pop("labels"), **given)
