"""Models by name."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import timm
import torch
from torch import nn

from fersearch.errors import InputError
from fersearch.models import OWN_MODELS, create, list_models


def failing_entrypoint(name: str, error: Exception) -> None:
    """Register a model whose construction raises ``error``."""

    def build(pretrained: bool = False, **options: Any) -> NoReturn:
        raise error

    build.__name__ = name
    timm.models.register_model(build)


def test_every_name_of_ours_is_in_timms_registry() -> None:
    assert set(OWN_MODELS) <= set(timm.list_models())
    assert list_models("shufflenet*") == tuple(n for n in OWN_MODELS if n.startswith("shuffle"))


def test_any_timm_name_is_a_model() -> None:
    network = create("mobilenetv3_small_050", num_classes=7, image_size=48).eval()
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 7)


def test_transformers_are_built_for_the_image_size() -> None:
    network = create("vit_tiny_patch16_224", num_classes=7, image_size=48, depth=1)
    assert network(torch.zeros(1, 3, 48, 48)).shape == (1, 7)


def test_a_size_that_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match="vit_tiny_patch16_224 cannot take images of 48 px"):
        create("vit_tiny_patch16_224", num_classes=7, image_size=48, img_size=32, depth=1)


def test_checking_the_size_changes_neither_mode_nor_weights() -> None:
    torch.manual_seed(0)
    one = create("shufflenet_v2_x0_5", num_classes=7)
    torch.manual_seed(0)
    other = create("shufflenet_v2_x0_5", num_classes=7, image_size=48)
    assert other.training
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


@pytest.mark.parametrize(
    ("name", "near"),
    [("shufflenet_v2_x1_1", "shufflenet_v2_x1_0"), ("eff_resnet_18", "eff_resnet18")],
)
def test_unknown_names_are_told_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"unknown model '{name}'; did you mean .*{near}"):
        create(name, num_classes=7)


def test_a_name_like_no_other_still_gets_advice() -> None:
    with pytest.raises(InputError, match=r"timm.list_models"):
        create("qqqqqqqqqqqqqqqqqqqq", num_classes=7)


def test_addresses_on_the_network_are_refused() -> None:
    with pytest.raises(InputError, match="not by address"):
        create("hf-hub:timm/resnet18.a1_in1k", num_classes=7)


def test_unknown_weight_tags_are_refused() -> None:
    with pytest.raises(InputError, match="no_such_tag"):
        create("resnet18.no_such_tag", num_classes=7, image_size=48)
    with pytest.raises(InputError, match="no_such_tag"):
        create("resnet18.no_such_tag", num_classes=7)


@pytest.mark.parametrize("num_classes", [-1, 7.0, True, "7"])
def test_wrong_numbers_of_classes_are_refused(num_classes: Any) -> None:
    with pytest.raises(InputError, match="num_classes must be"):
        create("shufflenet_v2_x0_5", num_classes=num_classes)


@pytest.mark.parametrize("image_size", [0, -3, 4.5, True])
def test_wrong_image_sizes_are_refused(image_size: Any) -> None:
    with pytest.raises(InputError, match="image_size must be"):
        create("shufflenet_v2_x0_5", num_classes=7, image_size=image_size)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ffe_split": 4}, "ffe_split"),
        ({"layout": "counts"}, "did you mean count"),
        ({"right": "left"}, "unknown right 'left'"),
        ({"ffe_splits": 3}, "must divide"),
        ({"drop_rate": "half"}, "cannot build eff_resnet18 with drop_rate='half'"),
    ],
)
def test_unsupported_options_are_told_in_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        create("eff_resnet18", num_classes=7, **options)
    assert "\n" not in str(caught.value)


def test_options_of_the_student_are_checked() -> None:
    with pytest.raises(InputError, match="unknown stem"):
        create("shufflenet_v2_x0_5", num_classes=7, stem="wide")
    with pytest.raises(InputError, match="unknown global_pool"):
        create("shufflenet_v2_x0_5", num_classes=7, global_pool="max")


def test_weights_that_nobody_published_cannot_be_asked_for() -> None:
    failing_entrypoint("unpublished_model", RuntimeError("No pretrained weights exist"))
    with pytest.raises(InputError, match="cannot get the pretrained weights"):
        create("unpublished_model", num_classes=7, pretrained=True)


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"cannot get the pretrained weights .* weights file"):
        create(
            "shufflenet_v2_x0_5",
            num_classes=7,
            pretrained=True,
            pretrained_cfg_overlay={"url": "http://127.0.0.1:9/none.pth"},
        )


def test_a_plugin_that_fails_is_told_in_one_line() -> None:
    failing_entrypoint("broken_plugin", RuntimeError("first\nsecond"))
    with pytest.raises(InputError, match="cannot build broken_plugin with no options: first") as e:
        create("broken_plugin", num_classes=7)
    assert "second" not in str(e.value)


def test_models_without_class_logits_are_refused_where_they_are_checked() -> None:
    def flat_features(pretrained: bool = False, **options: Any) -> nn.Module:
        return nn.Flatten()

    timm.models.register_model(flat_features)
    with pytest.raises(InputError, match="was asked for 7 logits"):
        create("flat_features", num_classes=7, image_size=8)

    def not_a_module(pretrained: bool = False, **options: Any) -> object:
        class Thing:
            pass

        return Thing()

    timm.models.register_model(not_a_module)
    with pytest.raises(InputError, match="not a torch module"):
        create("not_a_module", num_classes=7)
