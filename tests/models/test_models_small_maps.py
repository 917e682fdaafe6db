"""Convolutions of small maps as products: PyTorch's numbers, for any network, in training."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from operator_names import Names
from torch import Tensor, nn

from fersearch.models import create, macs, small_maps, train_fast_on_cpu
from fersearch.models.cpu_training import DepthwiseConv2d, PointwiseConv2d
from fersearch.models.small_maps import MOST_GATHERED_SIDE, MOST_SIDE, SmallMapConv2d

LAST = torch.channels_last


@pytest.fixture(params=[True, False], ids=["tiles", "no tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell the layers that the processor multiplies tiles of bfloat16, or that it does not."""
    monkeypatch.setattr(small_maps, "multiplies_bfloat16_tiles", lambda: request.param)
    return bool(request.param)


def layer(stride: int = 1) -> tuple[SmallMapConv2d, nn.Conv2d]:
    """Our layer and PyTorch's of the same weights, in float64 and channels-last."""
    torch.manual_seed(0)
    ours = SmallMapConv2d(6, 10, 3, stride, 1, bias=False).double().to(memory_format=LAST)
    plain = nn.Conv2d(6, 10, 3, stride, 1, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def answers(module: nn.Module, x: Tensor) -> tuple[Tensor | None, ...]:
    inputs = x.clone().requires_grad_()
    output = module(inputs)
    (output**3).sum().backward()
    return output.detach(), inputs.grad, module.weight.grad


def test_a_map_of_two_by_two_by_hand() -> None:
    module = SmallMapConv2d(1, 1, 3, 1, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).to(memory_format=LAST)
    # Top left: 5 * 1 + 6 * 2 + 8 * 3 + 9 * 4.
    assert module(x).tolist() == [[[[77.0, 67.0], [47.0, 37.0]]]]


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 2), (3, 3), (4, 4), (1, 4), (3, 2), (7, 8), (9, 2)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_outputs_and_gradients_are_pytorchs(height: int, width: int, stride: int) -> None:
    ours, plain = layer(stride)
    x = torch.randn(3, 6, height, width, dtype=torch.float64).to(memory_format=LAST)
    for found, expected in zip(answers(ours, x), answers(plain, x), strict=True):
        torch.testing.assert_close(found, expected)


def test_gradients_that_are_not_channels_last() -> None:
    ours, plain = layer()
    x = torch.randn(3, 6, 2, 2, dtype=torch.float64).to(memory_format=LAST)
    for module in (ours, plain):
        module(x).flatten(1).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
def test_what_is_frozen_gets_no_gradient(number: torch.dtype, tiles: bool) -> None:
    x = torch.randn(3, 6, 2, 2).to(number).to(memory_format=LAST)
    for frozen in (True, False):
        module = layer()[0].float().requires_grad_(not frozen)
        inputs = x.clone().requires_grad_(frozen)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=number == torch.bfloat16):
            output = module(inputs)
        output.flatten(1).sum().backward()
        assert (inputs.grad is not None) == frozen
        assert (module.weight.grad is None) == frozen


@pytest.mark.parametrize(
    ("case", "product"),
    [
        ("training", "addmm_"),
        ("evaluation", "convolution"),
        ("evaluation that asks for it", "addmm_"),
        ("channels first", "convolution"),
        ("a large map", "convolution"),
    ],
)
def test_products_are_taken_where_they_are_meant_to(case: str, product: str) -> None:
    side = max(MOST_SIDE.values()) + 1 if case == "a large map" else 2
    module = SmallMapConv2d(6, 10, 3, 1, 1, bias=False).train("evaluation" not in case)
    module.in_evaluation = case == "evaluation that asks for it"
    x = torch.randn(3, 6, side, side)
    x = x.to(memory_format=torch.contiguous_format if case == "channels first" else LAST)
    with Names() as names:
        module(x)
    assert names.seen & {"addmm_", "convolution"} == {product}


@pytest.mark.parametrize("side", [2, 3, 4, 5])
def test_bfloat16_maps_are_gathered_where_the_processor_has_tiles(side: int, tiles: bool) -> None:
    module = SmallMapConv2d(6, 10, 3, 1, 1, bias=False)
    x = torch.randn(3, 6, side, side).to(torch.bfloat16).to(memory_format=LAST)
    with Names() as names, torch.autocast("cpu", dtype=torch.bfloat16):
        module(x)
    assert ("unfold" in names.seen) == (tiles and side <= MOST_GATHERED_SIDE)
    assert ("addmm_" in names.seen) == (not tiles and side <= MOST_SIDE[torch.bfloat16])


def test_without_tiles_products_and_gradients_are_float32(monkeypatch) -> None:
    monkeypatch.setattr(small_maps, "multiplies_bfloat16_tiles", lambda: False)
    ours, plain = (module.float() for module in layer())
    x = torch.randn(3, 6, 2, 2).to(torch.bfloat16).to(memory_format=LAST)
    inputs = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ours(inputs)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, plain(x.float()))
    output.sum().backward()
    assert inputs.grad.dtype == torch.bfloat16
    assert ours.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (1, 4), (3, 2)])
def test_with_tiles_numbers_are_those_of_float32_rounded(
    size: tuple[int, int], stride: int, monkeypatch
) -> None:
    monkeypatch.setattr(small_maps, "multiplies_bfloat16_tiles", lambda: True)
    ours, plain = (module.float() for module in layer(stride))
    for module in (ours, plain):  # numbers that bfloat16 holds: what is left is rounding of sums
        module.weight.data = module.weight.data.to(torch.bfloat16).float()
    x = torch.randn(3, 6, *size).to(torch.bfloat16).to(memory_format=LAST)
    inputs, wide = x.clone().requires_grad_(), x.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ours(inputs)
    expected = plain(wide)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=2**-8, atol=1e-3)
    direction = torch.randn_like(expected).to(torch.bfloat16)
    output.backward(direction)
    expected.backward(direction.float())
    assert inputs.grad.dtype == torch.bfloat16
    assert inputs.grad.is_contiguous(memory_format=LAST)
    assert ours.weight.grad.dtype == torch.float32
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=2**-8, atol=1e-3)
    # Up to nine products, each rounded.
    torch.testing.assert_close(inputs.grad.float(), wide.grad, rtol=2**-7, atol=2e-2)


def test_any_network_takes_the_faster_ways_and_keeps_its_weights() -> None:
    torch.manual_seed(0)
    network = create("mobilenetv3_small_050", num_classes=7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    fast = train_fast_on_cpu(network)
    assert fast is network
    assert torch.equal(torch.random.get_rng_state(), state)
    kinds = {type(module) for module in network.modules() if isinstance(module, nn.Conv2d)}
    assert {PointwiseConv2d, DepthwiseConv2d, nn.Conv2d} <= kinds
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        {"bias": True},
        {"padding": 0},
        {"padding_mode": "reflect"},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"kernel_size": 5, "padding": 2},
        {"stride": 3},
        {"in_channels": 8, "out_channels": 8},
    ],
)
def test_a_convolution_that_no_way_fits_stays_pytorchs(change: dict) -> None:
    options = {"in_channels": 256, "out_channels": 256, "kernel_size": 3, "padding": 1}
    plain = nn.Conv2d(**{**options, "bias": False, **change})
    assert type(train_fast_on_cpu(nn.Sequential(plain))[0]) is nn.Conv2d

    class Own(nn.Conv2d):
        pass

    own = Own(256, 256, 3, padding=1, bias=False)
    assert type(train_fast_on_cpu(nn.Sequential(own))[0]) is Own


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 48), ("mobilenetv3_small_050", 48), ("eff_resnet18", 32), ("resnet18", 64)],
)
def test_a_training_step_of_other_networks_is_theirs(name: str, size: int) -> None:
    torch.manual_seed(0)
    plain = create(name, num_classes=7, image_size=size).double()
    fast = train_fast_on_cpu(deepcopy(plain)).to(memory_format=LAST)
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    losses = []
    for network, images in ((plain, x), (fast, x.to(memory_format=LAST))):
        torch.manual_seed(1)
        loss = F.cross_entropy(network.train()(images), torch.arange(4))
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-12)
    for (path, found), (_, expected) in zip(
        fast.named_parameters(), plain.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-6, atol=1e-8, msg=path)


def test_costs_are_counted_as_ever() -> None:
    network = create("eff_resnet18", num_classes=7, image_size=48).to(memory_format=LAST)
    before = macs(network, 48).total
    assert macs(train_fast_on_cpu(network, in_evaluation=True), 48).total == before
