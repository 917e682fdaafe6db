"""RCL-Net: local binary patterns against scikit-image, attention against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.feature
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from fersearch.errors import InputError
from fersearch.models import create
from fersearch.plugins import load_plugin, shipped

rcl_net: Any = load_plugin(shipped("baselines", "rcl_net.py"))

IMAGES = hnp.arrays(np.uint8, (9, 11), elements=st.integers(0, 255))


def ours(image: np.ndarray, scale: float = 255.0) -> np.ndarray:
    grey = torch.from_numpy(image.astype(np.float32))[None, None] / scale
    return rcl_net.local_binary_pattern(grey)[0, 0].numpy().astype(np.int64)


def theirs(image: np.ndarray) -> np.ndarray:
    """scikit-image's codes; the image goes on with its border pixels, as ours does."""
    codes = skimage.feature.local_binary_pattern(np.pad(image, 1, mode="edge"), P=8, R=1)
    return codes[1:-1, 1:-1].astype(np.int64)


def exact(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes by integer arithmetic, and where a diagonal neighbour equals the centre exactly."""
    padded = np.pad(image.astype(np.int64), 1, mode="edge")
    height, width = image.shape
    codes = np.zeros((height, width), np.int64)
    ties = np.zeros((height, width), bool)

    def at(down: int, right: int) -> np.ndarray:
        here = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        return here - padded[1:-1, 1:-1]

    around = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    for bit, (down, right) in enumerate(around):
        excess = at(down, right)
        if down and right:
            # Bilinear at 0.70711 from the centre in both directions, times 10**5 / 0.70711.
            excess = 29289 * (at(down, 0) + at(0, right)) + 70711 * excess
            ties |= excess == 0
        codes += (excess >= 0) << bit
    return codes, ties


@pytest.mark.parametrize("seed", range(4))
def test_codes_are_those_of_scikit_image(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (64, 48)).astype(np.uint8)
    np.testing.assert_array_equal(ours(image), theirs(image))


@settings(max_examples=60, deadline=None)
@given(image=IMAGES, levels=st.sampled_from([2, 3, 8, 256]))
def test_codes_are_exact_and_differ_from_scikit_image_at_ties_alone(
    image: np.ndarray, levels: int
) -> None:
    """Where an interpolated neighbour equals the centre, scikit-image's rounding decides."""
    image = image // (256 // levels)
    expected, ties = exact(image)
    np.testing.assert_array_equal(ours(image), expected)
    np.testing.assert_array_equal(theirs(image)[~ties], expected[~ties])


@settings(max_examples=60, deadline=None)
@given(image=IMAGES, gain=st.floats(0.25, 4.0), offset=st.floats(-0.5, 0.5))
def test_brighter_and_harder_images_have_the_same_codes(
    image: np.ndarray, gain: float, offset: float
) -> None:
    grey = torch.from_numpy(image.astype(np.float32))[None, None] / 255
    changed = rcl_net.local_binary_pattern(grey.double().mul(gain).add(offset).float() / gain)
    assert torch.equal(changed, rcl_net.local_binary_pattern(grey))


NETWORK: Any = create("rcl_net", num_classes=2).eval()


@settings(max_examples=40, deadline=None)
@given(image=IMAGES, mean=st.floats(0.0, 1.0), std=st.floats(0.05, 1.0))
def test_the_network_sees_the_codes_of_the_image_before_standardising(
    image: np.ndarray, mean: float, std: float
) -> None:
    """Flat regions and exact ties survive the rounding of standardising and undoing it."""
    pixels = torch.from_numpy(image.astype(np.float32))[None, None].expand(1, 3, -1, -1) / 255
    network = NETWORK
    network.set_preprocessing([mean], [std])
    seen: list[torch.Tensor] = []
    hook = network.texture.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network((pixels - mean) / std)
    hook.remove()
    codes = (seen[0][0, 0] * 255).round().numpy().astype(np.int64)
    np.testing.assert_array_equal(codes, exact(image)[0])


def test_a_flat_image_has_every_bit() -> None:
    for level in range(256):
        assert set(ours(np.full((4, 4), level, np.uint8)).ravel()) == {255}


def test_one_bright_pixel_by_hand() -> None:
    """Only the pixels around it see it, and each sees it where it is; the centre sees none."""
    image = np.zeros((5, 5), np.uint8)
    image[2, 2] = 9
    codes = ours(image)
    assert codes[2, 2] == 0
    assert (np.delete(codes.ravel(), 12) == 255).all()
    # A dark pixel is missed by its eight neighbours; the diagonal ones interpolate it as well.
    codes = ours(9 - image)
    assert codes[2, 2] == 255
    assert codes[2, 1] == 255 - (1 << 1) - (1 << 0) - (1 << 7)
    assert codes[1, 1] == 255 - (1 << 7)


def test_codes_have_no_gradient() -> None:
    grey = torch.rand(1, 1, 5, 5, requires_grad=True)
    assert not rcl_net.local_binary_pattern(grey).requires_grad


def test_luma_weighs_the_channels() -> None:
    assert rcl_net.luma(torch.eye(3)[:, :, None, None]).flatten().tolist() == pytest.approx(
        [0.299, 0.587, 0.114]
    )


def test_preprocessing_is_kept_with_the_weights() -> None:
    network: Any = create("rcl_net", num_classes=2)
    assert network.pixel_mean.flatten().tolist() == [0, 0, 0]
    assert network.pixel_std.flatten().tolist() == [1, 1, 1]
    network.set_preprocessing([0.5, 0.25, 0.125], (0.25,))
    state = network.state_dict()
    assert state["pixel_mean"].shape == (1, 3, 1, 1)
    assert state["pixel_mean"].flatten().tolist() == [0.5, 0.25, 0.125]
    assert state["pixel_std"].flatten().tolist() == [0.25, 0.25, 0.25]
    with pytest.raises(InputError, match="mean must have 1 value or 3 but has 2"):
        network.set_preprocessing([0.5, 0.5], [1.0])


def test_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="takes images of 3 channels but in_chans is 1"):
        create("rcl_net", num_classes=2, in_chans=1)


@settings(max_examples=20, deadline=None)
@given(spread=st.floats(0.0, 3.0), seed=st.integers(0, 99))
def test_gates_are_between_0_and_1_and_only_weaken(spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = spread * torch.randn(2, 32, 5, 4, generator=generator)
    block = rcl_net.CBAM(32).eval()
    channel, spatial = block.channel(x), block.spatial(x)
    assert channel.shape == (2, 32, 1, 1)
    assert spatial.shape == (2, 1, 5, 4)
    for gate in (channel, spatial):
        assert ((gate > 0) & (gate < 1)).all()
    assert (block(x).abs() <= x.abs()).all()


def test_attention_equals_its_written_out_definition() -> None:
    torch.manual_seed(0)
    block = rcl_net.CBAM(32).eval()
    x = torch.randn(2, 32, 6, 5)
    first, _, second = block.channel.mlp
    assert first.weight.shape == (2, 32)

    def mlp(pooled: torch.Tensor) -> torch.Tensor:
        return torch.relu(pooled @ first.weight.T + first.bias) @ second.weight.T + second.bias

    gate = torch.sigmoid(mlp(x.flatten(2).mean(2)) + mlp(x.flatten(2).max(2).values))
    y = x * gate[:, :, None, None]
    maps = torch.stack([y.max(dim=1).values, y.mean(dim=1)], dim=1)
    norm = block.spatial.bn
    place = nn.functional.conv2d(maps, block.spatial.conv.weight, padding=3)
    place = place / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(block(x), y * torch.sigmoid(place))


def test_every_basic_block_has_attention_before_the_sum() -> None:
    network: Any = create("rcl_net", num_classes=2)
    blocks = [
        block for level in range(1, 5) for block in getattr(network.attention, f"layer{level}")
    ]
    assert len(blocks) == 8
    assert all(isinstance(block.se, rcl_net.CBAM) for block in blocks)
