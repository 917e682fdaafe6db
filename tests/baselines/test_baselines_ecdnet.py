"""ECDNet: the warp by hand, the perceptual distance, what reaches the classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fersearch.errors import InputError
from fersearch.models import Batch, TrainingData, create
from fersearch.plugins import load_plugin, shipped

ecdnet: Any = load_plugin(shipped("baselines", "ecdnet.py"))

MEAN, STD = 0.5, 0.25


@pytest.fixture(scope="module")
def companion() -> nn.Module:
    torch.manual_seed(5)
    return create("resnet18", num_classes=3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return create("ecdnet", num_classes=3, drop_rate=0.0)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def data_of(pixels: Tensor, classes: tuple[str, ...] = ("neutral", "anger", "fear")) -> Any:
    def batches() -> Iterator[Tensor]:
        yield from ((pixels - MEAN) / STD).split(4)

    return TrainingData(
        classes=classes,
        labels=torch.arange(len(pixels)) % 3,
        image_size=pixels.shape[-1],
        mean=torch.full((1, 3, 1, 1), MEAN),
        std=torch.full((1, 3, 1, 1), STD),
        seed=0,
        device=torch.device("cpu"),
        batches=batches,
    )


def batch_of(pixels: Tensor) -> Batch:
    count = torch.arange(len(pixels))
    inputs = (pixels - MEAN) / STD
    return Batch(inputs=inputs, labels=count % 3, indices=count, epoch=0, progress=0.0)


def prepared(network: Any, companion: nn.Module, data: Any) -> Any:
    torch.manual_seed(7)
    loss = ecdnet.ECDNetLoss()
    loss.prepare(network.eval(), data, companion=companion)
    return loss


def test_warp_by_hand() -> None:
    """A 3x3 image sampled one pixel to the right, half a pixel down, and far outside."""
    image = torch.arange(9.0).view(1, 1, 3, 3)
    move = torch.zeros(1, 2, 3, 3)
    move[:, 0] = 1
    right = [[1.0, 2, 2], [4, 5, 5], [7, 8, 8]]
    torch.testing.assert_close(ecdnet.warp(image, move)[0, 0], torch.tensor(right))
    move = torch.zeros(1, 2, 3, 3)
    move[:, 1] = 0.5
    down = [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5], [6.0, 7, 8]]
    torch.testing.assert_close(ecdnet.warp(image, move)[0, 0], torch.tensor(down))
    corner = ecdnet.warp(image, torch.full((1, 2, 3, 3), -9.0))
    torch.testing.assert_close(corner, torch.zeros(1, 1, 3, 3))


def test_each_pixel_is_moved_by_its_own_displacement() -> None:
    image = torch.tensor([[10.0, 20.0, 40.0]]).view(1, 1, 1, 3)
    move = torch.tensor([[[2.0, -0.25, -1.0]], [[0.0, 0.0, 0.0]]])[None]
    torch.testing.assert_close(ecdnet.warp(image, move).flatten(), torch.tensor([40, 17.5, 20]))


@settings(max_examples=25, deadline=None)
@given(dx=st.integers(-4, 4), dy=st.integers(-4, 4), size=st.sampled_from([5, 32, 112]))
def test_whole_pixels_shift_exactly_and_none_is_the_identity(dx: int, dy: int, size: int) -> None:
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    move = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(2, 2, size, size)
    rows = (torch.arange(size) + dy).clamp(0, size - 1)
    columns = (torch.arange(size) + dx).clamp(0, size - 1)
    expected = image[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(ecdnet.warp(image, move), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [32, 112, 160])
def test_the_largest_displacement_is_5_px_at_112_px(
    size: int, network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    """A geometry of +1 everywhere shifts a ramp by 5 px at 112 px, in proportion elsewhere."""
    loss = prepared(network, companion, data_of(pixels))
    ramp = torch.linspace(0, 1, 112).expand(1, 3, 112, 112)
    loss.appearance_encoder = loss.appearance_decoder = nn.Identity()
    loss.geometry_decoder = nn.Identity()
    small = nn.functional.interpolate(ramp, size=(size, size), mode="bilinear")
    rebuilt, appearance = loss.rebuilt(small, torch.ones(1, 2, 112, 112))
    torch.testing.assert_close(appearance, small)
    inner = slice(2, size - round(5 * size / 112) - 3)
    shift = (rebuilt - appearance)[..., inner] * 111
    torch.testing.assert_close(shift, torch.full_like(shift, 5.0), rtol=0, atol=2e-2)


@pytest.mark.parametrize("size", [32, 48, 112, 224])
def test_reconstruction_has_the_size_of_the_input(
    size: int, network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    loss = prepared(network, companion, data_of(pixels)).eval()
    with torch.inference_mode():
        geometry = network.eval().forward_features(torch.zeros(1, 3, size, size))
        rebuilt, appearance = loss.rebuilt(torch.zeros(1, 3, size, size), geometry)
    assert rebuilt.shape == appearance.shape == (1, 3, size, size)
    assert 0 <= rebuilt.min() <= rebuilt.max() <= 1


def test_decoders_have_the_published_layers() -> None:
    loss = ecdnet.ECDNetLoss()
    codes = torch.zeros(2, 128)
    assert loss.geometry_decoder(codes).shape == (2, 2, 112, 112)
    assert loss.appearance_decoder(codes).shape == (2, 3, 112, 112)
    sizes = [
        sum(parameter.numel() for parameter in decoder.parameters())
        for decoder in (loss.geometry_decoder, loss.appearance_decoder)
    ]
    assert sizes == [981_746, 573_433]


def feature_maps(companion: Any, x: Tensor) -> list[Tensor]:
    x = companion.layer1(companion.maxpool(companion.act1(companion.bn1(companion.conv1(x)))))
    y = companion.layer2(x)
    return [x, y, companion.layer3(y)]


def written_out(companion: Any, one: Tensor, other: Tensor) -> Tensor:
    """Mean smooth L1 of the maps after layers 1-3: 0.5 d^2 below 1, |d| - 0.5 above."""
    parts = []
    for a, b in zip(feature_maps(companion, one), feature_maps(companion, other), strict=True):
        d = (a - b).abs()
        parts.append(torch.where(d < 1, d.square() / 2, d - 0.5).mean())
    return sum(parts) / 3  # type: ignore[return-value]


def test_loss_is_the_weighted_sum_of_its_three_terms(
    network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    data = data_of(pixels)
    loss = prepared(network, companion, data).eval()
    network.eval()
    batch = batch_of(pixels)
    with torch.no_grad():
        value, logits = loss(network, batch)
        geometry = network.forward_features(batch.inputs)
        rebuilt, appearance = loss.rebuilt(batch.inputs, geometry)
        entropy = nn.functional.cross_entropy(network(batch.inputs), batch.labels)
        neutral = pixels[data.labels == 0].mean(dim=0, keepdim=True).expand_as(pixels)
        expected = (
            100 * written_out(companion, (rebuilt - MEAN) / STD, batch.inputs)
            + 10 * entropy
            + written_out(companion, (appearance - MEAN) / STD, (neutral - MEAN) / STD)
        )
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, network(batch.inputs))
    assert loss.notes == ()


@pytest.mark.parametrize("missing", ["class", "images"])
def test_without_neutral_images_their_loss_is_off(
    missing: str, network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    data = data_of(pixels, ("sadness", "anger", "fear")) if missing == "class" else data_of(pixels)
    if missing == "images":
        data = dataclasses.replace(data, labels=torch.ones(len(pixels), dtype=torch.int64))
    loss = prepared(network, companion, data).eval()
    assert loss.notes == ("The neutral loss was off: there is no neutral training image.",)
    network.eval()
    with torch.no_grad():
        batch = batch_of(pixels)
        value, logits = loss(network, batch)
        geometry = network.forward_features(batch.inputs)
        rebuilt, _ = loss.rebuilt(batch.inputs, geometry)
        expected = 100 * written_out(companion, (rebuilt - MEAN) / STD, batch.inputs)
        expected += 10 * nn.functional.cross_entropy(logits, batch.labels)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_the_classifier_hears_nothing_of_the_appearance(
    network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    loss = prepared(network, companion, data_of(pixels)).train()
    network.train()
    _, logits = loss(network, batch_of(pixels))
    others = list(loss.parameters())
    through = torch.autograd.grad(logits.square().sum(), others, allow_unused=True)
    assert all(gradient is None for gradient in through)


def test_the_loss_reaches_every_part_but_the_frozen_network(
    network: Any, companion: nn.Module, pixels: Tensor
) -> None:
    before = {name: value.clone() for name, value in companion.state_dict().items()}
    loss = prepared(network, companion, data_of(pixels)).train()
    network.train()
    parameters = [*network.parameters(), *loss.parameters()]
    frozen = {id(parameter) for parameter in companion.parameters()}
    assert not frozen & {id(parameter) for parameter in parameters}
    assert not any("perceptual" in name for name in loss.state_dict())
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    for _ in range(2):
        value, _ = loss(network, batch_of(pixels))
        optimizer.zero_grad()
        value.backward()
        assert all(parameter.grad is not None for parameter in parameters)
        optimizer.step()
    assert not companion.training
    for name, value in companion.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in companion.parameters())


def test_a_missing_companion_is_told(network: Any, pixels: Tensor) -> None:
    with pytest.raises(InputError, match="needs a trained companion network"):
        ecdnet.ECDNetLoss().prepare(network, data_of(pixels))
