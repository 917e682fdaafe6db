"""RCL-Net: a ResNet18 with attention beside a branch that sees local binary patterns.

Source: Liao, Lin, Ma, He, Liu, He, "Facial Expression Recognition Methods in the Wild Based on
Fusion Feature of Attention Mechanism and LBP", Sensors 23(9):4204, 2023. Layer sizes that the
article leaves open are chosen here; ``docs/baselines.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.errors import InputError
from fersearch.models import Baseline, register_baseline

default_cfgs = generate_default_cfgs(
    {"rcl_net": {"num_classes": 1000, "input_size": (3, 224, 224), "classifier": "fc"}}
)

# The sine of 45 degrees to five decimals: where scikit-image puts the diagonal neighbours.
_DIAGONAL = 0.70711
# Grey levels in 0-1 that differ by less are equal: undoing the standardising rounds in float32.
_TIE = 1e-6


def luma(pixels: Tensor) -> Tensor:
    """Return the brightness of RGB images (ITU-R BT.601), ``(B, 3, H, W)`` to ``(B, 1, H, W)``."""
    red, green, blue = pixels.float().unbind(dim=1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


@torch.no_grad()
def local_binary_pattern(grey: Tensor) -> Tensor:
    """Return the local binary patterns with 8 neighbours at radius 1, without gradient.

    Bit i (value ``2**i``) is set where the neighbour at ``45 * i`` degrees, counter-clockwise from
    the right, is at least as bright as the centre: scikit-image's bit order and positions.
    Diagonal neighbours lie on the circle, between four pixels, and are interpolated bilinearly.
    Beyond the border the image goes on with its border pixels.

    A neighbour that falls short by less than 1e-6 counts as equal, so its bit is set: exact ties
    (flat regions) survive rounding, and no difference of 8-bit images is that small.

    Args:
        grey: float ``(B, 1, H, W)``, in 0-1.

    Returns:
        Codes 0-255, float32 ``(B, 1, H, W)``.
    """
    height, width = grey.shape[-2:]
    centre = grey.float()
    padded = F.pad(centre, (1, 1, 1, 1), mode="replicate")

    def difference(down: int, right: int) -> Tensor:
        rows = padded[:, :, 1 + down : 1 + down + height]
        return rows[:, :, :, 1 + right : 1 + right + width] - centre

    codes = torch.zeros_like(centre)
    around = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    for bit, (down, right) in enumerate(around):
        excess = difference(down, right)
        if down and right:
            # The centre itself is one of the four pixels; its difference is zero.
            sides = difference(down, 0) + difference(0, right)
            excess = _DIAGONAL * ((1 - _DIAGONAL) * sides + _DIAGONAL * excess)
        codes += (excess >= -_TIE) * float(2**bit)
    return codes


class ChannelGate(nn.Module):
    """CBAM's channel attention: one gate in (0, 1) per channel, ``(B, C, 1, 1)``."""

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates of a map ``(B, C, H, W)``."""
        summed = self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))
        return torch.sigmoid(summed)[:, :, None, None]


class SpatialGate(nn.Module):
    """CBAM's spatial attention: one gate in (0, 1) per place, ``(B, 1, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates of a map ``(B, C, H, W)``."""
        pooled = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.bn(self.conv(pooled)))


class CBAM(nn.Module):
    """Channel attention, then spatial attention (Woo et al., ECCV 2018); it keeps the shape.

    Args:
        channels: Channels of the map.
        **options: ``device`` and ``dtype``, which some versions of timm name; torch's defaults.
    """

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__()
        self.channel = ChannelGate(channels)
        self.spatial = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map, ``(B, C, H, W)``."""
        x = x * self.channel(x)
        gated: Tensor = x * self.spatial(x)
        return gated


def _step(inputs: int, outputs: int) -> nn.Sequential:
    """Return a convolution that halves the map, its normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class RCLNet(nn.Module):
    """RCL-Net in a form with the published blocks; 11,660,095 parameters with 7 classes.

    The texture branch needs pixels, so the network undoes the standardising of its input; see
    :meth:`set_preprocessing`.

    Args:
        num_classes: Number of logits; 0 leaves the classifier out (768 features come out).
        in_chans: Channels of the input images; only 3.
        drop_rate: Dropout before the classifier.

    Raises:
        InputError: ``in_chans`` is not 3.

    Shape:
        ``(B, 3, H, W)`` float images to ``(B, num_classes)`` float logits.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, *, drop_rate: float = 0.5
    ) -> None:
        super().__init__()
        if in_chans != 3:
            raise InputError(f"rcl_net takes images of 3 channels but in_chans is {in_chans!r}")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = 512 + 256
        self.register_buffer("pixel_mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(1, 3, 1, 1))
        self.attention = timm.create_model(
            "resnet18", num_classes=0, block_args={"attn_layer": CBAM}
        )
        self.texture = nn.Sequential(
            _step(1, 32), nn.MaxPool2d(3, 2, padding=1), _step(32, 64), _step(64, 128),
            _step(128, 256),
        )  # fmt: skip
        for part in self.texture.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def set_preprocessing(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Tell how the input was standardised; saved with the weights.

        Args:
            mean: What was subtracted from the 0-1 pixels: one value, or one a channel.
            std: What they were divided by: one value, or one a channel.

        Raises:
            InputError: There are neither 1 nor 3 values.
        """
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, 3):
                raise InputError(
                    f"{name} must have 1 value or 3 but has {len(values)}",
                    "give one for all channels, or one a channel",
                )
            buffer = self.get_buffer(f"pixel_{name}")
            buffer.copy_(torch.tensor([float(value) for value in values]).view(1, -1, 1, 1))

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer (an identity without classes)."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """Return attention and texture features side by side, ``(B, 768)``."""
        codes = local_binary_pattern(luma(x.float() * self.pixel_std + self.pixel_mean))
        texture = self.texture(codes / 255).mean(dim=(2, 3))
        return torch.cat([self.attention(x), texture], dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Drop out and classify features; with ``pre_logits`` stop before the classifier."""
        x = self.dropout(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))


@register_model
def rcl_net(pretrained: bool = False, **options: Any) -> nn.Module:
    """RCL-Net; see :class:`RCLNet` for the options."""
    if pretrained:
        raise InputError("there are no pretrained weights of rcl_net", "leave pretrained out")
    model: nn.Module = build_model_with_cfg(RCLNet, "rcl_net", False, **options)
    return model


register_baseline(
    Baseline(
        name="rcl_net",
        title="RCL-Net (style)",
        source="Liao et al.: Facial Expression Recognition Methods in the Wild Based on Fusion "
        "Feature of Attention Mechanism and LBP, Sensors 23(9):4204, 2023",
        notes=(
            "Widths of the LBP branch and the reduction of its attention are this project's choice:"
            " the article leaves them open.",
        ),
    )
)
