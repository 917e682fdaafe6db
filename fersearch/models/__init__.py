"""Networks: everything is a timm model once this package is imported.

>>> import timm
>>> network = timm.create_model("eff_resnet18", num_classes=7, ffe_splits=4, layout="count")
>>> parameter_count(network)
11771975
"""

from __future__ import annotations

from fersearch.models.baseline import (
    Baseline,
    Batch,
    CrossEntropy,
    TrainingData,
    TrainingLoss,
    class_mean_image,
    get_baseline,
    list_baselines,
    load_shipped_baselines,
    plain_pixels,
    register_baseline,
)
from fersearch.models.bundle import BundleConfig, load_bundle, save_bundle
from fersearch.models.cost import Macs, file_bytes, macs, parameter_count
from fersearch.models.eff_resnet import EFFResNet18, Layout
from fersearch.models.factory import OWN_MODELS, create, list_models
from fersearch.models.ffe import FFEBlock, RightChain, TwoWayChains
from fersearch.models.gradcam import RULE as CHOICE_RULE
from fersearch.models.gradcam import CamResult, choose_images, grad_cam
from fersearch.models.layout import place
from fersearch.models.options import valid_splits
from fersearch.models.shufflenet import ShuffleNetV2, Stem
from fersearch.models.small_maps import train_fast_on_cpu
from fersearch.models.weights import LoadReport, load_weights, read_weights

__all__ = [
    "CHOICE_RULE",
    "OWN_MODELS",
    "Baseline",
    "Batch",
    "BundleConfig",
    "CamResult",
    "CrossEntropy",
    "EFFResNet18",
    "FFEBlock",
    "Layout",
    "LoadReport",
    "Macs",
    "RightChain",
    "ShuffleNetV2",
    "Stem",
    "TrainingData",
    "TrainingLoss",
    "TwoWayChains",
    "choose_images",
    "class_mean_image",
    "create",
    "file_bytes",
    "get_baseline",
    "grad_cam",
    "list_baselines",
    "list_models",
    "load_bundle",
    "load_weights",
    "macs",
    "parameter_count",
    "place",
    "plain_pixels",
    "read_weights",
    "register_baseline",
    "save_bundle",
    "train_fast_on_cpu",
    "valid_splits",
]

# Last, since the files import this package: `timm.create_model("rcl_net")` works from here on.
load_shipped_baselines()
