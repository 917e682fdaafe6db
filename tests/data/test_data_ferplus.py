from pathlib import Path

import numpy as np
import pytest
from data_samples import (
    VOTE_HEADER,
    face,
    fer2013_rows,
    pixel_text,
    png,
    save,
    write_csv,
    write_fer2013,
    zipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.data import CLASS_ORDER, load_data
from fersearch.data.readers.ferplus import label_votes
from fersearch.errors import InputError

# neutral happiness surprise sadness anger disgust fear contempt unknown NF -> majority, argmax
RULED = [
    ((0, 5, 1, 1, 1, 1, 0, 0, 1, 0), 1, 1),  # the single votes go: 5 of 5
    ((5, 3, 1, 1, 0, 0, 0, 0, 0, 0), 0, 0),  # 5 of 8
    ((5, 3, 2, 0, 0, 0, 0, 0, 0, 0), -1, 0),  # 5 of 10 is not more than half
    ((5, 5, 0, 0, 0, 0, 0, 0, 0, 0), -1, 0),  # a tie goes to the first
    ((0, 0, 0, 5, 0, 0, 0, 0, 5, 0), -1, 3),  # also against unknown
    ((0, 0, 0, 2, 0, 0, 0, 0, 8, 0), -1, -1),  # unknown wins
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), -1, -1),  # no face
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), -1, 0),  # nothing left
    ((0, 0, 0, 0, 0, 0, 0, 4, 3, 0), 7, 7),  # unknown's votes count in the sum: 4 of 7
    ((0, 0, 0, 0, 0, 0, 0, 4, 4, 0), -1, 7),
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 0), -1, -1),
]

USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def clear(position: int, count: int = 10) -> list[int]:
    return [count if column == position else 0 for column in range(10)]


@pytest.mark.parametrize(("votes", "majority", "argmax"), RULED)
def test_rules(votes: list[int], majority: int, argmax: int) -> None:
    assert label_votes(np.array([votes]), "majority").tolist() == [majority]
    assert label_votes(np.array([votes]), "argmax").tolist() == [argmax]


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
@settings(max_examples=200, deadline=None)
def test_a_majority_is_always_the_argmax_too(votes: list[int]) -> None:
    majority = label_votes(np.array([votes]), "majority")[0]
    assert majority in (-1, label_votes(np.array([votes]), "argmax")[0])


def write_pair(folder: Path, votes_of: dict[int, list[object]] | None = None) -> Path:
    """Two rows of each of three classes in each split; names that are no row numbers."""
    votes, rows = [], []
    for usage in USAGES:
        for position in (0, 1, 6):
            for _ in range(2):
                number = len(rows)
                rows.append((3, pixel_text(number), usage))
                name = f"fer{9000 - 7 * number:07d}.png"
                votes.append([usage, name, *clear(position)])
    for at, changed in (votes_of or {}).items():
        votes[at][1:] = changed
    write_fer2013(folder / "fer2013.csv", rows)
    write_csv(folder / "fer2013new.csv", VOTE_HEADER, votes)
    return folder


def test_the_pair_is_joined_by_row_not_by_name(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a", {0: ["fer0000005.png", 1, 6, 0, 0, 0, 0, 0, 0, 3, 0]})
    data = load_data(str(folder), cache=cache)
    assert data.info.kind == "ferplus"
    assert data.info.label_rule == "majority"
    assert data.info.classes == ("neutral", "happiness", "fear")
    assert data.train.labels.tolist() == [1, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data.train.images[0, 0], face(0))
    np.testing.assert_array_equal(data.val.images[5, 0], face(11))
    # Votes are kept raw, over the classes: 1 of 7 for neutral, though the rule ignores it.
    np.testing.assert_allclose(data.train.votes[0], [1 / 7, 6 / 7, 0], rtol=1e-6)
    np.testing.assert_allclose(data.test.votes.sum(axis=1), 1, rtol=1e-6)


def test_the_rule_changes_what_is_kept(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a", {1: ["x.png", 4, 4, 0, 0, 0, 0, 0, 0, 2, 0]})
    majority = load_data(str(folder), cache=cache)
    argmax = load_data(f"{folder}?rule=argmax", cache=cache)
    assert (majority.info.totals["train"], argmax.info.totals["train"]) == (5, 6)
    assert argmax.info.label_rule == "argmax"
    assert (
        majority.info.notes[0] == "images without a clear class, left out by the majority rule: 1"
    )
    assert majority.info.sha256 != argmax.info.sha256


def test_rows_without_a_name_are_judged_by_their_votes(tmp_path: Path, cache: Path) -> None:
    changes = {0: ["", *clear(9)], 1: ["", *clear(1)]}
    data = load_data(str(write_pair(tmp_path / "a", changes)), cache=cache)
    assert data.train.labels.tolist() == [1, 1, 1, 2, 2]


def test_the_same_folder_is_fer2013_when_asked_for(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    (folder / "fer2013.csv").unlink()
    write_fer2013(folder / "fer2013.csv", fer2013_rows(1))
    assert load_data(f"fer2013:{folder}", cache=cache).info.kind == "fer2013"


def test_votes_may_lie_elsewhere(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    here = load_data(str(folder), cache=cache).info
    votes = (folder / "fer2013new.csv").rename(tmp_path / "votes.csv")
    for spec in (f"ferplus:{folder}?labels={votes}", f"{folder}/fer2013.csv?labels={votes}"):
        assert load_data(spec, cache=cache).info.sha256 == here.sha256


def test_a_changed_label_file_is_noticed(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    votes = (folder / "fer2013new.csv").rename(tmp_path / "votes.csv")
    before = load_data(f"ferplus:{folder}?labels={votes}", cache=cache).info
    text = votes.read_text().replace("0,10,0", "10,0,0", 1)
    votes.write_text(text)
    assert load_data(f"ferplus:{folder}?labels={votes}", cache=cache).info.sha256 != before.sha256


def test_pairs_that_do_not_belong_together_are_refused(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    lines = (folder / "fer2013new.csv").read_text().splitlines()
    (folder / "fer2013new.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=r"has 17 rows but .*fer2013.csv has 18"):
        load_data(str(folder), cache=cache)
    lines[1] = lines[1].replace("Training", "PublicTest")
    (folder / "fer2013new.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"line 2: its Usage is not that of the same row"):
        load_data(str(folder), cache=cache)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Training,a.png,1,2,3", "line 2: 5 columns where 12 belong"),
        ("Traning,a.png,0,0,0,0,0,0,0,0,0,1", "line 2: unknown Usage 'Traning'"),
        ("Training,a.png,0,0,0,-1,0,0,0,0,0,1", "line 2: '-1' is not a number of votes"),
        ("", "fer2013new.csv has no rows"),
    ],
)
def test_bad_vote_rows_are_named(tmp_path: Path, cache: Path, line: str, message: str) -> None:
    folder = write_pair(tmp_path / "a")
    (folder / "fer2013new.csv").write_text(",".join(VOTE_HEADER) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        load_data(str(folder), cache=cache)


def test_missing_vote_columns_are_named(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    (folder / "fer2013new.csv").write_text("Usage,neutral,contempt,NF\nTraining,1,0,0\n")
    with pytest.raises(InputError, match="has no column image name, happiness"):
        load_data(str(folder), cache=cache)


def test_an_unknown_rule_is_named(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    with pytest.raises(InputError, match="unknown FERPlus label rule 'major'"):
        load_data(f"{folder}?rule=major", cache=cache)


def test_votes_without_images_or_pixels_are_refused(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    pixels = (folder / "fer2013.csv").rename(tmp_path / "fer2013.csv")
    with pytest.raises(InputError, match="neither a pixel csv nor an image named in it"):
        load_data(str(folder), cache=cache)
    with pytest.raises(InputError, match=r"give the folder, or name the votes with \?labels"):
        load_data(f"ferplus:{pixels}", cache=cache)


def write_prepared(root: Path, *, box: str = "(0, 0, 48, 48)", per_class: int = 2) -> Path:
    for at, folder in enumerate(("FER2013Train", "FER2013Valid", "FER2013Test")):
        rows = []
        for position in (0, 1, 6):
            for k in range(per_class):
                number = 100 * at + 10 * position + k
                name = f"fer{number:07d}.png"
                save(root / folder / name, face(number))
                rows.append((name, box, *clear(position)))
        rows.append(("unclear.png", box, *clear(0, 3)[:8], 5, 0))  # left out, need not exist
        with (root / folder / "label.csv").open("w") as file:
            file.writelines(f'{r[0]},"{r[1]}",{",".join(map(str, r[2:]))}\n' for r in rows)
    return root


def test_prepared_folders_are_read_in_place_and_from_archives(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces")
    data = load_data(str(root), cache=cache)
    assert data.info.kind == "ferplus"
    assert data.info.totals == {"train": 6, "val": 6, "test": 6}
    assert data.info.notes[0].endswith("left out by the majority rule: 3")
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data.test.images[2, 0], face(210))
    for name, top in (("plain.zip", ""), ("wrapped.zip", "faces/")):
        archive = zipped(root, tmp_path / name, top)
        assert load_data(str(archive), cache=cache).info.sha256 == data.info.sha256


def test_prepared_folders_win_over_the_csv_on_top(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces")
    write_csv(root / "fer2013new.csv", VOTE_HEADER, [])
    assert "prepared" in load_data(str(root), cache=cache).info.layout


def test_face_boxes_are_cut_out(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces", box="(4, 8, 36, 40)")
    data = load_data(str(root), cache=cache)
    assert data.info.image_size == 32
    np.testing.assert_array_equal(data.train.images[0, 0], face(0)[8:40, 4:36])


@pytest.mark.parametrize(
    ("box", "message"),
    [("(0, 0, 48)", "is not a face box"), ("(9, 0, 9, 48)", "the face box .* is empty")],
)
def test_bad_boxes_are_named(tmp_path: Path, cache: Path, box: str, message: str) -> None:
    root = write_prepared(tmp_path / "faces", box=box)
    with pytest.raises(InputError, match=rf"FER2013Train/label.csv, line 1: .*{message}"):
        load_data(str(root), cache=cache)


def test_bad_label_lists_are_named(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces")
    labels = root / "FER2013Valid" / "label.csv"
    labels.write_text("a.png,1,2\n")
    with pytest.raises(InputError, match=r"FER2013Valid/label.csv, line 1: 3 columns"):
        load_data(str(root), cache=cache)
    labels.write_text("")
    with pytest.raises(InputError, match=r"FER2013Valid/label.csv has no rows"):
        load_data(str(root), cache=cache)


def test_prepared_folders_without_images_say_how_to_make_them(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces")
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"has a label.csv but no images; make them with"):
        load_data(str(root), cache=cache)


def test_images_named_in_the_vote_file(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "faces"
    rows = []
    for usage in USAGES:
        for position in (0, 1):
            name = f"fer{len(rows):07d}.png"
            save(root / usage / name, face(len(rows)))
            rows.append((usage, name, *clear(position)))
    rows.append(("Training", "", *clear(0)))
    write_csv(root / "fer2013new.csv", VOTE_HEADER, rows)
    data = load_data(str(root), cache=cache)
    assert data.info.totals == {"train": 2, "val": 2, "test": 2}
    np.testing.assert_array_equal(data.val.images[1, 0], face(3))
    save(root / "copy" / "fer0000000.png", face(0))
    with pytest.raises(InputError, match=r"two images in .* are named fer0000000.png"):
        load_data(str(root), cache=cache)


def test_two_vote_files_need_a_choice(tmp_path: Path, cache: Path) -> None:
    folder = write_pair(tmp_path / "a")
    text = (folder / "fer2013new.csv").read_text()
    (folder / "votes_b.csv").write_text(text)
    assert load_data(str(folder), cache=cache).info.totals["train"] == 6
    (folder / "fer2013new.csv").rename(folder / "votes_a.csv")
    with pytest.raises(InputError, match=r"several FERPlus csv files .* choose one with"):
        load_data(str(folder), cache=cache)
    spec = f"ferplus:{folder}?labels=votes_b.csv"
    assert load_data(spec, cache=cache).info.totals["train"] == 6


def test_all_eight_classes_stand_in_the_one_order(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "faces"
    for folder in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        lines = []
        for position in reversed(range(8)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{position}.png").write_bytes(png(face(position)))
            votes = ",".join(map(str, clear(position)))
            lines.append(f'{position}.png,"(0, 0, 48, 48)",{votes}\n')
        (root / folder / "label.csv").write_text("".join(lines))
    data = load_data(str(root), cache=cache)
    assert data.info.classes == CLASS_ORDER
    assert data.train.labels.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_an_image_missing_from_a_prepared_folder_is_named(tmp_path: Path, cache: Path) -> None:
    root = write_prepared(tmp_path / "faces")
    (root / "FER2013Valid" / "fer0000110.png").unlink()
    with pytest.raises(InputError, match=r"FER2013Valid/fer0000110.png \(missing\)"):
        load_data(str(root), cache=cache)


def test_a_damaged_image_in_an_archive_is_named(tmp_path: Path, cache: Path) -> None:
    archive = zipped(write_prepared(tmp_path / "faces"), tmp_path / "faces.zip")
    content = bytearray(archive.read_bytes())
    at = content.find(b"FER2013Train/fer0000000.png") + 500  # inside the stored image
    content[at] ^= 255
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"FER2013Train/fer0000000.png \(damaged in the archive"):
        load_data(str(archive), cache=cache)
