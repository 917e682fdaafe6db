"""TFEN: decoupler, gradient reversal, ramp and clusters against their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fersearch.models import Batch, TrainingData, create
from fersearch.plugins import load_plugin, shipped

tfen: Any = load_plugin(shipped("baselines", "tfen.py"))


def data_of(images: Tensor, *, seed: int = 3) -> TrainingData:
    def batches() -> Iterator[Tensor]:
        yield from images.split(5)

    return TrainingData(
        classes=("neutral", "happiness", "surprise"),
        labels=torch.arange(len(images)) % 3,
        image_size=images.shape[-1],
        mean=torch.zeros(1, 3, 1, 1),
        std=torch.ones(1, 3, 1, 1),
        seed=seed,
        device=torch.device("cpu"),
        batches=batches,
    )


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return create("tfen", num_classes=3, drop_rate=0.0)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def prepared(network: Any, images: Tensor, *, seed: int = 3) -> Any:
    loss = tfen.TFENLoss()
    torch.manual_seed(7)
    loss.prepare(network.eval(), data_of(images, seed=seed))
    return loss


def batch_of(images: Tensor, *, progress: float) -> Batch:
    count = torch.arange(len(images))
    return Batch(inputs=images, labels=count % 3, indices=count, epoch=0, progress=progress)


def test_decoupler_by_hand() -> None:
    """Two channels, one pixel: g = (1/2, sigmoid(ln 3)) = (0.5, 0.75)."""
    block = tfen.Decoupler(2).eval()
    block.bn.eps = 0.0
    block.bn.running_mean.copy_(torch.tensor([1.0, 0.0]))
    block.bn.running_var.fill_(4.0)
    gate = torch.zeros(2, 4, 1, 1)
    gate[1, 0] = torch.tensor(3.0).log()
    block.gate.weight.data = gate
    torch.nn.init.zeros_(block.gate.bias)
    block.project.weight.data = torch.tensor([[3.0, 0.0], [0.0, -2.0]])[:, :, None, None]
    expression = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    face = torch.tensor([2.0, 4.0]).view(1, 2, 1, 1)
    # p = ((6 - 1) / 2, (-8 - 0) / 2); z = relu(1 - 0.5 * 2.5, -1 + 0.75 * 4)
    expected = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(block(expression, face), expected)


def test_decoupler_equals_its_formula() -> None:
    torch.manual_seed(0)
    block = tfen.Decoupler(8).double()
    e, f = torch.randn(2, 3, 8, 4, 4, dtype=torch.float64)
    projected = torch.einsum("oc,bchw->bohw", block.project.weight[:, :, 0, 0], f)
    centred = projected - projected.mean(dim=(0, 2, 3), keepdim=True)
    p = centred / (centred.square().mean(dim=(0, 2, 3), keepdim=True) + 1e-5).sqrt()
    both = torch.cat([e, f], dim=1)
    scores = torch.einsum("oc,bchw->bohw", block.gate.weight[:, :, 0, 0], both)
    g = torch.sigmoid(scores + block.gate.bias[:, None, None])
    torch.testing.assert_close(block(e, f), torch.relu(e - g * p))


def test_encoders_end_after_layer_3(network: Any) -> None:
    maps = network.eval().decoupled(torch.zeros(1, 3, 64, 64))
    assert [tuple(item.shape) for item in maps] == [(1, 256, 4, 4)] * 2


def test_one_frame_is_convolved_by_the_middle_of_the_temporal_weights(network: Any) -> None:
    step = network.eval().spatial_temporal[0]
    x = torch.randn(2, 256, 4, 4)
    middle = step.weight[:, :, 9:18].unflatten(2, (3, 3))
    expected = torch.relu(torch.nn.functional.conv2d(x, middle, stride=2, padding=1))
    answer = step(x.unsqueeze(2))[:, :, 0]
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_3d_convolutions_are_torchs(network: Any) -> None:
    """Weights and their spread: kaiming, 256 x 27 outputs per input."""
    ours = network.eval().spatial_temporal[1]
    theirs = torch.nn.Conv3d(256, 256, 3, stride=(1, 2, 2), padding=1, bias=False)
    theirs.weight.data = ours.weight.data.view_as(theirs.weight)
    x = torch.randn(1, 256, 2, 5, 4)
    torch.testing.assert_close(ours(x), torch.relu(ours.bn(theirs(x))), rtol=1e-4, atol=1e-4)
    assert ours.weight.std().item() == pytest.approx((2 / (256 * 27)) ** 0.5, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(strength=st.floats(-3, 3), seed=st.integers(0, 99))
def test_reversal_is_the_identity_with_the_opposite_gradient(strength: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    y = tfen.reverse_gradient(x, strength)
    assert torch.equal(y, x)
    (y.sin() * weights).sum().backward()
    torch.testing.assert_close(x.grad, -strength * (x.detach().cos() * weights))


@given(progress=st.floats(0, 1, exclude_max=True))
def test_ramp_is_linear_over_the_first_third(progress: float) -> None:
    assert tfen.ramp(progress) == pytest.approx(3 * progress if progress < 1 / 3 else 1.0)


def test_loss_is_the_weighted_sum_of_its_three_terms(network: Any, images: Tensor) -> None:
    loss = prepared(network, images)
    network.eval()
    with torch.no_grad():
        z, f = network.decoupled(images)
        entropy = torch.nn.functional.cross_entropy
        expression = entropy(network.forward_head(z), torch.arange(12) % 3)
        known = entropy(loss.identity_head(f.mean(dim=(2, 3))), loss.identities)
        guessed = entropy(loss.adversary(z.mean(dim=(2, 3))), loss.identities)
        for progress, share in ((0.0, 0.0), (1 / 6, 0.5), (0.5, 1.0)):
            value, logits = loss(network, batch_of(images, progress=progress))
            torch.testing.assert_close(value, expression + known + 0.1 * share * guessed)
    torch.testing.assert_close(logits, network(images))


def test_the_adversary_learns_what_the_features_unlearn(network: Any, images: Tensor) -> None:
    """Of the adversary's term alone: its own gradient is as usual, the features' is reversed."""
    loss = prepared(network, images)
    pooled = torch.randn(12, 256, requires_grad=True)
    entropy = torch.nn.functional.cross_entropy
    plain = entropy(loss.adversary(pooled), loss.identities)
    parts = [pooled, *loss.adversary.parameters()]
    usual = torch.autograd.grad(plain, parts)
    reversed_ = torch.autograd.grad(
        entropy(loss.adversary(tfen.reverse_gradient(pooled)), loss.identities), parts
    )
    torch.testing.assert_close(reversed_[0], -usual[0])
    for one, other in zip(reversed_[1:], usual[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_clusters_follow_the_groups_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 50 * torch.randn(5, 16, generator=generator)
    group = torch.arange(60) % 5
    points = centres[group] + 0.1 * torch.randn(60, 16, generator=generator)
    found = tfen.pseudo_identities(points, seed=0, limit=5)
    pairs = set(zip(group.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 5


def test_there_are_64_clusters_at_most_and_never_more_than_images() -> None:
    generator = torch.Generator().manual_seed(0)
    assert len(tfen.pseudo_identities(torch.randn(9, 4, generator=generator), seed=0).unique()) <= 9
    many = tfen.pseudo_identities(torch.randn(900, 4, generator=generator), seed=0)
    assert many.min() >= 0
    assert many.max() == 63


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1])
def test_clusters_are_the_same_every_time(network: Any, images: Tensor, seed: int) -> None:
    one, other = (prepared(network, images, seed=seed) for _ in range(2))
    assert torch.equal(one.identities, other.identities)
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert one.notes == other.notes


def test_clusters_follow_the_initial_face_encoder(network: Any, images: Tensor) -> None:
    loss = prepared(network, images)
    with torch.no_grad():
        embeddings = network.eval().face_encoder(images).mean(dim=(2, 3))
    assert torch.equal(loss.identities, tfen.pseudo_identities(embeddings, seed=3))
    assert "k-means clusters" in loss.notes[0]
    assert "not people" in loss.notes[0]


def test_equal_images_turn_the_adversary_off(network: Any, images: Tensor) -> None:
    loss = prepared(network, images[:1].expand(6, -1, -1, -1))
    assert loss.notes == ("Identity loss and adversary were off: fewer than 2 image clusters.",)
    assert list(loss.parameters()) == []
    value, logits = loss(network, batch_of(images, progress=0.9))
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(12) % 3)
    torch.testing.assert_close(value, expected)
