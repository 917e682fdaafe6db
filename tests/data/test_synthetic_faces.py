"""The synthetic data set as a whole: what it holds and that it is a function of its options."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.synthetic import SyntheticFaces, SyntheticOptions, make

SMALL = SyntheticOptions(train=160, val=40, test=48, seed=7)


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return make(SMALL)


def test_shapes_types_and_ranges(faces: SyntheticFaces) -> None:
    assert faces.classes == CLASS_ORDER
    for name in ("train", "val", "test"):
        split, count = getattr(faces, name), getattr(SMALL, name)
        assert split.images.shape == (count, 1, 48, 48)
        assert split.images.dtype == np.uint8
        assert split.labels.shape == (count,)
        assert split.labels.dtype == np.int64
        assert split.intensities.shape == (count,)
        assert split.intensities.dtype == np.float32
        assert split.images.min() < 40
        assert split.images.max() > 215


def test_classes_are_balanced(faces: SyntheticFaces) -> None:
    assert np.bincount(faces.train.labels).tolist() == [20] * 8
    assert np.bincount(faces.val.labels).tolist() == [5] * 8
    assert np.bincount(faces.test.labels).tolist() == [6] * 8


def test_no_two_faces_are_the_same(faces: SyntheticFaces) -> None:
    images = np.concatenate([faces.train.images, faces.val.images, faces.test.images])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_the_same_options_give_the_same_bytes(faces: SyntheticFaces) -> None:
    again = make(SMALL)
    assert again.test.images.tobytes() == faces.test.images.tobytes()
    assert again.train.images.tobytes() == faces.train.images.tobytes()


@settings(max_examples=4, deadline=None)
@given(batch_size=st.integers(11, 200))
def test_batch_size_changes_no_pixel(faces: SyntheticFaces, batch_size: int) -> None:
    again = make(SMALL, batch_size=batch_size)
    assert (again.train.images == faces.train.images).all()


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_batch_size_changes_no_pixel_at_odd_sizes(difficulty: float) -> None:
    options = SyntheticOptions(train=21, val=8, test=8, image_size=37, difficulty=difficulty)
    one, many = make(options, batch_size=1), make(options, batch_size=21)
    assert (one.train.images == many.train.images).all()


def test_a_longer_split_starts_with_the_shorter_one(faces: SyntheticFaces) -> None:
    shorter = make(replace(SMALL, train=43, val=8, test=8))
    assert (shorter.train.images == faces.train.images[:43]).all()
    assert (shorter.train.labels == faces.train.labels[:43]).all()


def test_splits_and_seeds_are_unrelated(faces: SyntheticFaces) -> None:
    assert (faces.train.images[:40] != faces.val.images).any(axis=(1, 2, 3)).all()
    other = make(replace(SMALL, seed=8, train=40))
    assert (other.train.images != faces.train.images[:40]).any(axis=(1, 2, 3)).all()


def test_images_of_another_size_show_the_same_faces(faces: SyntheticFaces) -> None:
    larger = make(replace(SMALL, image_size=96, train=40))
    assert larger.train.images.shape == (40, 1, 96, 96)
    assert (larger.train.labels == faces.train.labels[:40]).all()
    halved = larger.train.images.reshape(40, 48, 2, 48, 2).mean(axis=(2, 4))
    first, second = halved.ravel(), faces.train.images[:40].ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.95


def test_harder_faces_are_noisier_and_lower_in_contrast() -> None:
    easy, hard = (
        make(SyntheticOptions(train=80, val=8, test=8, difficulty=at)).train.images.astype(float)
        for at in (0.0, 1.0)
    )

    def roughness(images: np.ndarray) -> float:
        return float(np.median(np.abs(np.diff(images, axis=3))))  # most pixels lie off any edge

    assert roughness(hard) > 2 * roughness(easy)
    assert hard.std(axis=(1, 2, 3)).mean() < easy.std(axis=(1, 2, 3)).mean()


def test_expressions_change_the_picture_more_when_they_are_stronger() -> None:
    split = make(SyntheticOptions(train=1200, val=8, test=8, difficulty=0.0)).train
    mouth = split.images[:, 0, 34:46, 16:32].astype(float).std(axis=(1, 2))
    surprised = split.labels == CLASS_ORDER.index("surprise")
    strong, faint = (
        surprised & part for part in (split.intensities > 0.7, split.intensities < 0.4)
    )
    assert mouth[strong].mean() > 1.3 * mouth[faint].mean()
