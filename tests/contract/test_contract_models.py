"""What every student and teacher keeps to, whatever is inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fersearch.models import OWN_MODELS, BundleConfig, create, load_bundle, save_bundle

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in OWN_MODELS),
    ("shufflenet_v2_x0_5", {"stem": "no_pool"}),
    ("shufflenet_v2_x0_5", {"stem": "stride1"}),
    ("eff_resnet18", {"layout": "manet", "ffe_splits": 2, "right": "literal"}),
    # timm starts the last norm of each residual at zero, which hides the layers before it.
    ("resnet18", {"zero_init_last": False, "drop_rate": 0.5}),
]


def label(variant: tuple[str, dict[str, Any]]) -> str:
    name, options = variant
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


@pytest.fixture(params=VARIANTS, ids=label, scope="module")
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


@pytest.fixture
def model(variant: tuple[str, dict[str, Any]]) -> nn.Module:
    torch.manual_seed(0)
    return create(variant[0], num_classes=7, **variant[1])


def images(count: int, size: int = 48) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [48, 112])
def test_one_row_of_logits_an_image(model: Any, size: int) -> None:
    model.eval()
    with torch.inference_mode():
        for count in (1, 3):
            logits = model(images(count, size))
            assert logits.shape == (count, 7)
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()


def test_eval_is_deterministic_and_images_are_independent(model: Any) -> None:
    model.eval()
    with torch.inference_mode():
        together = model(images(4))
        assert torch.equal(together, model(images(4)))
        alone = torch.cat([model(image[None]) for image in images(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_training_mode_draws_dropout(model: Any) -> None:
    x = images(4)
    model.eval()
    features = model.forward_features(x)
    model.train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))


def test_same_seed_same_weights(model: Any, variant: tuple[str, dict[str, Any]]) -> None:
    torch.manual_seed(0)
    again = create(variant[0], num_classes=7, **variant[1])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_gradient_reaches_every_parameter(model: Any) -> None:
    model.drop_rate = 0.0
    F.cross_entropy(model(images(6)), torch.arange(6)).backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None
        or not parameter.grad.isfinite().all()
        or parameter.grad.eq(0).all()
    ]
    assert silent == []


def test_saved_and_loaded_it_is_the_same_model(
    model: Any, variant: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    config = BundleConfig(
        model=variant[0],
        model_options=variant[1],
        classes=tuple("abcdefg"),
        image_size=48,
    )
    save_bundle(tmp_path / "m", model, config)
    loaded, found = load_bundle(tmp_path / "m")
    assert found == config
    with torch.inference_mode():
        assert torch.equal(loaded(images(2)), model.eval()(images(2)))


def test_channels_last_gives_the_same_logits(model: Any) -> None:
    model.eval()
    with torch.inference_mode():
        expected = model(images(2))
        model.to(memory_format=torch.channels_last)
        found = model(images(2).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_classes_leaves_pooled_features(variant: tuple[str, dict[str, Any]]) -> None:
    torch.manual_seed(0)
    model = create(variant[0], num_classes=0, **variant[1]).eval()
    with torch.inference_mode():
        features = model(images(2))
    assert features.shape == (2, model.num_features)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model.num_classes == 0


def test_forward_is_features_then_head(model: Any) -> None:
    model.eval()
    with torch.inference_mode():
        x = images(2)
        features = model.forward_features(x)
        assert features.shape[:2] == (2, model.num_features)
        assert torch.equal(model.forward_head(features), model(x))
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, model.num_features)
        assert torch.equal(model.get_classifier()(pooled), model(x))


def test_the_classifier_can_be_replaced(model: Any) -> None:
    model.reset_classifier(4)
    assert model.num_classes == 4
    assert model.get_classifier().out_features == 4
    assert model.eval()(images(1)).shape == (1, 4)
    model.reset_classifier(0, global_pool="")
    assert model(images(1)).shape[:2] == (1, model.num_features)
    assert model(images(1)).ndim == 4


def test_default_config_and_groups_are_timms(model: Any) -> None:
    config = model.default_cfg
    assert config["input_size"] == (3, 224, 224)
    assert config["classifier"] == "fc"
    assert model.get_submodule(config["first_conv"]).in_channels == 3
    assert set(model.group_matcher()) == {"stem", "blocks"}
    assert set(model.group_matcher(coarse=True)) == {"stem", "blocks"}
    assert model.feature_info[-1]["num_chs"] > 0
