"""EFF-ResNet18, the teacher of T-SNet: a ResNet18 with FFE blocks (Xie & Huang).

The paper gives 11.8 M parameters and no layer table. Two layouts fit what it says:

* ``layout="count"`` (default): layer 3 is two FFE blocks that keep the residual block's second
  convolution; with 4 splits and 7 classes 11,771,975 parameters, the paper's 11.8 M.
* ``layout="manet"``: layers 3 and 4 are FFE blocks whose chains replace the second convolution, as
  in MA-Net; 8,234,055 parameters with 4 splits and 7 classes.

Module names are those of timm's and torchvision's ResNet18 wherever the layers are the same, so
the weights of either load by name.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from timm.layers.classifier import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.models.ffe import FFEBlock, RightChain, init_convolutions
from fersearch.models.options import check_choice, check_drop_rate

__all__ = ["EFFResNet18", "Layout", "eff_resnet18"]

Layout = Literal["count", "manet"]
"""Which layers are FFE blocks: see the module's description."""

default_cfgs = generate_default_cfgs(
    {
        # The source of the plain layers' ImageNet weights; read only with pretrained=True.
        "eff_resnet18.resnet18_a1_in1k": {
            "hf_hub_id": "timm/resnet18.a1_in1k",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.95,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv1",
            "classifier": "fc",
            "license": "apache-2.0",
        }
    }
)


class EFFResNet18(nn.Module):
    """ResNet18 with FFE blocks; it follows timm's conventions for image models.

    Args:
        num_classes: Number of logits; 0 leaves the classifier out (pooled features come out).
        in_chans: Channels of the input images.
        ffe_splits: Number n of channel subsets in each FFE block; it must divide 256.
        layout: ``count`` or ``manet``.
        right: Direction of the FFE blocks' right chain, ``reverse`` or ``literal``.
        drop_rate: Dropout before the classifier, in [0, 1).
        global_pool: timm's name of the pooling before the classifier; ``""`` for none.

    Raises:
        InputError: ``ffe_splits`` does not divide the channels, or a choice is unknown.

    Shape:
        ``(B, in_chans, H, W)`` float images to ``(B, num_classes)`` float logits; the last map is
        ``H / 32`` (rounded up) high.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        ffe_splits: int = 4,
        layout: Layout = "count",
        right: RightChain = "reverse",
        drop_rate: float = 0.5,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        check_choice("layout", layout, get_args(Layout))
        check_drop_rate(drop_rate)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.pooling = global_pool
        self.num_features = 512
        self.feature_info = [
            {"num_chs": 64, "reduction": 2, "module": "act1"},
            {"num_chs": 64, "reduction": 4, "module": "layer1"},
            {"num_chs": 128, "reduction": 8, "module": "layer2"},
            {"num_chs": 256, "reduction": 16, "module": "layer3"},
            {"num_chs": 512, "reduction": 32, "module": "layer4"},
        ]

        def fine(inputs: int, outputs: int) -> nn.Sequential:
            blocks = (
                FFEBlock(
                    source,
                    outputs,
                    stride=stride,
                    splits=ffe_splits,
                    right=right,
                    second_convolution=layout == "count",
                )
                for source, stride in ((inputs, 2), (outputs, 1))
            )
            return nn.Sequential(*blocks)

        self.conv1 = nn.Conv2d(in_chans, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _plain_layer(64, 64, stride=1)
        self.layer2 = _plain_layer(64, 128, stride=2)
        self.layer3 = fine(128, 256)
        self.layer4 = fine(256, 512) if layout == "manet" else _plain_layer(256, 512, stride=2)
        init_convolutions(self)
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer (an identity without classes)."""
        classifier: nn.Module = self.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one; ``num_classes`` 0 removes it."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.pooling = global_pool
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=self.pooling
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.fc.to(self.conv1.weight.device, self.conv1.weight.dtype)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return timm's grouping of the parameters by depth (for layer-wise rates)."""
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        return {"stem": r"^conv1|bn1|maxpool", "blocks": blocks}

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, ``(B, 512, H / 32, W / 32)``."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, drop out and classify a map; with ``pre_logits`` stop before the classifier."""
        x = self.global_pool(x)
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))


def _plain_layer(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    """Return two of ResNet's basic blocks."""
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
    )


def _plain_weights(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Keep a ResNet18's weights for the layers that this model has unchanged.

    The first convolution is kept whatever its channels, for timm to adapt to ``in_chans``; the
    layers made of FFE blocks start fresh, all of their weights together.
    """
    fine = tuple(f"{name}." for name, layer in model.named_children() if _has_ffe(layer))
    return {name: weight for name, weight in weights.items() if not name.startswith(fine)}


def _has_ffe(layer: nn.Module) -> bool:
    """Return whether ``layer`` is made of FFE blocks."""
    return any(isinstance(part, FFEBlock) for part in layer.modules())


@register_model
def eff_resnet18(pretrained: bool = False, **options: Any) -> nn.Module:
    """EFF-ResNet18; see :class:`EFFResNet18` for the options.

    ``pretrained=True`` takes timm's ImageNet ResNet18 weights for the layers that are the same.
    """
    model: nn.Module = build_model_with_cfg(
        EFFResNet18,
        "eff_resnet18",
        pretrained,
        pretrained_filter_fn=_plain_weights,
        pretrained_strict=False,
        **options,
    )
    return model
