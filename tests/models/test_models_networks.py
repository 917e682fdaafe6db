"""The registered networks: sizes, costs, timm's conventions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from fersearch.errors import FersearchError, InputError
from fersearch.models import (
    EFFResNet18,
    FFEBlock,
    Macs,
    create,
    file_bytes,
    load_weights,
    macs,
    parameter_count,
)

EFF = {  # layout, splits: parameters with 7 classes, GMACs at 224 px
    ("count", 2): (12_361_799, 2.0501),
    ("count", 4): (11_771_975, 1.9345),
    ("count", 8): (11_477_063, 1.8767),
    ("manet", 2): (11_183_175, 1.8188),
    ("manet", 4): (8_234_055, 1.5876),
    ("manet", 8): (6_759_495, 1.4720),
}
STUDENTS = {
    "shufflenet_v2_x0_5": 348_967,
    "shufflenet_v2_x1_0": 1_260_779,
    "shufflenet_v2_x1_5": 2_485_799,
    "shufflenet_v2_x2_0": 5_359_339,
    "resnet18": 11_180_103,
}


@pytest.mark.parametrize(("layout", "splits"), EFF)
def test_teacher_has_the_published_parameters(layout: str, splits: Any) -> None:
    parameters = EFF[layout, splits][0]
    seven = timm.create_model("eff_resnet18", num_classes=7, ffe_splits=splits, layout=layout)
    eight = timm.create_model("eff_resnet18", num_classes=8, ffe_splits=splits, layout=layout)
    assert parameter_count(seven) == parameters
    assert parameter_count(eight) == parameters + 513


@pytest.mark.parametrize(
    ("layout", "splits"),
    [
        pytest.param(*key, marks=[] if key in (("count", 4), ("manet", 2)) else pytest.mark.slow)
        for key in EFF
    ],
)
def test_teacher_costs_the_published_operations(layout: str, splits: Any) -> None:
    network = create("eff_resnet18", num_classes=7, ffe_splits=splits, layout=layout)
    # The published figures leave the global pooling (25,088) out.
    assert macs(network, 224).total / 1e9 == pytest.approx(EFF[layout, splits][1], abs=8e-5)


def test_both_directions_have_the_same_parameters() -> None:
    sizes = {
        parameter_count(create("eff_resnet18", num_classes=7, right=right))
        for right in ("reverse", "literal")
    }
    assert sizes == {11_771_975}


def test_teacher_layers_have_the_published_parameters() -> None:
    network = EFFResNet18(7)
    parts = {
        "stem": parameter_count(network.conv1) + parameter_count(network.bn1),
        **{name: parameter_count(getattr(network, name)) for name in ("layer1", "layer2")},
        "fine": [parameter_count(block) for block in network.layer3],
        **{name: parameter_count(getattr(network, name)) for name in ("layer4", "fc")},
    }
    assert parts == {
        "stem": 9_536,
        "layer1": 147_968,
        "layer2": 525_568,
        "fine": [1_214_976, 1_476_608],
        "layer4": 8_393_728,
        "fc": 3_591,
    }


def test_teacher_map_sizes_at_224_px() -> None:
    network = EFFResNet18(7).eval()
    sizes = {}
    for name in ("act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        getattr(network, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: output.shape[1:]})
        )
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert {name: tuple(size) for name, size in sizes.items()} == {
        "act1": (64, 112, 112),
        "maxpool": (64, 56, 56),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
    }


def test_layouts_put_the_fine_blocks_where_they_say() -> None:
    def fine_layers(network: nn.Module) -> list[str]:
        return [
            name
            for name, layer in network.named_children()
            if any(isinstance(part, FFEBlock) for part in layer.modules())
        ]

    assert fine_layers(create("eff_resnet18", num_classes=7)) == ["layer3"]
    assert fine_layers(create("eff_resnet18", num_classes=7, layout="manet")) == [
        "layer3",
        "layer4",
    ]


@pytest.mark.parametrize("name", STUDENTS)
def test_student_has_the_published_parameters(name: str) -> None:
    assert parameter_count(create(name, num_classes=7)) == STUDENTS[name]


def test_student_costs_the_published_operations() -> None:
    student = create("shufflenet_v2_x1_0", num_classes=7)
    assert parameter_count(create("shufflenet_v2_x1_0", num_classes=8)) == 1_261_804
    measured = macs(student, 224)
    assert measured == Macs(measured.total, ("aten::max_pool2d", "aten::mean"))
    assert measured.total / 1e9 == pytest.approx(0.1478, abs=5e-5)
    assert macs(create("resnet18", num_classes=7), 224).total / 1e9 == pytest.approx(
        1.8186, abs=5e-5
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_student_computes_what_torchvision_computes(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=7).eval()
    ours = create("shufflenet_v2_x0_5", num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(x)
        torch.testing.assert_close(ours(x.contiguous(memory_format=memory_format)), expected)


def test_student_keeps_the_channels_last_format() -> None:
    student = create("shufflenet_v2_x0_5", num_classes=7).to(memory_format=torch.channels_last)
    x = torch.zeros(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        features = student.eval().stage2(student.maxpool(student.conv1(x)))
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_stems_change_the_map_and_the_cost_but_not_the_weights() -> None:
    networks = {
        stem: create("shufflenet_v2_x1_0", num_classes=7, stem=stem)
        for stem in ("standard", "no_pool", "stride1")
    }
    x = torch.zeros(1, 3, 48, 48)
    with torch.inference_mode():
        maps = {stem: net.eval().forward_features(x).shape[-1] for stem, net in networks.items()}
    assert maps == {"standard": 2, "no_pool": 3, "stride1": 6}
    costs = [macs(network, 48).total for network in networks.values()]
    assert costs[1] / costs[0] == pytest.approx(3.09, abs=0.05)
    assert costs[2] / costs[0] == pytest.approx(12.3, abs=0.1)
    networks["stride1"].load_state_dict(networks["standard"].state_dict(), strict=True)
    assert [info["reduction"] for info in networks["no_pool"].feature_info] == [2, 4, 8, 16]


@pytest.mark.parametrize("name", ["eff_resnet18", "shufflenet_v2_x0_5"])
def test_dropout_sits_before_the_classifier_and_only_in_training(name: str) -> None:
    torch.manual_seed(0)
    network = create(name, num_classes=7)
    assert network.drop_rate == 0.5
    pooled = torch.ones(4, network.num_features, 1, 1)
    dropped = network.forward_head(pooled, pre_logits=True)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert network.eval().forward_head(pooled, pre_logits=True).unique().tolist() == [1.0]
    assert create(name, num_classes=7, drop_rate=0.1).drop_rate == 0.1


@pytest.mark.parametrize("name", ["eff_resnet18", "shufflenet_v2_x0_5"])
def test_grey_images_are_taken(name: str) -> None:
    network = create(name, num_classes=7, in_chans=1, image_size=48)
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    assert macs(network, 48).total > 0


def test_drop_rates_outside_their_range_are_refused() -> None:
    for name in ("eff_resnet18", "shufflenet_v2_x0_5"):
        for rate in (-0.1, 1.0):
            with pytest.raises(InputError, match="drop_rate must be"):
                create(name, num_classes=7, drop_rate=rate)


def test_plain_layers_take_a_resnet18s_weights_and_fine_layers_do_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model("resnet18", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    for layout, plain in (("count", "layer4.1.conv2"), ("manet", "layer2.1.conv2")):
        network = create(
            "eff_resnet18",
            num_classes=7,
            layout=layout,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(tmp_path / "resnet18.pth")},
        )
        for name in ("conv1", "layer1.0.conv1", plain):
            ours, theirs = network.get_submodule(name), source.get_submodule(name)
            assert torch.equal(ours.weight, theirs.weight)
        fine = network.get_submodule("layer3.0.conv1").weight
        assert not torch.equal(fine, source.get_submodule("layer3.0.conv1").weight)
        assert network.fc.out_features == 7


def test_operations_that_are_not_counted_are_named() -> None:
    assert macs(create("eff_resnet18", num_classes=7), 48).unsupported == (
        "aten::add",
        "aten::add_",
        "aten::max_pool2d",
    )


def test_counting_leaves_the_modes_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    network = create("shufflenet_v2_x0_5", num_classes=7)
    network.conv1.eval()
    macs(network, 48)
    assert network.training
    assert not network.conv1.training
    assert capfd.readouterr() == ("", "")


def test_a_model_that_cannot_be_traced_is_told() -> None:
    with pytest.raises(FersearchError, match="cannot count the operations of Linear at 48 px"):
        macs(torch.nn.Linear(5, 2), 48)


def test_file_size_is_the_weights_and_a_header() -> None:
    network = torch.nn.Linear(100, 10)
    assert 4 * 1010 < file_bytes(network) < 4 * 1010 + 400


def test_a_resnet18_checkpoint_fills_the_teachers_plain_layers(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=9).state_dict(), tmp_path / "r.pth")
    report = load_weights(create("eff_resnet18", num_classes=7), tmp_path / "r.pth")
    assert report.mismatched == ("fc.weight", "fc.bias")
    assert report.unexpected == ()
    assert all(".chains." in name for name in report.missing)
    assert {"conv1.weight", "layer4.1.conv2.weight"} <= set(report.taken)
