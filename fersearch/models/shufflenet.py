"""ShuffleNetV2 students: torchvision's networks behind timm's registry.

The layers, the parameter names and the numbers are torchvision's (Ma et al., ECCV 2018), so its
ImageNet weights load. Added are dropout before the classifier (torchvision has none; the T-SNet
paper uses 0.5), timm's conventions, a choice of stem for small faces, a channel shuffle that keeps
the channels-last memory format and copies once instead of twice, and in training on a CPU other
ways to compute the same (:mod:`fersearch.models.cpu_training`).
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.shufflenetv2 import InvertedResidual
from torchvision.models.shufflenetv2 import ShuffleNetV2 as TorchvisionShuffleNetV2

from fersearch.models.cpu_training import (
    DepthwiseConv2d,
    PointwiseConv2d,
    interleaved,
    trains_on_cpu,
    twice,
)
from fersearch.models.options import check_choice, check_drop_rate
from fersearch.models.pooled_stem import pooled_first, pools_first

__all__ = [
    "ShuffleNetV2",
    "Stem",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]

Stem = Literal["standard", "no_pool", "stride1"]
"""How far the stem shrinks the image, and the last map at 48 px.

* ``standard``: convolution of stride 2 and max-pooling, /4 (the whole network /32: 2x2).
* ``no_pool``: convolution of stride 2 alone, /2 (/16: 3x3); 3 times the computation.
* ``stride1``: convolution of stride 1 alone, /1 (/8: 6x6); 12 times the computation.

None of them changes the parameters.
"""

_WIDTHS: dict[str, list[int]] = {
    "shufflenet_v2_x0_5": [24, 48, 96, 192, 1024],
    "shufflenet_v2_x1_0": [24, 116, 232, 464, 1024],
    "shufflenet_v2_x1_5": [24, 176, 352, 704, 1024],
    "shufflenet_v2_x2_0": [24, 244, 488, 976, 2048],
}
_WEIGHTS = {
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e.pth",
    "shufflenet_v2_x1_0": "shufflenetv2_x1-5666bf0f80.pth",
    "shufflenet_v2_x1_5": "shufflenetv2_x1_5-3c479a10.pth",
    "shufflenet_v2_x2_0": "shufflenetv2_x2_0-8be3c8ee.pth",
}

default_cfgs = generate_default_cfgs(
    {
        f"{name}.tv_in1k": {
            "url": f"https://download.pytorch.org/models/{file}",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv1.0",
            "classifier": "fc",
            "license": "bsd-3-clause",
        }
        for name, file in _WEIGHTS.items()
    }
)


def shuffled_pair(one: Tensor, other: Tensor) -> Tensor:
    """Concatenate two ``(B, C, H, W)`` maps with their channels interleaved: ``(B, 2C, H, W)``.

    It equals ShuffleNet's concatenation followed by the shuffle of 2 groups. Channels-last maps
    stay channels-last, where a shuffle by views would copy them back to channels-first.
    """
    # Channels-last by its strides: under torch.vmap a map cannot be asked for its format. A 1x1
    # map is both formats at once, and either branch is right for it.
    if other.stride(1) == 1:
        last = [part.permute(0, 2, 3, 1) for part in (one, other)]
        return torch.stack(last, dim=4).flatten(3, 4).permute(0, 3, 1, 2)
    return torch.stack((one, other), dim=2).flatten(1, 2)


class ShuffleUnit(InvertedResidual):
    """torchvision's ShuffleNetV2 unit, with layers that train faster on a CPU.

    Args:
        inp: Channels of the input.
        oup: Channels of the output, even; equal to ``inp`` where the stride is 1.
        stride: 1 or 2.

    Shape:
        Float maps ``(B, inp, H, W)`` to ``(B, oup, H / stride, W / stride)``.
    """

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__(inp, oup, stride)
        _take_over_pointwise(self.branch1)
        _take_over_pointwise(self.branch2)

    @staticmethod
    def depthwise_conv(
        i: int, o: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> nn.Conv2d:
        """Return the depthwise layer of the unit; ``i`` and ``o`` channels go in and come out."""
        return DepthwiseConv2d(i, o, kernel_size, stride, padding, bias=bias, groups=i)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output."""
        pair = interleaved if trains_on_cpu(self, x) else shuffled_pair
        if self.stride == 1:
            one, other = x.chunk(2, dim=1)
            return pair(one, self.branch2(other))
        one, other = self.for_both_branches(x)
        return pair(self.branch1(one), self.branch2(other))

    def for_both_branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map that a unit of stride 2 gives to each of its branches."""
        return twice(x) if trains_on_cpu(self, x) else (x, x)


def _take_over_pointwise(layers: nn.Sequential) -> None:
    """Exchange the convolutions of one pixel; weights and random numbers stay as they are."""
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layers[place] = PointwiseConv2d.taking_over(layer)


class ShuffleNetV2(TorchvisionShuffleNetV2):
    """ShuffleNetV2 that follows timm's conventions for image models.

    Args:
        widths: Output channels of the stem, the three stages and the last convolution.
        num_classes: Number of logits; 0 leaves the classifier out (pooled features come out).
        in_chans: Channels of the input images.
        stem: How far the stem shrinks the image; see :data:`Stem`.
        drop_rate: Dropout before the classifier, in [0, 1).
        global_pool: ``avg``, or ``""`` for none.

    Raises:
        InputError: ``stem`` or ``global_pool`` is unknown.

    Shape:
        ``(B, in_chans, H, W)`` float images to ``(B, num_classes)`` float logits.
    """

    def __init__(
        self,
        widths: list[int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        stem: Stem = "standard",
        drop_rate: float = 0.5,
        global_pool: str = "avg",
    ) -> None:
        check_choice("stem", stem, get_args(Stem))
        check_drop_rate(drop_rate)
        super().__init__([4, 8, 4], widths, max(num_classes, 1), inverted_residual=ShuffleUnit)
        _take_over_pointwise(self.conv5)
        stride = 1 if stem == "stride1" else 2
        if in_chans != 3 or stride != 2:
            self.conv1[0] = nn.Conv2d(in_chans, widths[0], 3, stride, padding=1, bias=False)
        if stem != "standard":
            self.maxpool = nn.Identity()  # type: ignore[assignment]
        shrink = {"standard": 4, "no_pool": 2, "stride1": 1}[stem]
        self.feature_info = [
            {"num_chs": width, "reduction": shrink * 2**level, "module": module}
            for level, (width, module) in enumerate(
                zip(widths, ("maxpool", "stage2", "stage3", "stage4"), strict=False)
            )
        ]
        self.in_chans = in_chans
        self.stem = stem
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = widths[-1]
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer (an identity without classes)."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one; ``num_classes`` 0 removes it."""
        if global_pool is not None:
            check_choice("global_pool", global_pool, ("avg", ""))
            self.global_pool = global_pool
        self.num_classes = num_classes
        weight = next(self.conv1.parameters())
        classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.fc = classifier.to(weight.device, weight.dtype)  # type: ignore[assignment]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return timm's grouping of the parameters by depth (for layer-wise rates)."""
        return {"stem": r"^conv1", "blocks": r"^stage(\d+)" if coarse else r"^stage(\d+)\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, ``(B, num_features, h, w)``."""
        x = self._stem_map(x)
        features: Tensor = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return features

    def _stem_map(self, x: Tensor) -> Tensor:
        """Return the map that the first stage sees."""
        if pools_first(x, self.conv1, self.maxpool):
            convolution, norm, rectify = cast(Any, self.conv1)
            # The largest of rectified numbers is the rectified largest.
            return cast(Tensor, rectify(pooled_first(x, convolution, norm, self.maxpool)))
        return cast(Tensor, self.maxpool(self.conv1(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, drop out and classify a map; with ``pre_logits`` stop before the classifier."""
        if self.global_pool:
            x = x.mean([2, 3])
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Build the ShuffleNetV2 called ``name`` the way timm builds its own models."""
    model: nn.Module = build_model_with_cfg(
        ShuffleNetV2, name, pretrained, widths=_WIDTHS[name], **options
    )
    return model


@register_model
def shufflenet_v2_x0_5(pretrained: bool = False, **options: Any) -> nn.Module:
    """ShuffleNetV2 x0.5: 348,967 parameters with 7 classes."""
    return _create("shufflenet_v2_x0_5", pretrained, options)


@register_model
def shufflenet_v2_x1_0(pretrained: bool = False, **options: Any) -> nn.Module:
    """ShuffleNetV2 x1.0: 1,260,779 parameters with 7 classes; the student of T-SNet."""
    return _create("shufflenet_v2_x1_0", pretrained, options)


@register_model
def shufflenet_v2_x1_5(pretrained: bool = False, **options: Any) -> nn.Module:
    """ShuffleNetV2 x1.5: 2,485,799 parameters with 7 classes."""
    return _create("shufflenet_v2_x1_5", pretrained, options)


@register_model
def shufflenet_v2_x2_0(pretrained: bool = False, **options: Any) -> nn.Module:
    """ShuffleNetV2 x2.0: 5,359,339 parameters with 7 classes."""
    return _create("shufflenet_v2_x2_0", pretrained, options)
