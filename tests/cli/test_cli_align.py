"""``fersearch data align`` as a user types it: every picture is kept, counted, and can be read."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from fersearch.api import load_data
from fersearch.api.align import align_data
from fersearch.cli.main import main
from fersearch.errors import FersearchError, InputError

CLASSES = ("happy", "sad", "neutral")


@pytest.fixture
def type_command(capsys, monkeypatch, tmp_path):
    """Run a command in this process, in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERSEARCH_WORKSPACE", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


def noise(seed: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def portrait(side: int) -> Image.Image:
    """Return a real face with some background (NASA, public domain), in colour."""
    return Image.fromarray(photographs.astronaut()[10:250, 105:345]).resize((side, side))


def save(path: Path, picture: Image.Image | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path)
    return path


def noise_folders(root: Path, *, count: int = 5, seed: int = 0, side: int = 48) -> Path:
    """Write class folders of grey noise, in which no face is found; every picture is different."""
    for at, name in enumerate(CLASSES):
        for k in range(count):
            save(root / name / f"{k}.png", noise(seed + 1000 * at + k, side))
    return root


def alignment(folder: Path) -> dict:
    return json.loads((folder / "alignment.json").read_text(encoding="utf-8"))


@pytest.fixture
def album(tmp_path) -> Path:
    """Write photographs in train, val and test: faces, two faces in one, none, a grey one."""
    root = tmp_path / "album"
    two = Image.new("RGB", (360, 200))
    two.paste(portrait(200), (0, 0))
    two.paste(portrait(150), (205, 20))
    for split in ("train", "val", "test"):
        for name in CLASSES:
            save(root / split / name / "face.png", portrait(200))
    save(root / "train" / "happy" / "two.jpg", two)
    save(root / "train" / "happy" / "grey.png", portrait(200).convert("L"))
    save(root / "train" / "sad" / "bricks.png", photographs.brick())
    return root


def test_photographs_become_class_folders_with_a_count_of_what_was_found(
    type_command, album
) -> None:
    code, out, err = type_command("data", "align", str(album), "aligned", "--size", "64")
    assert code == 0, err
    assert "aligning faces 12/12" in err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["train"] == ["6", "5", "0", "1", "1"]
    assert rows["total"] == ["12", "11", "0", "1", "1"]
    assert out.splitlines()[-1] == "aligned"
    told = alignment(Path("aligned"))
    assert told["finder"].startswith("haar ")
    assert told["size"] == 64
    assert told["splits"]["train"] == {
        "images": 6,
        "eyes": 5,
        "box_only": 0,
        "no_face": 1,
        "several_faces": 1,
        "no_face_names": ["train/sad/bricks.png"],
    }
    assert told["classes"] == ["neutral", "happiness", "sadness"]
    aligned = load_data("aligned", workspace="w", image_size=64)
    raw = load_data(str(album), workspace="w", image_size=64)
    assert aligned.info.counts == raw.info.counts
    # The same face everywhere: aligned, the pictures are alike, whether alone, in grey, or larger
    # than another.
    upright = aligned.test.images[0].astype(float)
    happy = aligned.train.images[aligned.train.labels == 1].astype(float)
    assert len(happy) == 3
    for image in happy:
        middle = np.s_[16:48, 16:48]
        colours = [upright.mean(0)[middle].ravel(), image.mean(0)[middle].ravel()]
        assert np.corrcoef(colours)[0, 1] > 0.95
    # The picture without a face is the plain picture, resized as unaligned data are.
    (bricks,) = Path("aligned/train/sadness").glob("*bricks*")
    sad = raw.train.images[raw.train.labels == 2]
    (plain,) = [image[0] for image in sad if np.ptp(image, axis=0).max() == 0]
    np.testing.assert_array_equal(np.asarray(Image.open(bricks)), plain)
    (grey,) = Path("aligned/train/happiness").glob("*grey*")
    assert Image.open(grey).mode == "L"


def test_json_is_what_the_file_says_and_nothing_else(type_command, tmp_path) -> None:
    noise_folders(tmp_path / "faces")
    code, out, err = type_command("data", "align", "faces", "aligned", "--size", "16", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content.pop("path") == str(tmp_path / "aligned")
    assert content == alignment(Path("aligned"))
    assert content["splits"]["whole"]["no_face"] == 15


def test_names_that_are_not_utf_8_are_told_and_found_again(type_command, tmp_path) -> None:
    noise_folders(tmp_path / "faces")
    odd = os.fsdecode(b"caf\xe9")
    Path("faces/happy/0.png").rename(f"faces/happy/{odd}.png")
    code, out, err = type_command("data", "align", "faces", odd, "--size", "16", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["path"] == str(tmp_path / odd)
    assert f"happy/{odd}.png" in content["splits"]["whole"]["no_face_names"]
    assert alignment(Path(odd))["splits"] == content["splits"]
    assert type_command("data", "describe", odd)[0] == 0


def test_describe_tells_how_data_were_aligned(type_command, tmp_path) -> None:
    noise_folders(tmp_path / "faces")
    code, out, _ = type_command("data", "describe", "faces")
    assert "alignment: none" in out
    type_command("data", "align", "faces", "aligned", "--size", "16", "--quiet")
    finder = alignment(Path("aligned"))["finder"]
    code, out, _ = type_command("data", "describe", "aligned")
    assert f"alignment: {finder}" in out
    with zipfile.ZipFile("aligned.zip", "w") as archive:
        for path in sorted(Path("aligned").rglob("*")):
            archive.write(path)
    code, out, err = type_command("data", "describe", "aligned.zip", "--json")
    assert code == 0, err
    assert json.loads(out)["align"] == finder
    # The same pictures without the file are not called aligned, though the store knows them.
    Path("aligned/alignment.json").unlink()
    code, out, _ = type_command("data", "describe", "aligned", "--json")
    assert json.loads(out)["align"] == "none"
    Path("aligned/alignment.json").write_text("[]", encoding="utf-8")
    code, _, err = type_command("data", "describe", "aligned")
    assert code == 2
    assert "aligned/alignment.json does not name what found the faces" in err


@pytest.mark.parametrize("seed", [0, 7])
def test_data_without_splits_get_the_same_ones_aligned_or_not(tmp_path, seed: int) -> None:
    """In noise no face is found, so aligned pictures are the plain ones and can be compared."""
    raw = noise_folders(tmp_path / "faces", count=12)
    result = align_data(str(raw), tmp_path / "aligned", size=32)
    assert sorted(item.name for item in result.path.iterdir()) == [
        "alignment.json", "happiness", "neutral", "sadness",
    ]  # fmt: skip
    plain = load_data(str(raw), workspace=tmp_path, image_size=32, split_seed=seed)
    again = load_data(str(result.path), workspace=tmp_path, image_size=32, split_seed=seed)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(again.split(split).labels, plain.split(split).labels)
        np.testing.assert_array_equal(again.split(split).images, plain.split(split).images)


def test_votes_become_labels_by_the_rule_and_a_limit_is_kept(tmp_path) -> None:
    root = tmp_path / "plus"
    for at, folder in enumerate(("FER2013Train", "FER2013Valid", "FER2013Test")):
        rows = []
        for k in range(24):
            save(root / folder / f"fer{k:04}.png", noise(100 * at + k))
            votes = [0] * 10
            votes[k % 2] = 6 if k else 5  # the first has no majority
            votes[2] = 4 if k else 5
            rows.append(f'fer{k:04}.png,"(0, 0, 48, 48)",{",".join(map(str, votes))}')
        (root / folder / "label.csv").write_text("\n".join(rows), encoding="utf-8")
    data = f"ferplus:{root}?rule=majority&limit=16"
    result = align_data(data, tmp_path / "aligned", size=16, split_seed=3)
    told = result.alignment
    assert told.label_rule == "majority"
    assert told.classes == ("neutral", "happiness")
    assert any("votes are not carried" in note for note in told.notes)
    assert any("cropped faces already" in note for note in told.notes)
    plain = load_data(data, workspace=tmp_path, image_size=16, split_seed=3)
    again = load_data(str(result.path), workspace=tmp_path)
    assert again.info.totals == plain.info.totals == {"train": 16, "val": 16, "test": 16}
    assert again.info.classes == plain.info.classes
    assert again.train.votes is None
    for split in ("train", "val", "test"):
        ours, theirs = again.split(split), plain.split(split)
        for label in (0, 1):  # class folders put one class after the other
            np.testing.assert_array_equal(
                ours.images[ours.labels == label], theirs.images[theirs.labels == label]
            )


def test_an_interrupted_run_is_continued_and_ends_as_one_that_was_not(tmp_path) -> None:
    raw = noise_folders(tmp_path / "faces", count=30)

    def stop(done: int, total: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_data(str(raw), tmp_path / "aligned", size=16, progress=stop)
    assert not (tmp_path / "aligned").exists()
    (partial,) = tmp_path.glob(".aligned.part-*")
    finished = {path.name: path.stat().st_ino for path in partial.rglob("*.png")}
    assert len(finished) >= 40
    # What a dying machine may leave: a file without content under its final name.
    damaged = sorted(partial.rglob("*.png"))[0]
    damaged.write_bytes(b"")
    result = align_data(str(raw), tmp_path / "aligned", size=16)
    assert not partial.exists()
    files = {path.name: path for path in result.path.rglob("*.png")}
    assert len(files) == 90
    kept = [name for name, inode in finished.items() if files[name].stat().st_ino == inode]
    assert len(kept) >= len(finished) - 1
    whole = align_data(str(raw), tmp_path / "whole", size=16)
    assert whole.alignment == result.alignment
    for path in whole.path.rglob("*.png"):
        assert path.read_bytes() == (result.path / path.relative_to(whole.path)).read_bytes()
    assert not list(result.path.rglob("*.part"))
    assert not (result.path / ".lock").exists()


def test_other_terms_do_not_continue_what_was_begun(tmp_path) -> None:
    raw = noise_folders(tmp_path / "faces", count=30)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_data(str(raw), tmp_path / "aligned", size=16, progress=stop)
    result = align_data(str(raw), tmp_path / "aligned", size=24)
    assert {Image.open(path).size for path in result.path.rglob("*.png")} == {(24, 24)}


def test_a_broken_picture_is_named_and_left_out(tmp_path) -> None:
    raw = noise_folders(tmp_path / "faces", count=40)
    (raw / "happy" / "7.png").write_bytes(b"no picture")
    result = align_data(str(raw), tmp_path / "aligned", size=16)
    assert result.alignment.skipped == ("happy/7.png (not an image)",)
    assert result.alignment.splits["whole"].images == 119
    (raw / "happy" / "8.png").write_bytes(b"")
    with pytest.raises(InputError, match="2 of 120 images cannot be read"):
        align_data(str(raw), tmp_path / "other", size=16)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_not_free_is_refused(type_command, tmp_path) -> None:
    raw = noise_folders(tmp_path / "faces")
    save(tmp_path / "full" / "mine.png", noise(0))
    for out, message in {
        "full": "is not empty",
        "faces": "is not empty",
        "full/mine.png": "is a file",
        "faces/aligned": "lies in the data",
    }.items():
        code, _, err = type_command("data", "align", str(raw), out)
        assert code == 2
        assert message in err
        assert err.count("error:") == 1
    (tmp_path / "empty").mkdir()
    code, _, err = type_command("data", "align", str(raw), "empty", "--size", "16")
    assert code == 0, err
    assert alignment(tmp_path / "empty")["splits"]["whole"]["images"] == 15


def test_two_processes_do_not_write_one_folder(tmp_path) -> None:
    raw = noise_folders(tmp_path / "faces")

    def begin_another(done: int, total: int) -> None:
        with pytest.raises(FersearchError, match="is being written"):
            align_data(str(raw), tmp_path / "aligned", size=16)

    assert align_data(str(raw), tmp_path / "aligned", size=16, progress=begin_another)


def test_wrong_options_are_one_line(type_command, tmp_path) -> None:
    noise_folders(tmp_path / "faces")
    for arguments, message in (
        (("--size", "4"), "from 8 to 1024 px"),
        (("--face-model", "absent.onnx"), "cannot read the face model absent.onnx"),
    ):
        code, out, err = type_command("data", "align", "faces", "aligned", *arguments, "--quiet")
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    code, _, err = type_command("data", "align", "nowhere", "aligned", "--quiet")
    assert code == 2
    assert "there is no file or folder nowhere" in err
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_splits_whose_classes_differ_are_refused_before_any_work(tmp_path) -> None:
    rows = ["emotion,pixels,Usage"]
    for at, (emotion, usage) in enumerate(
        [(3, "Training"), (4, "Training"), (3, "PublicTest"), (4, "PublicTest"), (3, "PrivateTest")]
    ):
        rows.append(f"{emotion},{' '.join(map(str, noise(at).ravel()))},{usage}")
    csv = tmp_path / "fer2013.csv"
    csv.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match="the test split has no image of sadness"):
        align_data(str(csv), tmp_path / "aligned")
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013.csv"]


def test_a_csv_keeps_the_lines_in_the_names(tmp_path) -> None:
    rows = ["emotion,pixels,Usage"]
    for at, usage in enumerate(["Training", "PublicTest", "PrivateTest"] * 2):
        rows.append(f"{3 + at // 3},{' '.join(map(str, noise(at).ravel()))},{usage}")
    csv = tmp_path / "fer2013.csv"
    csv.write_text("\n".join(rows), encoding="utf-8")
    result = align_data(str(csv), tmp_path / "aligned", size=48)
    (path,) = (result.path / "train" / "sadness").iterdir()
    assert path.name == "1_fer2013.csv_5.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), noise(3))


def test_drawn_faces_are_aligned_too(tmp_path) -> None:
    result = align_data("synthetic:train=16,val=8,test=8", tmp_path / "aligned", size=48)
    splits = result.alignment.splits
    assert {name: split.images for name, split in splits.items()} == {
        "train": 16, "val": 8, "test": 8,
    }  # fmt: skip
    assert sum(split.eyes for split in splits.values()) > 16
    assert load_data(str(result.path), workspace=tmp_path).info.totals["train"] == 16
