"""Checkpoints that users bring."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fersearch.errors import InputError
from fersearch.models import load_weights, read_weights


def network(classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), fc=nn.Linear(4, classes)
    )
    return nn.Sequential(layers)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "net"])
def test_wrappers_and_prefixes_come_off(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    source, target = network(seed=1), network(seed=2)
    weights = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    content = weights if wrapper is None else {"epoch": 3, "optimizer": {}, wrapper: weights}
    torch.save(content, tmp_path / "w.pth")
    report = load_weights(target, tmp_path / "w.pth")
    assert set(report.taken) == set(target.state_dict())
    assert report.missing == report.mismatched == report.unexpected == ()
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_safetensors_are_known_by_name_or_content(tmp_path: Path, name: str) -> None:
    source, target = network(seed=1), network(seed=2)
    safetensors.torch.save_file(source.state_dict(), tmp_path / name)
    load_weights(target, tmp_path / name)
    assert torch.equal(target.conv.weight, source.conv.weight)


def test_classifier_for_other_classes_stays_and_is_reported(tmp_path: Path) -> None:
    target = network(classes=3, seed=2)
    before = target.fc.weight.clone()
    weights = dict(network(classes=5, seed=1).state_dict())
    del weights["norm.bias"]
    weights["head.extra"] = torch.zeros(2)
    torch.save(weights, tmp_path / "w.pth")
    report = load_weights(target, tmp_path / "w.pth")
    assert report.mismatched == ("fc.weight", "fc.bias")
    assert report.missing == ("norm.bias",)
    assert report.unexpected == ("head.extra",)
    assert torch.equal(target.fc.weight, before)
    assert report.summary == (
        f"{tmp_path / 'w.pth'}: took 6 of 9 tensors; 2 of another shape (fc.weight, fc.bias); "
        "1 not in the file (norm.bias); 1 unknown to the model (head.extra)"
    )


def test_two_names_for_one_tensor_give_it_once(tmp_path: Path) -> None:
    target = network()
    torch.save({"conv.bias": torch.ones(4), "module.conv.bias": torch.zeros(4)}, tmp_path / "w.pth")
    report = load_weights(target, tmp_path / "w.pth")
    assert target.conv.bias.tolist() == [1, 1, 1, 1]
    assert report.unexpected == ("module.conv.bias",)


def test_long_lists_are_cut_in_the_summary(tmp_path: Path) -> None:
    torch.save({"conv.bias": torch.ones(4)}, tmp_path / "w.pth")
    summary = load_weights(network(), tmp_path / "w.pth").summary
    assert "8 not in the file (conv.weight, norm.weight, norm.bias and 5 more)" in summary


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_files_that_are_no_checkpoints_are_refused_in_one_line(tmp_path: Path) -> None:
    class Custom:
        pass

    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "no_tensors.pth")
    torch.save({"model": network()}, tmp_path / "objects.pth")
    torch.save(network().state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    cases = {
        tmp_path / "missing.pth": "does not exist",
        tmp_path: "is a folder",
        write(tmp_path / "empty.pth", b""): "is empty",
        write(tmp_path / "text.pth", b"hello, I am text\n"): "not a checkpoint",
        write(tmp_path / "cut.pth", whole[: len(whole) // 2]): "not a checkpoint",
        write(tmp_path / "cut.safetensors", b"\x40\x00\x00"): "not a safetensors file",
        tmp_path / "list.pth": "holds no named tensors",
        tmp_path / "no_tensors.pth": "holds no named tensors",
        tmp_path / "objects.pth": "not a checkpoint of plain tensors",
    }
    for path, text in cases.items():
        with pytest.raises(InputError, match=text) as caught:
            read_weights(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_get_past_as_a_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("bytes") / "w.pth", content)
    with pytest.raises(InputError):
        read_weights(path)


def test_weights_of_another_network_change_nothing(tmp_path: Path) -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    # A matching counter of batches alone is no match.
    other = {"a.weight": torch.zeros(3), "norm.num_batches_tracked": torch.tensor(9)}
    torch.save(other, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"no tensor of .* fits the model: the file has a.weight"):
        load_weights(target, tmp_path / "w.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())
