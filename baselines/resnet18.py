"""ResNet18 with plain cross entropy: the common yardstick.

The network is timm's own, layer for layer torchvision's: 11,180,103 parameters with 7 classes.
"""

from __future__ import annotations

from fersearch.models import Baseline, register_baseline

register_baseline(
    Baseline(
        name="resnet18",
        title="ResNet18",
        source="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016",
        notes=("The recipe's dropout stands before the classifier; the original has none.",),
    )
)
