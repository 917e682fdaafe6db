"""Batch normalisation that sums image by image is PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fersearch.models import batch_norm
from fersearch.models.batch_norm import ImagewiseBatchNorm2d

LAST = torch.channels_last


@pytest.fixture
def imagewise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of compiled steps without compiling."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def step(norm: nn.BatchNorm2d, x: Tensor) -> list[Tensor]:
    """The output, the gradients and the statistics of a step."""
    norm, seen = deepcopy(norm).train(), x.clone().requires_grad_()
    output = norm(seen)
    (output**3).sum().backward()
    found = [output.detach(), seen.grad, *norm.buffers()]
    return found + [parameter.grad for parameter in norm.parameters()]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([-3.0, 0.0, 50.0]),
    st.booleans(),
)
def test_it_is_pytorchs_for_any_map(
    images: int, height: int, width: int, channels: int, level: float, tracks: bool
) -> None:
    if images * height * width == 1:
        images = 2
    torch.manual_seed(0)
    norm = ImagewiseBatchNorm2d(channels, track_running_stats=tracks).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels))
        norm.bias.copy_(torch.randn(channels))
    x = level + torch.randn(images, channels, height, width, dtype=torch.float64)
    x = x.to(memory_format=LAST)
    expected = step(norm, x)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.compiler, "is_compiling", lambda: True)
        found = step(norm, x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("imagewise")
def test_by_hand() -> None:
    """Two images of two pixels: 1, 3 and 5, 7 have the mean 4 and the variance 5."""
    norm = ImagewiseBatchNorm2d(1, eps=0.0).double()
    x = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]], dtype=torch.float64)
    found = norm(x.to(memory_format=LAST))
    assert (found * 5**0.5).flatten().tolist() == pytest.approx([-3, -1, 1, 3])
    assert norm.running_mean.item() == pytest.approx(0.1 * 4)
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * 20 / 3)
    assert norm.num_batches_tracked == 1


@pytest.mark.usefixtures("imagewise")
def test_large_numbers_close_together_keep_their_variance() -> None:
    """Squares of such numbers, summed, would have no digit of the variance left."""
    torch.manual_seed(0)
    x = (4096 + torch.randn(8, 2, 9, 9)).to(memory_format=LAST)
    norm = ImagewiseBatchNorm2d(2, momentum=1.0)
    norm(x)
    expected = x.double().var((0, 2, 3))
    torch.testing.assert_close(norm.running_var.double(), expected, rtol=1e-3, atol=0)


@pytest.mark.usefixtures("imagewise")
@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.eval(),
        lambda norm: setattr(norm, "momentum", None),
        lambda norm: setattr(norm, "affine", False),
    ],
)
def test_the_rest_is_pytorchs_own(
    change: Callable[[nn.BatchNorm2d], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, x = ImagewiseBatchNorm2d(2), torch.randn(2, 2, 3, 3).to(memory_format=LAST)
    monkeypatch.setattr(batch_norm, "_Normalise", None)  # would fail
    with pytest.raises(AttributeError):
        norm(x)
    norm(x.contiguous())
    change(norm)
    norm(x)


@pytest.mark.usefixtures("imagewise")
def test_a_single_number_a_channel_is_refused_as_ever() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        ImagewiseBatchNorm2d(2)(torch.randn(1, 2, 1, 1).to(memory_format=LAST))
