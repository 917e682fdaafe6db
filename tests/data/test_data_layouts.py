from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from data_samples import face, save

from fersearch.data import load_data
from fersearch.errors import InputError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write_rafdb(root: Path, labels: Iterable[int] = range(1, 8), per_label: int = 8) -> Path:
    """1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral."""
    lines = []
    for split, count in (("train", per_label), ("test", 2)):
        for label in labels:
            for _ in range(count):
                name = f"{split}_{len(lines):05d}"
                path = root / "Image" / "aligned" / f"{name}_aligned.jpg"
                save(path, np.full((100, 100, 3), 20 * label, np.uint8))
                lines.append(f"{name}.jpg {label}\n")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines) + "\n")
    return root


def test_rafdb_numbers_become_our_classes_and_validation_comes_from_train(
    tmp_path: Path, cache: Path
) -> None:
    data = load_data(str(write_rafdb(tmp_path / "raf")), cache=cache)
    info = data.info
    assert (info.kind, info.channels, info.image_size) == ("rafdb", 3, 112)
    assert info.totals == {"train": 49, "val": 7, "test": 14}
    assert all(count == 1 for count in info.counts["val"].values())
    brightness = data.test.images[:, 0, 0, 0].astype(int)
    by_class = {info.classes[label]: value for label, value in zip(data.test.labels, brightness)}  # noqa: B905
    for number, name in enumerate(
        ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), start=1
    ):
        assert abs(by_class[name] - 20 * number) <= 2
    assert any("no validation split" in note for note in info.notes)


def test_rafdb_is_found_in_the_folder_above_basic(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "raf" / "compound").mkdir(parents=True)
    write_rafdb(tmp_path / "raf" / "basic")
    assert load_data(str(tmp_path / "raf"), cache=cache).info.kind == "rafdb"


def test_rafdb_compound_subset_is_refused_by_name(tmp_path: Path, cache: Path) -> None:
    root = write_rafdb(tmp_path / "raf", labels=range(1, 12), per_label=1)
    with pytest.raises(InputError, match=r"line 8: the label 8 belongs to RAF-DB's compound"):
        load_data(str(root), cache=cache)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00001.jpg", "is not an image and a number"),
        ("train_00001.jpg five", "is not an image and a number"),
        ("train_00001.jpg 12", "the label 12 is not from 1 to 7"),
        ("train_00001.jpg 0", "the label 0 is not from 1 to 7"),
        ("val_00001.jpg 3", "starts neither with train_ nor test_"),
    ],
)
def test_rafdb_bad_lines_are_named(tmp_path: Path, cache: Path, line: str, message: str) -> None:
    root = write_rafdb(tmp_path / "raf", per_label=1)
    (root / "EmoLabel" / "list_patition_label.txt").write_text(f"\n{line}\n")
    with pytest.raises(InputError, match=rf"list_patition_label.txt, line 2: .*{message}"):
        load_data(str(root), cache=cache)


def test_rafdb_packed_images_are_to_be_unpacked(tmp_path: Path, cache: Path) -> None:
    root = write_rafdb(tmp_path / "raf", per_label=1)
    (root / "Image" / "aligned").rename(root / "elsewhere")
    with pytest.raises(InputError, match="has no images in Image/aligned; add the aligned faces"):
        load_data(str(root), cache=cache)
    (root / "Image" / "aligned.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"run `unzip aligned.zip`"):
        load_data(str(root), cache=cache)


def test_rafdb_asked_for_but_not_there(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"no RAF-DB in .*; looked for EmoLabel/"):
        load_data(f"rafdb:{tmp_path}", cache=cache)


def write_affectnet(
    root: Path, per_label: tuple[int, int] = (8, 2), *, as_text: bool = True
) -> Path:
    """0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt."""
    number = 0
    for folder, count in zip(("train_set", "val_set"), per_label, strict=True):
        (root / folder / "annotations").mkdir(parents=True)
        for label in range(8):
            for _ in range(count):
                image = face(number, 64, colour=True)
                image[:8, :8] = 30 * label
                save(root / folder / "images" / f"{number}.png", image)
                value = str(label) if as_text else label
                np.save(root / folder / "annotations" / f"{number}_exp.npy", value)
                number += 1
    return root


@pytest.mark.parametrize("as_text", [True, False])
def test_affectnet_validation_set_is_the_test_split(
    tmp_path: Path, cache: Path, as_text: bool
) -> None:
    data = load_data(str(write_affectnet(tmp_path / "a", as_text=as_text)), cache=cache)
    info = data.info
    assert (info.kind, info.image_size, info.channels) == ("affectnet", 64, 3)
    assert info.totals == {"train": 56, "val": 8, "test": 16}
    ours = [info.classes.index(name) for name in (
        "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
    )]  # fmt: skip
    corner = data.test.images[:, 0, 4, 4] // 30
    assert [ours[number] for number in corner] == data.test.labels.tolist()
    assert any("validation set is the test split" in note for note in info.notes)
    assert any("15% of train" in note for note in info.notes)


def test_affectnet_without_contempt_has_seven_classes(tmp_path: Path, cache: Path) -> None:
    root = write_affectnet(tmp_path / "a")
    for path in root.rglob("*_exp.npy"):
        if np.load(path) == "7":
            path.unlink()
            (path.parent.parent / "images" / path.name.replace("_exp.npy", ".png")).unlink()
    info = load_data(str(root), cache=cache).info
    assert info.classes[-1] == "fear"
    assert len(info.classes) == 7


def test_affectnet_images_without_annotation_are_skipped_by_name(
    tmp_path: Path, cache: Path
) -> None:
    root = write_affectnet(tmp_path / "a", per_label=(12, 3))
    (root / "train_set" / "annotations" / "5_exp.npy").unlink()
    info = load_data(str(root), cache=cache).info
    assert info.skipped == ("train_set/images/5.png (no annotation)",)
    assert sum(info.totals.values()) == 119
    (root / "train_set" / "annotations" / "6_exp.npy").unlink()
    with pytest.raises(InputError, match=r"2 of 120 images cannot be read .* \(no annotation\)"):
        load_data(str(root), cache=cache)


def test_affectnet_bad_annotations_are_named(tmp_path: Path, cache: Path) -> None:
    root = write_affectnet(tmp_path / "a", per_label=(2, 2))
    path = root / "train_set" / "annotations" / "3_exp.npy"
    np.save(path, "8")
    with pytest.raises(InputError, match=r"3_exp.npy: the label \['8'\] is not one from 0 to 7"):
        load_data(str(root), cache=cache)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"3_exp.npy is not an expression label"):
        load_data(str(root), cache=cache)


def test_affectnet_without_its_validation_set_is_refused(tmp_path: Path, cache: Path) -> None:
    root = write_affectnet(tmp_path / "a", per_label=(1, 1))
    (root / "val_set").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="val_set has no annotated images"):
        load_data(str(root), cache=cache)


def test_an_unknown_layout_says_what_was_looked_for(tmp_path: Path, cache: Path) -> None:
    save(tmp_path / "faces" / "loose.png", face(0))
    with pytest.raises(InputError) as caught:
        load_data(str(tmp_path / "faces"), cache=cache)
    text = str(caught.value)
    assert "\n" not in text
    for part in ("FER2013", "FERPlus", "RAF-DB", "AffectNet", "class folders"):
        assert part in text


def test_an_option_of_another_layout_is_refused(tmp_path: Path, cache: Path) -> None:
    root = write_rafdb(tmp_path / "raf", per_label=2)
    with pytest.raises(InputError, match=r"the option rule does not fit .* belongs to ferplus"):
        load_data(f"{root}?rule=majority", cache=cache)


def test_nothing_there_and_broken_archives_are_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere"):
        load_data(str(tmp_path / "nowhere"), cache=cache)
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"a.zip is not a whole zip archive"):
        load_data(str(tmp_path / "a.zip"), cache=cache)
