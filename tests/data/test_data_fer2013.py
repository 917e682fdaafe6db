from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from data_samples import face, fer2013_rows, pixel_text, write_csv, write_fer2013

from fersearch.data import load_data
from fersearch.errors import InputError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_numbers_become_our_classes_and_usages_our_splits(tmp_path: Path, cache: Path) -> None:
    rows = fer2013_rows(1)
    data = load_data(str(write_fer2013(tmp_path / "fer2013.csv", rows)), cache=cache)
    assert data.info.kind == "fer2013"
    assert data.info.classes == (
        "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear",
    )  # fmt: skip
    # FER2013 counts angry, disgust, fear, happy, sad, surprise, neutral.
    assert data.train.labels.tolist() == [4, 5, 6, 1, 3, 2, 0]
    assert data.train.images.shape == (7, 1, 48, 48)
    np.testing.assert_array_equal(data.train.images[0, 0], face(0))
    np.testing.assert_array_equal(data.val.images[0, 0], face(7))
    np.testing.assert_array_equal(data.test.images[6, 0], face(20))
    assert data.train.votes is None


def test_both_published_forms_are_the_same_data(tmp_path: Path, cache: Path) -> None:
    rows = fer2013_rows(1)
    first = load_data(str(write_fer2013(tmp_path / "a" / "fer2013.csv", rows)), cache=cache)
    header = ("emotion", " Usage", " pixels")
    other = [(emotion, usage, pixels) for emotion, pixels, usage in rows]
    write_csv(tmp_path / "b" / "icml_face_data.csv", header, other)
    second = load_data(str(tmp_path / "b"), cache=cache)
    assert first.info.sha256 == second.info.sha256
    assert "icml_face_data.csv" in second.info.layout


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path, cache: Path) -> None:
    path = write_fer2013(tmp_path / "fer2013.csv", fer2013_rows(1))
    plain = load_data(str(path), cache=cache).info.sha256
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_data(str(path), cache=cache).info.sha256 == plain


def test_of_several_csv_files_the_standard_name_is_taken(tmp_path: Path, cache: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv", fer2013_rows(1))
    write_fer2013(tmp_path / "other.csv")
    assert "(fer2013.csv)" in load_data(str(tmp_path), cache=cache).info.layout
    (tmp_path / "fer2013.csv").rename(tmp_path / "another.csv")
    with pytest.raises(InputError, match=r"several FER2013 csv files .* another.csv, other.csv"):
        load_data(str(tmp_path), cache=cache)


def test_without_validation_rows_it_is_carved(tmp_path: Path, cache: Path) -> None:
    rows = [row for row in fer2013_rows(8) if row[2] != "PublicTest"]
    data = load_data(str(write_fer2013(tmp_path / "fer2013.csv", rows)), cache=cache)
    assert data.info.totals == {"train": 49, "val": 7, "test": 56}


def broken(
    tmp_path: Path, row: tuple[object, ...], header: Sequence[str] = ("emotion", "pixels", "Usage")
) -> str:
    rows = [*fer2013_rows(1)[:3], row]
    return str(write_csv(tmp_path / "fer2013.csv", header, rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, "1 2 3", "Training"), "line 5: 3 pixel values where 2304 belong"),
        ((0, "", "Training"), "line 5: 0 pixel values where 2304 belong"),
        ((0, pixel_text(0) + " 7", "Training"), "line 5: 2305 pixel values"),
        ((0, "256 " + pixel_text(0)[4:], "Training"), "line 5: "),
        ((0, " ".join(["256"] + ["0"] * 2303), "Training"), "line 5: the pixel value 256 is"),
        ((0, " ".join(["-1"] + ["0"] * 2303), "Training"), "line 5: the pixel value -1 is"),
        ((0, " ".join(["0.5"] + ["0"] * 2303), "Training"), "line 5: the pixel value '0.5' is"),
        ((0, " ".join(["0"] * 2303 + ["x"]), "Training"), "line 5: the pixel value 'x' is"),
        ((0, pixel_text(0), "Trainnig"), "line 5: unknown Usage 'Trainnig'; it must be Training,"),
        ((7, pixel_text(0), "Training"), "line 5: the emotion '7' is not a number from 0 to 6"),
        (("", pixel_text(0), "Training"), "line 5: the emotion '' is not a number"),
        ((0, pixel_text(0)), "line 5: 2 columns where 3 belong"),
    ],
)
def test_bad_rows_are_named_by_line_and_leave_nothing(
    tmp_path: Path, cache: Path, row: tuple[object, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(broken(tmp_path, row), cache=cache)
    assert "fer2013.csv" in str(caught.value)
    assert [path for path in (cache / "data").iterdir() if path.name != "index"] == []


def test_missing_columns_and_empty_files_are_named(tmp_path: Path, cache: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ("emotion", "pixels"), [(0, pixel_text(0))])
    with pytest.raises(InputError, match=r"a.csv has no column Usage"):
        load_data(str(path), cache=cache)
    path = write_csv(tmp_path / "b.csv", ("emotion", "Usage"), [(0, "Training")])
    with pytest.raises(InputError, match=r"b.csv has no column pixels"):
        load_data(str(path), cache=cache)
    path = write_csv(tmp_path / "c.csv", ("emotion", "pixels", "Usage"), [])
    with pytest.raises(InputError, match=r"c.csv has no rows"):
        load_data(str(path), cache=cache)
    (tmp_path / "d.csv").write_text("")
    with pytest.raises(InputError, match=r"no FER2013 csv in .*d.csv"):
        load_data(f"fer2013:{tmp_path}/d.csv", cache=cache)


def test_a_file_that_is_no_text_is_named(tmp_path: Path, cache: Path) -> None:
    path = write_fer2013(tmp_path / "fer2013.csv", fer2013_rows(1))
    path.write_bytes(path.read_bytes() + b"\xff\xfe,\xff,\n")
    with pytest.raises(InputError, match=r"fer2013.csv, after line .*: not a csv file"):
        load_data(str(path), cache=cache)
