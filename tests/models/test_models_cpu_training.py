"""The layers that train faster on a CPU compute what PyTorch's and torchvision's layers compute."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from operator_names import Names
from torch import Tensor, nn

from fersearch.models import cpu_training, create
from fersearch.models.cpu_training import (
    DepthwiseConv2d,
    PointwiseConv2d,
    interleaved,
    trains_on_cpu,
    twice,
)

LAST = torch.channels_last


def twins(seed: int = 0, stem: str = "standard") -> tuple[nn.Module, nn.Module]:
    """torchvision's network in the usual format and ours in channels-last, in float64."""
    torch.manual_seed(seed)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    ours = create("shufflenet_v2_x0_5", num_classes=7, drop_rate=0.0, stem=stem)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if stem == "no_pool":
        theirs.maxpool = nn.Identity()
    return theirs.double(), ours.double().to(memory_format=LAST)


def step(network: nn.Module, x: Tensor) -> Tensor:
    """One forward and backward pass; gradients and statistics stay in the network."""
    logits = network(x)
    F.cross_entropy(logits, torch.arange(len(x)) % 7).backward()
    return logits.detach()


# The last maps are 1x1, 2x2 and 2x2 (and 3x3 without pooling): small and large depthwise maps.
@pytest.mark.parametrize(
    ("size", "stem"), [(32, "standard"), (48, "standard"), (64, "standard"), (48, "no_pool")]
)
def test_a_training_step_equals_torchvisions(size: int, stem: str) -> None:
    theirs, ours = twins(stem=stem)
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(step(ours, x.to(memory_format=LAST)), step(theirs, x))
    found, expected = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in expected.items():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=1e-6, atol=1e-9)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-9, atol=1e-12)


def test_the_initial_weights_are_torchvisions_own_draws() -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=7).state_dict()
    torch.manual_seed(3)
    ours = create("shufflenet_v2_x0_5", num_classes=7).state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if not name.startswith("fc."):  # timm's convention sets the classifier anew
            assert torch.equal(ours[name], value), name


def test_evaluation_takes_pytorchs_own_layers() -> None:
    _, ours = twins()
    x = torch.randn(2, 3, 48, 48, dtype=torch.float64).to(memory_format=LAST)
    assert trains_on_cpu(ours, x)
    assert not trains_on_cpu(ours.eval(), x)
    with torch.no_grad(), Names() as names:
        ours(x)
    assert "convolution" in names.seen
    assert "mm" not in names.seen


def test_channels_first_maps_and_integers_are_left_to_pytorch() -> None:
    layer = PointwiseConv2d(4, 6, 1, bias=False)
    assert not trains_on_cpu(layer, torch.zeros(2, 4, 3, 3))
    assert not trains_on_cpu(layer, torch.zeros(2, 4, 3, 3, dtype=torch.bfloat16))
    assert trains_on_cpu(layer, torch.zeros(2, 4, 3, 3).to(memory_format=LAST))
    assert trains_on_cpu(layer, torch.zeros(2, 8, 3, 3).to(memory_format=LAST).chunk(2, dim=1)[1])


def test_a_pointwise_layer_mixes_channels_by_hand() -> None:
    layer = PointwiseConv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 1.0]).view(1, 2, 1, 1))
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]).to(memory_format=LAST)
    assert layer(x).tolist() == [[[[13.0, 24.0]]]]


@pytest.mark.parametrize(
    ("many_pixels", "dtype", "convolves"),
    [(24, torch.float32, True), (25, torch.float32, False), (24, torch.float64, False)],
)
@pytest.mark.parametrize("halved", [False, True])
def test_a_pointwise_layer_convolves_many_pixels_and_multiplies_few(
    many_pixels: int, dtype: torch.dtype, convolves: bool, halved: bool
) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv2d(6, 5, 1, bias=False).to(dtype)
    layer.many_pixels = many_pixels
    plain = nn.Conv2d(6, 5, 1, bias=False).to(dtype)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 12 if halved else 6, 3, 4, dtype=dtype).to(memory_format=LAST)
    answers = []
    for module in (layer, plain):
        inputs = x.clone().requires_grad_()
        output = module(inputs[:, -6:])
        (output**3).sum().backward()
        answers.append((output, inputs.grad, module.weight.grad))
    for found, expected in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected)
    assert answers[0][0].is_contiguous(memory_format=LAST)
    with Names() as names:
        layer(x[:, -6:])
    assert ("convolution" in names.seen) == convolves


def test_a_pointwise_layer_takes_over_weights_and_mode_and_draws_no_random_numbers() -> None:
    source = nn.Conv2d(3, 5, 1, bias=False).eval()
    state = torch.random.get_rng_state()
    taken = PointwiseConv2d.taking_over(source)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert taken.weight is source.weight
    assert not taken.training


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 5), (3, 3), (4, 6)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_layer_has_pytorchs_gradients(height: int, width: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, 8, 3, stride, 1, bias=False, groups=8).double()
    plain = nn.Conv2d(8, 8, 3, stride, 1, bias=False, groups=8).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 8, height, width, dtype=torch.float64).to(memory_format=LAST)
    answers = []
    for module in (layer, plain):
        inputs = x.clone().requires_grad_()
        output = module(inputs)
        (output**3).sum().backward()
        answers.append((output, inputs.grad, module.weight.grad))
    for found, expected in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected)


def test_frozen_depthwise_weights_get_no_gradient() -> None:
    layer = DepthwiseConv2d(4, 4, 3, 1, 1, bias=False, groups=4).requires_grad_(False)
    x = torch.randn(2, 4, 2, 2).to(memory_format=LAST).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_interleaving_alternates_channels_and_hands_gradients_back() -> None:
    one = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).requires_grad_()
    other = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    mixed = interleaved(one, other)
    assert mixed.flatten().tolist() == [1.0, 3.0, 2.0, 4.0]
    mixed.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1, 1))
    assert one.grad.flatten().tolist() == [1.0, 100.0]
    assert other.grad.flatten().tolist() == [10.0, 1000.0]


def test_interleaved_maps_and_their_gradients_are_channels_last() -> None:
    one, other = (torch.randn(2, 3, 4, 5).to(memory_format=LAST).requires_grad_() for _ in "ab")
    mixed = interleaved(one, other)
    assert mixed.is_contiguous(memory_format=LAST)
    of_one, of_other = torch.autograd.grad(mixed, [one, other], torch.randn(2, 6, 4, 5))
    assert of_one.is_contiguous(memory_format=LAST)
    assert of_other.is_contiguous(memory_format=LAST)


def test_hooks_on_the_stem_and_on_every_layer_are_called_in_training() -> None:
    _, ours = twins()
    x = torch.randn(2, 3, 48, 48, dtype=torch.float64).to(memory_format=LAST)
    seen: dict[str, Tensor] = {}
    ours.maxpool.register_forward_hook(lambda *found: seen.update(maxpool=found[2]))
    plain = deepcopy(ours)
    expected = plain.maxpool(plain.conv1(x))
    ours(x)
    torch.testing.assert_close(seen["maxpool"], expected)
    ours.conv1.register_forward_hook(lambda *found: seen.update(conv1=found[2]))
    ours.stage2[1].branch2[0].register_forward_hook(lambda *found: seen.update(mixed=found[2]))
    ours(x)
    assert seen["conv1"].min() == 0
    assert seen["mixed"].shape == (2, 24, 6, 6)


def test_a_half_of_the_network_in_evaluation_mode_keeps_its_statistics() -> None:
    _, ours = twins()
    ours.stage3.eval()
    before = ours.stage3[0].branch2[1].running_mean.clone()
    step(ours, torch.randn(2, 3, 48, 48, dtype=torch.float64).to(memory_format=LAST))
    assert torch.equal(ours.stage3[0].branch2[1].running_mean, before)
    assert ours.stage2[0].branch2[1].num_batches_tracked == 1


def test_a_map_for_two_layers_gets_the_sum_of_their_gradients() -> None:
    x = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).requires_grad_()
    one, other = twice(x)
    (3 * one + other**2).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [3 + 2, 3 + 4]


def test_the_sum_that_compilers_cannot_look_into_is_a_proper_operator() -> None:
    maps = [torch.randn(2, 4, 3, 3).to(memory_format=LAST) for _ in range(2)]
    torch.library.opcheck(cpu_training._sum, maps)
    assert torch.equal(cpu_training._sum(*maps), maps[0] + maps[1])
