"""Views: a pure function of (seed, epoch, image), whatever batch they come in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views, counter_uniform, epoch_order
from fersearch.errors import InputError

COUNT = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 16, 16), dtype=np.uint8)
PLAIN = Preprocessing(image_size=16, mean=(0.0,), std=(1.0,))
STILL = ViewPolicy(shift=0, scale=0, rotation=0, flip=0, brightness=0, contrast=0, erase=0)


GOLDEN = [
    [0.3325937, 0.5586392, 0.8121378],
    [0.1761479, 0.8146655, 0.2577918],
    [0.6773272, 0.0931951, 0.0377301],
]


def views(images=IMAGES, *, policy=None, seed=0, preprocessing=PLAIN, device="cpu"):
    return Views(
        images, preprocessing=preprocessing, policy=policy or ViewPolicy(), seed=seed, device=device
    )


@settings(deadline=None, max_examples=30)
@given(
    indices=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=12),
    epoch=st.integers(0, 500),
    seed=st.integers(0, 2**31),
)
def test_a_view_does_not_depend_on_its_batch(indices, epoch, seed):
    source = views(seed=seed)
    together = source.training(epoch, np.array(indices))
    for position, index in enumerate(indices):
        alone = source.training(epoch, np.array([index]))[0]
        torch.testing.assert_close(together[position], alone, rtol=0, atol=1e-6)


def test_views_change_with_seed_epoch_and_image():
    same_image = views(np.repeat(IMAGES[:1], 2, axis=0))
    batch = same_image.training(0, np.array([0, 1]))
    assert not torch.allclose(batch[0], batch[1])
    assert not torch.allclose(batch, same_image.training(1, np.array([0, 1])))
    other_seed = views(np.repeat(IMAGES[:1], 2, axis=0), seed=1)
    assert not torch.allclose(batch, other_seed.training(0, np.array([0, 1])))


def test_the_random_numbers_are_the_same_on_every_machine():
    # Written down once: a change of these numbers makes every stored soft label another one.
    found = counter_uniform(7, 3, torch.tensor([0, 1, 1_000_000]))[:, :3]
    torch.testing.assert_close(found, torch.tensor(GOLDEN), rtol=0, atol=1e-6)


def test_the_random_numbers_are_uniform_and_unrelated():
    draws = counter_uniform(0, 0, torch.arange(40_000)).double()
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    # Standard error of the mean is 0.0014, of a correlation 0.005.
    assert (draws.mean(0) - 0.5).abs().max() < 0.007
    assert (draws.std(0) - 0.288675).abs().max() < 0.005
    others = torch.cat([draws, counter_uniform(0, 1, torch.arange(40_000)).double()], dim=1)
    correlation = torch.corrcoef(others.T) - torch.eye(32)
    assert correlation.abs().max() < 0.025


def test_without_augmentation_a_view_is_the_image():
    batch = views(policy=STILL).training(5, np.arange(COUNT))
    expected = torch.from_numpy(IMAGES).float().div(255).expand(-1, 3, -1, -1)
    torch.testing.assert_close(batch, expected, rtol=0, atol=1e-5)


def test_a_certain_flip_mirrors_left_and_right():
    policy = ViewPolicy(shift=0, scale=0, rotation=0, flip=1, brightness=0, contrast=0, erase=0)
    batch = views(policy=policy).training(0, np.arange(4))
    expected = torch.from_numpy(IMAGES[:4]).float().div(255).flip(3).expand(-1, 3, -1, -1)
    torch.testing.assert_close(batch, expected, rtol=0, atol=1e-5)


def test_a_warped_view_samples_the_image_under_the_drawn_map():
    policy = ViewPolicy(brightness=0, contrast=0, erase=0)
    batch = views(policy=policy, seed=3).training(2, np.arange(COUNT))
    draws = counter_uniform(3, 2, torch.arange(COUNT)).double()
    angle = (draws[:, 0] * 2 - 1) * policy.rotation * np.pi / 180
    zoom = 1 + (draws[:, 1] * 2 - 1) * policy.scale
    mirror = torch.where(draws[:, 2] < policy.flip, -1.0, 1.0)
    # From the view to the image: mirror, turn and shrink, then move; the sides are at -1 and 1.
    maps = torch.zeros(COUNT, 2, 3, dtype=torch.float64)
    maps[:, 0, 0], maps[:, 0, 1] = mirror * angle.cos() / zoom, -angle.sin() / zoom
    maps[:, 1, 0], maps[:, 1, 1] = mirror * angle.sin() / zoom, angle.cos() / zoom
    maps[:, :, 2] = (draws[:, 3:5] * 2 - 1) * policy.shift * 2
    images = torch.from_numpy(IMAGES).double() / 255
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(
        images, grid, padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(batch.double(), expected.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)


def test_half_of_the_views_are_flipped():
    policy = ViewPolicy(shift=0, scale=0, rotation=0, brightness=0, contrast=0, erase=0)
    images = np.repeat(IMAGES[:1], 2000, axis=0)
    batch = views(images, policy=policy).training(0, np.arange(2000))
    flipped = (batch - views(images, policy=STILL).evaluation(np.arange(1))).abs().amax((1, 2, 3))
    assert 0.45 < (flipped > 1e-3).float().mean() < 0.55


def test_erasing_covers_at_most_its_area_with_one_value():
    policy = ViewPolicy(
        shift=0, scale=0, rotation=0, flip=0, brightness=0, contrast=0, erase=1, erase_area=0.2
    )
    images = np.zeros((500, 1, 32, 32), dtype=np.uint8)
    covered = (views(images, policy=policy).training(0, np.arange(500))[:, 0] > 0).float()
    share = covered.mean(dim=(1, 2))
    assert share.max() <= 0.25  # 0.2 plus the rounding to whole pixels
    assert share.mean() > 0.05


def test_the_share_of_erased_views_is_the_policys():
    policy = ViewPolicy(shift=0, scale=0, rotation=0, flip=0, brightness=0, contrast=0, erase=0.3)
    images = np.zeros((2000, 1, 16, 16), dtype=np.uint8)
    erased = views(images, policy=policy).training(0, np.arange(2000)).amax(dim=(1, 2, 3)) > 0
    assert 0.2 < erased.float().mean() < 0.32  # a rectangle can fall between the pixels


def test_values_stay_within_the_grey_scale():
    policy = ViewPolicy(brightness=0.9, contrast=0.9, erase=1)
    batch = views(policy=policy).training(0, np.arange(COUNT))
    assert float(batch.min()) >= 0
    assert float(batch.max()) <= 1


def test_colour_images_keep_their_channels():
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    preprocessing = Preprocessing.of_training_images(images)
    batch = views(images, preprocessing=preprocessing, policy=STILL).training(0, np.arange(4))
    assert batch.shape == (4, 3, 16, 16)
    torch.testing.assert_close(batch.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        batch.std(dim=(0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-2
    )


def test_network_input_is_channels_last():
    batch = views().training(0, np.arange(4))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_images_that_the_device_holds_give_the_same_views(monkeypatch):
    # What a GPU does, tried on the CPU, in several parts; there, images stay where they are.
    plain = views()
    monkeypatch.setattr("fersearch.data.views._fits_on", lambda device, size: True)
    monkeypatch.setattr("fersearch.data.views.LOAD_IMAGES", 7)
    held = views()
    numbers = np.array([3, 23, 0])
    for indices in (numbers, torch.from_numpy(numbers)):
        assert torch.equal(held.training(1, indices), plain.training(1, indices))
        assert torch.equal(held.evaluation(indices), plain.evaluation(indices))
    assert plain._held is None
    assert torch.equal(held._held, torch.from_numpy(IMAGES))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_views_up_to_rounding():
    on_cpu = views().training(3, np.arange(COUNT))
    on_gpu = views(device="cuda").training(3, np.arange(COUNT))
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 300), seed=st.integers(0, 1000), epoch=st.integers(0, 1000))
def test_an_epochs_order_visits_every_image_once(count, seed, epoch):
    order = epoch_order(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    assert (order == epoch_order(seed, epoch, count)).all()


def test_preprocessing_survives_its_config_file():
    from fersearch.records import to_plain

    preprocessing = Preprocessing.of_training_images(IMAGES)
    assert Preprocessing.from_plain(to_plain(preprocessing)) == preprocessing
    assert preprocessing.channels == 1
    with pytest.raises(InputError, match="preprocessing is not readable"):
        Preprocessing.from_plain({"image_size": 48})
