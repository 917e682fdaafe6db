import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.data.pictures import PixelPictures
from fersearch.data.readers import RawData, RawSplit
from fersearch.data.splits import (
    allocate,
    arrange,
    carve,
    drop_absent_classes,
    limit_splits,
    split_three_ways,
)
from fersearch.errors import InputError

CLASSES = ("neutral", "happiness", "fear")


def split(*counts: int, votes: np.ndarray | None = None) -> RawSplit:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    pixels = np.zeros((len(labels), 2, 2), np.uint8)
    names = tuple(f"{label}-{k}" for k, label in enumerate(labels))
    return RawSplit(PixelPictures(pixels, names), labels, votes)


def data(**splits: RawSplit) -> RawData:
    return RawData("folder", "a layout", "given", CLASSES, splits)


def counts(raw: RawSplit) -> list[int]:
    return np.bincount(raw.labels, minlength=3).tolist()


many = st.lists(st.integers(3, 60), min_size=1, max_size=6)


@given(many, st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_three_ways_is_a_partition_with_every_class_in_proportion(
    sizes: list[int], seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = split_three_ways(labels, seed)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            got = int((labels[rows[name]] == label).sum())
            assert got >= 1
            assert abs(got - share * size) <= 1.001


def test_ten_of_a_class_split_six_two_two() -> None:
    rows = split_three_ways(np.zeros(10, np.int64), 0)
    assert [len(rows[name]) for name in ("train", "val", "test")] == [6, 2, 2]


def test_the_seed_decides_and_nothing_else() -> None:
    labels = np.repeat([0, 1], 50)
    first, again, other = (split_three_ways(labels, seed)["test"] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@given(many, st.floats(0.05, 0.5), st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_carving_is_a_partition_that_leaves_and_takes_some_of_every_class(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    stay, taken = carve(labels, share, seed)
    assert sorted([*stay.tolist(), *taken.tolist()]) == list(range(len(labels)))
    assert set(labels[stay]) == set(labels[taken]) == set(range(len(sizes)))


def test_carving_leaves_a_lone_image_in_train() -> None:
    stay, taken = carve(np.array([0, 1, 1]), 0.15, 0)
    assert 0 in stay
    assert len(taken) == 1


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_allocation_keeps_total_and_minima(sizes: list[int], total: int) -> None:
    sizes = np.array(sizes)
    given_out = allocate(sizes, total, 3)
    least = np.minimum(sizes, 3)
    assert (given_out >= least).all()
    assert (given_out <= sizes).all()
    assert given_out.sum() == max(min(total, sizes.sum()), least.sum())


def test_allocation_is_proportional() -> None:
    assert allocate(np.array([60, 30, 10]), 50, 3).tolist() == [30, 15, 5]


def test_a_limit_keeps_the_same_fraction_of_every_split() -> None:
    raw = limit_splits(
        data(train=split(60, 30, 10), val=split(12, 6, 2), test=split(24, 12, 4)), 50, 0
    )
    assert counts(raw.splits["train"]) == [30, 15, 5]
    assert counts(raw.splits["test"]) == [11, 6, 3]  # 20 in all, at least three of each class
    assert len(raw.splits["val"]) == 10
    assert counts(raw.splits["val"])[2] == 2
    assert "50 of 100" in raw.notes[-1]


def test_a_limit_above_the_size_changes_nothing() -> None:
    raw = data(train=split(5, 5, 5), val=split(1, 1, 1), test=split(1, 1, 1))
    assert limit_splits(raw, 15, 0) is raw


def test_smaller_limits_choose_among_the_images_of_larger_ones() -> None:
    raw = data(train=split(60, 30, 10), val=split(5, 5, 5), test=split(5, 5, 5))
    small, large = (limit_splits(raw, n, 3).splits["train"].pictures.names for n in (20, 60))
    assert set(small) < set(large)


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(InputError, match="limit=2 leaves no training image for some of the 3"):
        limit_splits(data(train=split(5, 5, 5), val=split(1), test=split(1)), 2, 0)


def test_all_splits_given_are_left_alone() -> None:
    raw = data(test=split(1, 1, 1), train=split(4, 4, 4), val=split(2, 2, 2))
    done = arrange(raw, 0)
    assert list(done.splits) == ["train", "val", "test"]
    assert counts(done.splits["train"]) == [4, 4, 4]
    assert done.notes == ()


def test_no_splits_or_only_train_become_six_two_two() -> None:
    for name in ("whole", "train"):
        done = arrange(data(**{name: split(10, 20, 5)}), 7)
        assert counts(done.splits["train"]) == [6, 12, 3]
        assert counts(done.splits["val"]) == counts(done.splits["test"]) == [2, 4, 1]
        assert done.notes == ("split 6:2:2, stratified, split seed 7",)


def test_missing_validation_is_carved_from_train() -> None:
    done = arrange(data(train=split(20, 40, 20), test=split(3, 3, 3)), 0)
    assert counts(done.splits["val"]) == [3, 6, 3]
    assert counts(done.splits["train"]) == [17, 34, 17]
    assert counts(done.splits["test"]) == [3, 3, 3]
    assert "15% of train" in done.notes[0]


def test_missing_test_takes_the_validation_split_so_that_search_never_sees_it() -> None:
    validation = split(4, 4, 4)
    done = arrange(data(train=split(20, 20, 20), val=validation), 0)
    assert done.splits["test"] is validation
    assert counts(done.splits["val"]) == [3, 3, 3]
    assert "serves as test" in done.notes[0]


def test_too_few_to_split_and_no_training_images_are_refused() -> None:
    with pytest.raises(InputError, match="class happiness has 2 images, too few to split"):
        arrange(data(whole=split(5, 2, 5)), 0)
    with pytest.raises(InputError, match="no training images"):
        arrange(data(val=split(5, 2, 5), test=split(1)), 0)


def test_absent_classes_leave_labels_and_votes_consistent() -> None:
    labels = np.array([0, 2, 2])
    votes = np.array([[0.5, 0.25, 0.25], [0, 0, 1], [0.5, 0, 0.5]], np.float32)
    raw = RawSplit(PixelPictures(np.zeros((3, 2, 2), np.uint8), ("a", "b", "c")), labels, votes)
    done = drop_absent_classes(data(train=raw))
    assert done.classes == ("neutral", "fear")
    assert done.splits["train"].labels.tolist() == [0, 1, 1]
    expected = [[2 / 3, 1 / 3], [0, 1], [0.5, 0.5]]
    np.testing.assert_allclose(done.splits["train"].votes, expected, rtol=1e-6)
    assert done.notes == ("no images of happiness: left out of the classes",)
