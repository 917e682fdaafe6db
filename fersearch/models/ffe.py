"""The fine-grained feature extraction (FFE) block of EFF-ResNet18.

A 3x3 convolution widens the map, its channels are split into ``n`` subsets ``X_1 .. X_n``, and two
chains of 3x3 convolutions run over the subsets (Xie & Huang, T-SNet, Eq 1-3)::

    left:   L_1 = P(X_1),  L_i = P(X_i + relu(L_{i-1}))   i = 2 .. n          (Eq 1)
    right:  R_n = P(X_n),  R_i = P(X_i + relu(R_{i+1}))   i = n-1 .. 1        (Eq 2)
    Y_i = L_i + R_i, concatenated over i                                     (Eq 3)

``P`` is a 3x3 convolution without bias followed by batch normalisation, with weights of its own
for every subset and chain.

The paper prints Eq 2 with the recursion of Eq 1, while its text says that the right chain sees
``{X_j, j >= i}``. Only the reversed recursion above does, so it is the default;
``right="literal"`` gives the printed one. The parameters are the same.

The same block appears as the multi-scale block of MA-Net (Zhao et al., IEEE TIP 2021), which the
T-SNet paper does not cite.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.models.options import check_choice, check_splits

__all__ = ["FFEBlock", "RightChain", "TwoWayChains", "init_convolutions"]

RightChain = Literal["reverse", "literal"]
"""Direction of the right chain: ``reverse`` (the paper's text), ``literal`` (its printed Eq 2)."""


def init_convolutions(module: nn.Module) -> None:
    """Initialise every convolution in ``module``: Kaiming normal, fan-out, for ReLU."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def convolution_norm(inputs: int, outputs: int, *, size: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution without bias that keeps the map's size / stride, with batch norm."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class TwoWayChains(nn.Module):
    """The two chains of 3x3 convolutions over channel subsets (Eq 1-3).

    Args:
        channels: Channels C of the map, in and out.
        splits: Number n of subsets; it must divide ``channels``.
        right: Direction of the right chain.

    Raises:
        InputError: ``splits`` does not divide ``channels``, or ``right`` is unknown.

    Shape:
        ``(B, C, H, W)`` to ``(B, C, H, W)``, float.
    """

    def __init__(self, channels: int, *, splits: int, right: RightChain = "reverse") -> None:
        super().__init__()
        check_splits(channels, splits)
        check_choice("right", right, get_args(RightChain))
        self.splits = splits
        self.reverse = right == "reverse"
        width = channels // self.splits
        self.left = nn.ModuleList(
            convolution_norm(width, width, size=3) for _ in range(self.splits)
        )
        self.right = nn.ModuleList(
            convolution_norm(width, width, size=3) for _ in range(self.splits)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``Y``, the concatenation of ``Y_i = L_i + R_i``."""
        subsets = x.chunk(self.splits, dim=1)
        left = self._chain(self.left, subsets, list(range(self.splits)))
        order = list(range(self.splits))
        right = self._chain(self.right, subsets, order[::-1] if self.reverse else order)
        return torch.cat([one + other for one, other in zip(left, right, strict=True)], dim=1)

    @staticmethod
    def _chain(
        convolutions: nn.ModuleList, subsets: tuple[Tensor, ...], order: list[int]
    ) -> list[Tensor]:
        """Run one chain over the subsets in ``order``; return its outputs in subset order."""
        outputs: dict[int, Tensor] = {}
        passed: Tensor | None = None
        for index in order:
            subset = subsets[index] if passed is None else subsets[index] + passed
            outputs[index] = convolutions[index](subset)
            # What is concatenated is P itself; only what is handed on goes through the ReLU.
            passed = F.relu(outputs[index])
        return [outputs[index] for index in range(len(order))]


class FFEBlock(nn.Module):
    """A residual block whose second convolution is, or is preceded by, the two-way chains.

    ``y = relu(BN(conv3x3(x)))``, ``z = chains(y)``, with ``second_convolution`` also
    ``z = BN(conv3x3(z))``; the output is ``relu(z + shortcut(x))``. The shortcut is
    ``BN(conv1x1(x))`` where the shape changes, else ``x``. No convolution has a bias.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        splits: Number n of subsets; it must divide ``outputs``.
        right: Direction of the right chain.
        second_convolution: Keep the residual block's second convolution after the chains.

    Raises:
        InputError: ``splits`` does not divide ``outputs``, or ``right`` is unknown.

    Shape:
        ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)`` (rounded up), float.
    """

    downsample: nn.Sequential | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        splits: int = 4,
        right: RightChain = "reverse",
        second_convolution: bool = True,
    ) -> None:
        super().__init__()
        # Names as in ResNet's basic block, so that its checkpoints find their places.
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.chains = TwoWayChains(outputs, splits=splits, right=right)
        self.second_convolution = second_convolution
        if second_convolution:
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = convolution_norm(inputs, outputs, size=1, stride=stride)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = x if self.downsample is None else self.downsample(x)
        z = self.chains(F.relu(self.bn1(self.conv1(x))))
        if self.second_convolution:
            z = self.bn2(self.conv2(z))
        return F.relu(z + shortcut)
