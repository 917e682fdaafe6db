"""The FFE block against its equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fersearch.errors import InputError
from fersearch.models import FFEBlock, TwoWayChains, parameter_count, valid_splits


def chains_with_random_norms(channels: int, splits: int, right: str) -> TwoWayChains:
    """Chains in eval mode whose batch norms are not the identity."""
    torch.manual_seed(3)
    chains = TwoWayChains(channels, splits=splits, right=right).double()
    for part in chains.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, -0.5, 0.5)
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 1.5)
    return chains.eval()


def unrolled(chains: TwoWayChains, x: Tensor, right: str) -> Tensor:
    """Equations 1-3 for four subsets, written out one by one."""
    x1, x2, x3, x4 = x.chunk(4, dim=1)
    p, q = chains.left, chains.right
    relu = torch.relu
    l1 = p[0](x1)
    l2 = p[1](x2 + relu(l1))
    l3 = p[2](x3 + relu(l2))
    l4 = p[3](x4 + relu(l3))
    if right == "reverse":
        r4 = q[3](x4)
        r3 = q[2](x3 + relu(r4))
        r2 = q[1](x2 + relu(r3))
        r1 = q[0](x1 + relu(r2))
    else:
        r1 = q[0](x1)
        r2 = q[1](x2 + relu(r1))
        r3 = q[2](x3 + relu(r2))
        r4 = q[3](x4 + relu(r3))
    return torch.cat([l1 + r1, l2 + r2, l3 + r3, l4 + r4], dim=1)


@pytest.mark.parametrize("right", ["reverse", "literal"])
def test_chains_equal_the_written_out_equations(right: Any) -> None:
    chains = chains_with_random_norms(8, 4, right)
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(chains(x), unrolled(chains, x, right))


def test_one_pixel_by_hand() -> None:
    """On a 1x1 map a 3x3 convolution is its centre weight; two subsets, weights 2, 3 and 5, 7."""
    chains = TwoWayChains(2, splits=2).eval()
    for convolution, weight in zip([*chains.left, *chains.right], (2, 3, 5, 7), strict=True):
        torch.nn.init.zeros_(convolution[0].weight)
        convolution[0].weight.data[0, 0, 1, 1] = weight
        convolution[1].eps = 0.0
    x = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    # L1 = 2*1 = 2, L2 = 3*(-2 + 2) = 0; R2 = 7*(-2) = -14, R1 = 5*(1 + relu(-14)) = 5.
    assert chains(x).flatten().tolist() == [2 + 5, 0 - 14]


def seen(right: str, splits: int) -> list[set[int]]:
    """Which subsets X_j have a gradient into each Y_i (numbered from 1)."""
    chains = chains_with_random_norms(2 * splits, splits, right)
    result = []
    for index in range(splits):
        touched: set[int] = set()
        for seed in range(3):  # several inputs: a ReLU that is shut hides a path
            torch.manual_seed(seed)
            x = torch.randn(4, 2 * splits, 7, 7, dtype=torch.float64, requires_grad=True)
            chains(x).chunk(splits, dim=1)[index].square().sum().backward()
            touched |= {
                j + 1 for j, part in enumerate(x.grad.chunk(splits, dim=1)) if part.abs().sum() > 0
            }
        result.append(touched)
    return result


@pytest.mark.parametrize("splits", [2, 4])
def test_reversed_right_chain_lets_every_output_see_every_subset(splits: Any) -> None:
    assert seen("reverse", splits) == [set(range(1, splits + 1))] * splits


def test_literal_right_chain_lets_an_output_see_earlier_subsets_only() -> None:
    assert seen("literal", 4) == [{1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}]


def receptive_field(index: int) -> int:
    """Width of the patch of the input that the centre of Y_index depends on (all weights one)."""
    chains = TwoWayChains(8, splits=4).double().eval()
    for part in chains.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.ones_(part.weight)
    x = torch.ones(1, 8, 21, 21, dtype=torch.float64, requires_grad=True)
    chains(x).chunk(4, dim=1)[index][0, 0, 10, 10].backward()
    return int((x.grad.abs().sum(dim=(0, 1, 2)) > 0).sum())


def test_receptive_fields_of_the_four_outputs() -> None:
    assert [receptive_field(index) for index in range(4)] == [9, 7, 7, 9]


def test_block_is_the_residual_of_its_parts() -> None:
    torch.manual_seed(0)
    block = FFEBlock(6, 8, stride=2, splits=4).double().eval()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    y = torch.relu(block.bn1(block.conv1(x)))
    expected = torch.relu(block.bn2(block.conv2(block.chains(y))) + block.downsample(x))
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, 8, 5, 5)


def test_block_without_the_second_convolution_keeps_its_input_as_shortcut() -> None:
    torch.manual_seed(0)
    block = FFEBlock(8, 8, splits=2, second_convolution=False).double().eval()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    y = torch.relu(block.bn1(block.conv1(x)))
    torch.testing.assert_close(block(x), torch.relu(block.chains(y) + x))
    assert block.downsample is None


def test_first_ffe_block_of_the_teacher_has_the_published_parameters() -> None:
    assert parameter_count(FFEBlock(128, 256, stride=2, splits=4)) == 1_214_976
    assert parameter_count(FFEBlock(256, 256, splits=4)) == 1_476_608


def test_no_convolution_has_a_bias_and_fan_out_sets_the_spread() -> None:
    torch.manual_seed(0)
    block = FFEBlock(64, 256, stride=2, splits=2)
    convolutions = [part for part in block.modules() if isinstance(part, torch.nn.Conv2d)]
    assert all(part.bias is None for part in convolutions)
    expected = (2 / (256 * 9)) ** 0.5
    assert block.conv1.weight.std().item() == pytest.approx(expected, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 48), st.integers(-2, 60))
def test_splits_are_taken_exactly_when_they_divide(channels: int, splits: Any) -> None:
    if splits > 0 and channels % splits == 0:
        assert TwoWayChains(channels, splits=splits).splits in valid_splits(channels)
    else:
        with pytest.raises(InputError, match="must divide"):
            TwoWayChains(channels, splits=splits)


def test_wrong_splits_are_told_with_the_right_ones() -> None:
    with pytest.raises(InputError) as caught:
        FFEBlock(128, 256, splits=3)
    assert str(caught.value) == (
        "ffe_splits must divide the 256 channels of the FFE block but got 3; "
        "use one of 1, 2, 4, 8, 16, 32, 64, 128, 256"
    )


@pytest.mark.parametrize("splits", [2.0, "4", None, True])
def test_splits_that_are_no_whole_numbers_are_refused(splits: Any) -> None:
    with pytest.raises(InputError, match="must divide"):
        TwoWayChains(8, splits=splits)


def test_unknown_direction_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean reverse"):
        TwoWayChains(8, splits=2, right="reversed")
