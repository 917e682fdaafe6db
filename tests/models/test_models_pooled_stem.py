"""A stem that pools before it normalises is the three layers one after another."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fersearch.models import pooled_stem
from fersearch.models.pooled_stem import _stem, _stem_backward, pooled_first, pools_first

LAST = torch.channels_last


def layers(scales: list[float], dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A stem like ShuffleNetV2's, with these scales in its batch normalisation."""
    stem = nn.Sequential(
        nn.Conv2d(3, len(scales), 3, 2, 1, bias=False), nn.BatchNorm2d(len(scales)), nn.ReLU()
    )
    with torch.no_grad():
        stem[1].weight.copy_(torch.tensor(scales))
        stem[1].bias.uniform_(-1, 1)
    return stem.to(dtype).to(memory_format=LAST)


def answers(
    way: Callable[[nn.Sequential, nn.Module, Tensor], Tensor], stem: nn.Sequential, x: Tensor
) -> list[Tensor]:
    """The output of two steps, the gradients of the last and the statistics of both."""
    stem, seen = deepcopy(stem), x.clone().requires_grad_()
    for images in (x * 2 + 1, seen):
        stem.zero_grad()
        output = way(stem, nn.MaxPool2d(3, 2, 1), images)
        (output**3).sum().backward()
    gradients = [parameter.grad for parameter in stem.parameters()]
    return [output.detach(), seen.grad, *gradients, *stem.buffers()]


def first(stem: nn.Sequential, pooling: nn.Module, x: Tensor) -> Tensor:
    return pooled_first(x, stem[0], stem[1], pooling)


def last(stem: nn.Sequential, pooling: nn.Module, x: Tensor) -> Tensor:
    return pooling(stem[1](stem[0](x)))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(3, 12),
    st.integers(3, 12),
    st.lists(st.sampled_from([-2.0, -0.1, 0.3, 1.0]), min_size=1, max_size=6),
    st.integers(1, 4000),
    st.integers(0, 99),
)
def test_it_is_the_three_layers_whatever_the_scales_and_the_parts(
    images: int, height: int, width: int, scales: list[float], part: int, seed: int
) -> None:
    """Output, gradients of images and parameters, and running statistics after two steps."""
    torch.manual_seed(seed)
    x = torch.randn(images, 3, height, width, dtype=torch.float64).to(memory_format=LAST)
    stem = layers(scales)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pooled_stem, "PART_BYTES", part)
        found = answers(first, stem, x)
    for ours, theirs in zip(found, answers(last, stem, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_by_hand() -> None:
    """One channel that looks at the middle pixel; its line falls, so the smallest is kept."""
    stem = layers([-3.0])
    with torch.no_grad():
        stem[0].weight.zero_()[0, 0, 1, 1] = 1.0
        stem[1].bias.fill_(10.0)
    stem[1].eps = 0.0
    x = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    x[0, 0, ::2, ::2] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])  # mean 3, variance 14 / 4
    found = first(stem, nn.MaxPool2d(3, 2, 1), x.to(memory_format=LAST))
    assert found.item() == pytest.approx(10 - 3 * (1 - 3) / 3.5**0.5)
    assert stem[1].running_mean.item() == pytest.approx(0.1 * 3)
    assert stem[1].running_var.item() == pytest.approx(0.9 + 0.1 * 14 / 3)


def test_a_flat_channel_and_a_scale_of_zero_give_finite_numbers() -> None:
    stem = layers([1.0, 0.0, -1.0])
    x = torch.full((2, 3, 8, 8), 0.5, dtype=torch.float64).to(memory_format=LAST)
    for value in answers(first, stem, x):
        assert torch.isfinite(value).all()
    torch.manual_seed(0)
    noise = torch.randn(2, 3, 8, 8, dtype=torch.float64).to(memory_format=LAST)
    ours, theirs = answers(first, stem, noise), answers(last, stem, noise)
    for place in (0, 1, 2, 4):  # not the scale's gradient: where it is zero, all are the largest
        torch.testing.assert_close(ours[place], theirs[place])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_an_operator_as_pytorch_wants_it(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapes, strides and gradients that the compiler is told are those that come out."""
    torch.manual_seed(0)
    x = torch.randn(3, 3, 9, 12, dtype=dtype).to(memory_format=LAST).requires_grad_()
    convolution, norm, _ = layers([1.0, -0.5, 0.1, 2.0], dtype)
    monkeypatch.setattr(pooled_stem, "PART_BYTES", 2 * 5 * 6 * 4 * x.element_size())  # 2 images
    shared = (norm.eps, [2, 2], [3, 3, 2, 2, 1, 1])
    torch.library.opcheck(_stem, (x, convolution.weight, norm.weight, norm.bias, *shared))
    made = _stem(x, convolution.weight, norm.weight, norm.bias, *shared)
    assert [len(part) for part in made[-1]] == [2, 1]
    answer, mean, variance, pooled, places, maps = (
        [part.detach() for part in item] if isinstance(item, list) else item.detach()
        for item in made
    )
    images, weight, scale = (item.detach() for item in (x, convolution.weight, norm.weight))
    kept = (images, weight, scale, mean, variance, pooled, places, maps)
    for of_images in (False, True):
        torch.library.opcheck(_stem_backward, (torch.randn_like(answer), *kept, *shared, of_images))


def changed(**attributes: object) -> Callable[[nn.Sequential, nn.Module], None]:
    """A change of attributes, named ``layer__attribute``."""

    def change(stem: nn.Sequential, pooling: nn.Module) -> None:
        by_name = {"stem": stem, "convolution": stem[0], "norm": stem[1], "pooling": pooling}
        for name, value in attributes.items():
            layer, _, attribute = name.partition("__")
            setattr(by_name[layer], attribute, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed(norm__training=False),
        changed(norm__momentum=None),
        changed(convolution__kernel_size=(5, 5)),
        changed(convolution__padding=(0, 0)),
        changed(convolution__padding_mode="reflect"),
        changed(convolution__dilation=(2, 2)),
        changed(pooling__dilation=2),
        changed(pooling__ceil_mode=True),
        lambda stem, _: stem.register_forward_hook(print),
        lambda stem, _: stem[0].register_forward_pre_hook(print),
        lambda stem, _: stem[1].register_full_backward_hook(print),
        lambda _, pooling: pooling.register_full_backward_pre_hook(print),
    ],
)
def test_what_it_cannot_stand_for_is_left_to_the_layers(
    change: Callable[[nn.Sequential, nn.Module], object],
) -> None:
    stem, pooling = layers([1.0, 2.0]), nn.MaxPool2d(3, 2, 1)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64).to(memory_format=LAST)
    assert pools_first(x, stem, pooling)
    change(stem, pooling)
    assert not pools_first(x, stem, pooling)


def test_other_images_layers_and_modes_are_left_to_pytorch() -> None:
    stem, pooling = layers([1.0, 2.0], torch.float32), nn.MaxPool2d(3, 2, 1)
    x = torch.randn(2, 3, 8, 8).to(memory_format=LAST)
    assert pools_first(x, stem, pooling)
    assert not pools_first(x.contiguous(), stem, pooling)
    assert not pools_first(x[:1, :, :2, :2].contiguous(memory_format=LAST), stem, pooling)
    assert not pools_first(x, stem, nn.Identity())
    assert not pools_first(x, nn.Sequential(stem[0], nn.SyncBatchNorm(2), stem[2]), pooling)
    with torch.autocast("cpu", torch.bfloat16):
        assert not pools_first(x, stem, pooling)


def test_without_running_statistics_it_keeps_none() -> None:
    stem = layers([1.0, -2.0])
    stem[1] = nn.BatchNorm2d(2, track_running_stats=False).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64).to(memory_format=LAST)
    pooling = nn.MaxPool2d(3, 2, 1)
    assert pools_first(x, stem, pooling)
    torch.testing.assert_close(first(stem, pooling, x), last(stem, pooling, x))


def test_frozen_layers_get_no_gradient() -> None:
    stem = layers([1.0, -2.0]).requires_grad_(False)
    stem[1].requires_grad_()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64).to(memory_format=LAST)
    first(stem, nn.MaxPool2d(3, 2, 1), x).sum().backward()
    assert stem[0].weight.grad is None
    assert stem[1].weight.grad is not None
