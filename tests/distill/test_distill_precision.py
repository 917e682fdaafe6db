"""bfloat16 is used where it pays and where it is right."""

from __future__ import annotations

import pytest
import timm

import fersearch.models  # noqa: F401 - registers the networks
from fersearch.distill import Execution
from fersearch.distill.precision import trains_in_bfloat16, uses_bfloat16
from fersearch.environment import native_bfloat16


def test_never_means_float32():
    network = timm.create_model("resnet18", num_classes=2)
    never = Execution(autocast="never")
    assert not uses_bfloat16(network, never)
    assert not trains_in_bfloat16(network, never, image_size=224)


@pytest.mark.parametrize(("size", "expected"), [(16, False), (47, False), (48, True), (224, True)])
def test_small_images_train_in_float32_on_a_cpu(size, expected):
    network = timm.create_model("resnet18", num_classes=2)
    trains = trains_in_bfloat16(network, Execution(), image_size=size)
    assert trains == (expected and native_bfloat16("cpu"))


def test_networks_with_depthwise_convolutions_stay_in_float32():
    network = timm.create_model("shufflenet_v2_x1_0", num_classes=2)
    assert not trains_in_bfloat16(network, Execution(), image_size=224)
