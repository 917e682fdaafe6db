from pathlib import Path

import numpy as np
import pytest
from data_samples import FER2013_NAMES, class_folders, face, save
from PIL import Image

from fersearch.data import load_data
from fersearch.errors import InputError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_folder_copy_of_fer2013_is_mapped_by_name_not_by_position(
    tmp_path: Path, cache: Path
) -> None:
    root = tmp_path / "faces"
    for split in ("train", "val", "test"):
        for number, name in enumerate(FER2013_NAMES):
            image = face(number)
            image[0, 0] = 10 * number
            save(root / split / name / "a.png", image)
            save(root / split / name / "b.png", image)
    data = load_data(str(root), cache=cache)
    assert data.info.classes == (
        "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear",
    )  # fmt: skip
    ours = dict(zip(FER2013_NAMES, (4, 5, 6, 1, 3, 2, 0), strict=True))
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        assert label == ours[FER2013_NAMES[image[0, 0, 0] // 10]]


def test_a_folder_without_splits_is_split_six_two_two_by_the_seed(
    tmp_path: Path, cache: Path
) -> None:
    root = class_folders(tmp_path / "faces", ("happy", "sad", "neutral"), count=10)
    first = load_data(str(root), cache=cache)
    assert first.info.totals == {"train": 18, "val": 6, "test": 6}
    assert first.info.counts["test"] == {"neutral": 2, "happiness": 2, "sadness": 2}
    assert load_data(str(root), cache=tmp_path / "b").info.sha256 == first.info.sha256
    other = load_data(str(root), cache=cache, split_seed=1)
    assert other.info.sha256 != first.info.sha256
    assert other.info.notes == ("split 6:2:2, stratified, split seed 1",)


@pytest.mark.parametrize(
    "names", [("training", "valid", "testing"), ("Training", "PublicTest", "PrivateTest")]
)
def test_split_folders_may_be_spelled_in_other_ways(
    tmp_path: Path, cache: Path, names: tuple[str, ...]
) -> None:
    for count, name in zip((5, 3, 2), names, strict=True):
        class_folders(tmp_path / "faces" / name, ("happy", "sad"), count=count)
    info = load_data(str(tmp_path / "faces"), cache=cache).info
    assert info.totals == {"train": 10, "val": 6, "test": 4}


def test_train_and_test_alone_get_a_validation_split_from_train(
    tmp_path: Path, cache: Path
) -> None:
    class_folders(tmp_path / "faces" / "train", ("happy", "sad"), count=20)
    class_folders(tmp_path / "faces" / "test", ("happiness", "sadness"), count=4, seed=500)
    info = load_data(str(tmp_path / "faces"), cache=cache).info
    assert info.totals == {"train": 34, "val": 6, "test": 8}


def test_own_classes_are_kept_with_a_note(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "faces", ("sleepy", "awake", "happy"))
    info = load_data(str(root), cache=cache).info
    assert info.classes == ("awake", "happy", "sleepy")
    assert "class names are kept as given" in info.notes[0]


def test_other_folders_beside_the_splits_are_left_aside(tmp_path: Path, cache: Path) -> None:
    for name in ("train", "val", "test"):
        class_folders(tmp_path / "faces" / name, ("happy", "sad"))
    save(tmp_path / "faces" / "masks" / "a.png", face(0))
    (tmp_path / "faces" / ".git").mkdir()
    info = load_data(str(tmp_path / "faces"), cache=cache).info
    assert info.notes == ("folders left aside: masks",)


def test_classes_that_differ_between_splits_are_named(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "faces" / "train", ("happy", "sad", "fear"))
    class_folders(tmp_path / "faces" / "test", ("happy", "sad", "angry"))
    with pytest.raises(
        InputError, match="test has anger but train has not, and train has fear but test has not"
    ):
        load_data(str(tmp_path / "faces"), cache=cache)


def test_empty_class_folders_are_named(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "flat", ("happy", "sad"))
    (root / "fear").mkdir()
    with pytest.raises(InputError, match="no images in the class folder fear of"):
        load_data(str(root), cache=cache)
    for name in ("train", "val"):
        class_folders(tmp_path / "split" / name, ("happy", "sad"))
    (tmp_path / "split" / "val" / "fear").mkdir()
    with pytest.raises(InputError, match="no images in the class folder val/fear of"):
        load_data(str(tmp_path / "split"), cache=cache)


def test_one_class_is_refused(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "faces", ("happy",))
    with pytest.raises(InputError, match="only one class with training images: happiness"):
        load_data(str(root), cache=cache)


def test_too_few_images_are_refused(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "faces", ("happy", "sad"), count=2)
    with pytest.raises(InputError, match="the class happiness has 2 images, too few to split"):
        load_data(str(root), cache=cache)


def test_split_folders_without_train_or_twice_are_refused(tmp_path: Path, cache: Path) -> None:
    class_folders(tmp_path / "a" / "test", ("happy", "sad"))
    with pytest.raises(InputError, match="has test but no train folder"):
        load_data(str(tmp_path / "a"), cache=cache)
    class_folders(tmp_path / "b" / "val", ("happy", "sad"))
    class_folders(tmp_path / "b" / "valid", ("happy", "sad"))
    with pytest.raises(InputError, match="two folders for the val split: val, valid"):
        load_data(str(tmp_path / "b"), cache=cache)


def test_a_folder_asked_for_but_empty(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "faces").mkdir()
    with pytest.raises(InputError, match="no class folders in"):
        load_data(f"folder:{tmp_path}/faces", cache=cache)


def test_links_are_followed_once(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "faces", ("happy", "sad"))
    (root / "happy" / "loop").symlink_to(root)
    elsewhere = class_folders(tmp_path / "more", ("fear",), seed=9)
    (root / "fear").symlink_to(elsewhere / "fear")
    info = load_data(str(root), cache=cache).info
    assert info.classes == ("happiness", "sadness", "fear")
    assert sum(info.totals.values()) == 15


def test_small_square_images_keep_their_size(tmp_path: Path, cache: Path) -> None:
    info = load_data(
        str(class_folders(tmp_path / "a", ("happy", "sad"), side=40)), cache=cache
    ).info
    assert (info.image_size, info.channels) == (40, 1)
    assert len(info.notes) == 1


def test_large_or_unequal_images_become_112_and_a_note_says_so(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "a", ("happy", "sad"), side=80)
    info = load_data(str(root), cache=cache).info
    assert info.image_size == 112
    assert "images are 80x80 px: resized to 112 px" in info.notes[-1]
    save(root / "happy" / "0.png", face(0, 48)[:, :30])
    info = load_data(str(root), cache=cache).info
    assert "images differ in size" in info.notes[-2]
    assert info.notes[-1].startswith("1 images are not square")


def test_a_wished_size_is_kept_apart_in_the_store(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "a", ("happy", "sad"), side=48)
    assert load_data(str(root), cache=cache, image_size=24).train.images.shape[1:] == (1, 24, 24)
    assert load_data(str(root), cache=cache).train.images.shape[1:] == (1, 48, 48)
    for wrong in (0, 7, 5000):
        with pytest.raises(InputError, match="must be from 8 to 1024 px"):
            load_data(str(root), cache=cache, image_size=wrong)


def test_shrinking_averages_what_it_covers(tmp_path: Path, cache: Path) -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a chequerboard is grey from afar
    for name in ("happy", "sad"):
        for k in range(3):
            save(tmp_path / "a" / name / f"{k}.png", board.astype(np.uint8))
    data = load_data(str(tmp_path / "a"), cache=cache, image_size=16)
    assert abs(data.train.images[:, :, 4:12, 4:12].astype(int) - 127).max() <= 3


def test_one_colour_image_makes_all_colour(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "a", ("happy", "sad"))
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 200
    save(root / "happy" / "0.png", red)
    data = load_data(str(root), cache=cache)
    assert data.info.channels == 3
    assert "all are kept in colour" in data.info.notes[-1]
    images = np.concatenate([data.split(name).images for name in ("train", "val", "test")])
    assert (images == red.transpose(2, 0, 1)).all(axis=(1, 2, 3)).sum() == 1
    grey = (images[:, 0] == images[:, 1]).all(axis=(1, 2))
    assert grey.sum() == 9


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path, cache: Path) -> None:
    for name, level in (("happy", 65535), ("sad", 32896)):
        for k in range(3):
            path = tmp_path / "a" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((48, 48), level, np.uint16)).save(path)
    data = load_data(str(tmp_path / "a"), cache=cache)
    assert data.info.channels == 1
    assert [int(image.max()) for image in data.train.images] == [255, 128]


def test_photographs_are_turned_upright(tmp_path: Path, cache: Path) -> None:
    image = np.zeros((48, 48), np.uint8)
    image[:24] = 200  # bright above
    for name in ("happy", "sad"):
        for k in range(3):
            path = tmp_path / "a" / name / f"{k}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = 3  # the camera was upside down
            Image.fromarray(image).save(path, exif=exif)
    data = load_data(str(tmp_path / "a"), cache=cache)
    assert data.train.images[0, 0, 40, 24] > 150
