"""ECDNet: the expression is what moves an expressionless face into the picture.

Source: Wang, Shuai, Zhu, Liu, "Expression Complementary Disentanglement Network for Facial
Expression Recognition", Chinese Journal of Electronics 33(3), 2024. Training rebuilds each face
from an appearance image and a displacement field; the classifier reads the geometry code alone,
so the geometry branch is all that is deployed. ``docs/baselines.md`` lists what deviates.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.errors import InputError
from fersearch.models import (
    Baseline,
    Batch,
    TrainingData,
    TrainingLoss,
    class_mean_image,
    register_baseline,
)

default_cfgs = generate_default_cfgs(
    {"ecdnet": {"num_classes": 1000, "input_size": (3, 112, 112), "classifier": "fc"}}
)

CODE = 128
DECODED_SIZE = 112
DISPLACEMENT = 5 / DECODED_SIZE
"""Largest displacement, as a share of the image's size: 5 px at 112 px."""
RECONSTRUCTION_WEIGHT = 100.0
EXPRESSION_WEIGHT = 10.0
NEUTRAL_WEIGHT = 1.0


def _encoder(in_chans: int = 3) -> nn.Sequential:
    """Return ResNet18 without classifier and a linear layer: an image to a ``(B, 128)`` code."""
    backbone = timm.create_model("resnet18", num_classes=0, in_chans=in_chans)
    return nn.Sequential(backbone, nn.Linear(512, CODE))


def _decoder(*widths: int, last: nn.Module) -> nn.Sequential:
    """Return a decoder: a ``(B, 128)`` code to a 7x7 map, doubled once per further width."""
    first = nn.Linear(CODE, widths[0] * 7 * 7)
    layers: list[nn.Module] = [first, nn.Unflatten(1, (widths[0], 7, 7))]
    for inputs, outputs in pairwise(widths):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU(inplace=True)]
    layers[-1] = last
    return nn.Sequential(*layers)


class ECDNet(nn.Module):
    """ECDNet as deployed, its geometry branch; 11,243,079 parameters with 7 classes.

    Args:
        num_classes: Number of logits; 0 leaves the classifier out (the code comes out).
        in_chans: Channels of the input images.
        drop_rate: Dropout before the classifier.

    Shape:
        ``(B, in_chans, H, W)`` float images to ``(B, num_classes)`` float logits.
    """

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, *, drop_rate: float = 0.5
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = CODE
        self.geometry_encoder = _encoder(in_chans)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer (an identity without classes)."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the geometry code, ``(B, 128)``."""
        return cast(Tensor, self.geometry_encoder(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Drop out and classify a code; with ``pre_logits`` stop before the classifier."""
        x = self.dropout(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Sample an image at every pixel's place plus a displacement, bilinearly.

    Beyond the border the image goes on with its border pixels.

    Args:
        image: float32 ``(B, C, H, W)``.
        displacement: In pixels, to the right and down, float32 ``(B, 2, H, W)``.

    Returns:
        float32 ``(B, C, H, W)``: at (x, y) the image's value at (x + dx, y + dy).
    """
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device, dtype=image.dtype)
    columns = torch.arange(width, device=image.device, dtype=image.dtype)
    x = (columns + displacement[:, 0] + 0.5) * (2 / width) - 1
    y = (rows[:, None] + displacement[:, 1] + 0.5) * (2 / height) - 1
    return F.grid_sample(
        image, torch.stack([x, y], dim=-1), padding_mode="border", align_corners=False
    )


def _resized(maps: Tensor, size: int) -> Tensor:
    """Return maps in float32, bilinearly resized where their size is another."""
    maps = maps.float()
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _features(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return a ResNet's maps after layers 1, 2 and 3, float32."""
    maps = network.forward_intermediates(  # type: ignore[operator]
        images, indices=[1, 2, 3], intermediates_only=True, stop_early=True
    )
    return [item.float() for item in maps]


def _distance(maps: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Return the smooth L1 distance, averaged over each map and then over the maps."""
    pairs = zip(maps, targets, strict=True)
    return torch.stack([F.smooth_l1_loss(one, two.expand_as(one)) for one, two in pairs]).mean()


class ECDNetLoss(TrainingLoss):
    """Rebuild the face, recognise the expression, and keep the appearance neutral.

    ``100 L_rec + 10 CE + 1 L_neutral``. Both distances are taken between a frozen network's maps:
    L_rec from the reconstruction to the input, L_neutral from the appearance image to the mean
    neutral training face. The decoders end at 112 px; for other sizes their outputs are resized,
    and the largest displacement keeps its share of the image.

    Args:
        label_smoothing: Label smoothing of the expression, in 0-1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.appearance_encoder = _encoder()
        self.appearance_decoder = _decoder(80, 40, 20, 10, 3, last=nn.Sigmoid())
        self.geometry_decoder = _decoder(128, 64, 32, 16, 2, last=nn.Tanh())
        # In a tuple, the frozen network is no part of this module: not trained, saved or counted.
        self._perceptual: tuple[nn.Module, ...] = ()
        self._neutral: list[Tensor] = []

    def prepare(
        self, network: nn.Module, data: TrainingData, *, companion: nn.Module | None = None
    ) -> None:
        """Keep the perceptual network, and look at the mean neutral face through it.

        Raises:
            InputError: There is no companion.
        """
        if companion is None:
            raise InputError("ecdnet needs a trained companion network", "train a resnet18 first")
        self._perceptual = (companion,)
        self.register_buffer("mean", data.mean, persistent=False)
        self.register_buffer("std", data.std, persistent=False)
        face = class_mean_image(data, "neutral")
        if face is None:
            self.notes = ("The neutral loss was off: there is no neutral training image.",)
            return
        with torch.no_grad():
            self._neutral = _features(companion, self._standardised(face))

    def _standardised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std

    def rebuilt(self, inputs: Tensor, geometry: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the appearance image of a batch.

        Args:
            inputs: Network input, float ``(B, 3, S, S)``.
            geometry: Geometry codes, float ``(B, 128)``.

        Returns:
            Pixels in 0-1, float32 ``(B, 3, S, S)`` each.
        """
        size = inputs.shape[-1]
        appearance = _resized(self.appearance_decoder(self.appearance_encoder(inputs)), size)
        field = _resized(self.geometry_decoder(geometry), size)
        return warp(appearance, field * (DISPLACEMENT * size)), appearance

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the expression's logits."""
        (perceptual,) = self._perceptual
        ours = cast(ECDNet, network)
        geometry = ours.forward_features(batch.inputs)
        logits = ours.forward_head(geometry).float()
        reconstruction, appearance = self.rebuilt(batch.inputs, geometry)
        with torch.no_grad():
            wanted = _features(perceptual, batch.inputs)
        found = _features(perceptual, self._standardised(reconstruction))
        entropy = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        loss = RECONSTRUCTION_WEIGHT * _distance(found, wanted) + EXPRESSION_WEIGHT * entropy
        if self._neutral:
            plain = _features(perceptual, self._standardised(appearance))
            loss = loss + NEUTRAL_WEIGHT * _distance(plain, self._neutral)
        return loss, logits


@register_model
def ecdnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """ECDNet's geometry branch; see :class:`ECDNet` for the options."""
    if pretrained:
        raise InputError("there are no pretrained weights of ecdnet", "leave pretrained out")
    model: nn.Module = build_model_with_cfg(ECDNet, "ecdnet", False, **options)
    return model


register_baseline(
    Baseline(
        name="ecdnet",
        title="ECDNet (after its authors' design)",
        source="Wang et al.: Expression Complementary Disentanglement Network for Facial "
        "Expression Recognition, Chinese Journal of Electronics 33(3), 2024",
        loss=ECDNetLoss,
        companion="resnet18",
        notes=(
            "Perceptual distances are taken in a plain ResNet18 trained on the same data, not in"
            " an ImageNet VGG19.",
            "Parameters and operations at inference are those of the geometry branch alone.",
        ),
    )
)
