import json
import multiprocessing
import os
import pickle
import shutil
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from data_samples import class_folders, face, png, save

from fersearch.data import Dataset, describe, load_data
from fersearch.errors import FersearchError, InputError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "faces", ("happy", "sad", "neutral"), count=10)


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "data").iterdir() if path.name != "index")


def test_arrays_are_what_the_contract_says(faces: Path, cache: Path) -> None:
    data = load_data(str(faces), cache=cache)
    train = data.train
    assert (train.images.dtype, train.images.shape) == (np.uint8, (18, 1, 48, 48))
    assert (train.labels.dtype, len(train)) == (np.int64, 18)
    assert isinstance(train.images, np.memmap)
    assert train.votes is None
    for array in (train.images, train.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_only_the_asked_for_split_is_opened(faces: Path, cache: Path) -> None:
    data = load_data(str(faces), cache=cache)
    (data.path / "test.images.npy").unlink()
    (data.path / "test.labels.npy").unlink()
    assert len(Dataset.open(data.path).train) == 18
    assert len(data.val) == 6
    with pytest.raises(FersearchError, match="damaged"):
        data.split("test")
    with pytest.raises(InputError, match="unknown split 'tets'; did you mean test"):
        data.split("tets")


def test_the_second_time_nothing_is_decoded(faces: Path, cache: Path) -> None:
    calls = []
    first = load_data(str(faces), cache=cache, progress=lambda done, total: calls.append(done))
    assert calls[-1] == 30
    calls.clear()
    again = load_data(str(faces), cache=cache, progress=lambda done, total: calls.append(done))
    assert calls == []
    assert again.path == first.path
    assert again.info == first.info


def test_touched_files_are_read_again_but_not_decoded_again(faces: Path, cache: Path) -> None:
    first = load_data(str(faces), cache=cache)
    os.utime(faces / "happy" / "0.png", (1, 1))
    calls = []
    again = load_data(str(faces), cache=cache, progress=lambda done, total: calls.append(done))
    assert (again.path, calls) == (first.path, [])


def test_changed_content_is_noticed(faces: Path, cache: Path) -> None:
    first = load_data(str(faces), cache=cache)
    save(faces / "happy" / "0.png", face(77777))
    second = load_data(str(faces), cache=cache)
    assert second.info.sha256 != first.info.sha256
    assert second.path != first.path


def test_equal_data_under_another_path_share_one_folder(
    faces: Path, cache: Path, tmp_path: Path
) -> None:
    first = load_data(str(faces), cache=cache)
    copy = shutil.copytree(faces, tmp_path / "copy")
    second = load_data(f"folder:{copy}", cache=cache)
    assert (second.path, second.info.sha256) == (first.path, first.info.sha256)
    assert second.info.spec == f"folder:{copy}"
    assert len(folders(cache)) == 1


def test_renamed_files_are_equal_data(faces: Path, cache: Path) -> None:
    first = load_data(str(faces), cache=cache).info.sha256
    for path in sorted((faces / "sad").iterdir()):
        path.rename(path.with_name(f"face_{path.name}"))
    assert load_data(str(faces), cache=cache).info.sha256 == first


@pytest.mark.parametrize("name", ["train.images.npy", "val.labels.npy", "info.json"])
@pytest.mark.parametrize("how", ["deleted", "truncated"])
def test_a_damaged_store_is_made_again(faces: Path, cache: Path, name: str, how: str) -> None:
    data = load_data(str(faces), cache=cache)
    images = data.train.images.copy()
    path = data.path / name
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    again = load_data(str(faces), cache=cache)
    assert again.info == data.info
    np.testing.assert_array_equal(again.train.images, images)


def test_the_cache_may_be_deleted_at_any_time(faces: Path, cache: Path) -> None:
    first = load_data(str(faces), cache=cache)
    shutil.rmtree(cache / "data" / "index")
    assert load_data(str(faces), cache=cache).path == first.path
    shutil.rmtree(cache)
    assert load_data(str(faces), cache=cache).info == first.info


def test_a_broken_index_entry_is_ignored(faces: Path, cache: Path) -> None:
    first = load_data(str(faces), cache=cache)
    for path in (cache / "data" / "index").glob("*.json"):
        path.write_text("[]")
    assert load_data(str(faces), cache=cache).info == first.info


def test_data_sets_travel_to_workers_as_a_path(faces: Path, cache: Path) -> None:
    data = load_data(str(faces), cache=cache)
    assert len(data.train) == 18
    content = pickle.dumps(data)
    assert len(content) < 5000
    copy = pickle.loads(content)
    np.testing.assert_array_equal(copy.train.images, data.train.images)
    assert "48 px" in repr(copy)


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FersearchError, match="is not a decoded data set"):
        Dataset.open(tmp_path)


def _load(spec: str, cache: str, barrier: Barrier, queue: Queue) -> None:
    barrier.wait()
    queue.put(load_data(spec, cache=Path(cache)).info.sha256)


def test_two_processes_at_once_make_one_whole_store(faces: Path, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=_load, args=(str(faces), str(cache), barrier, queue))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    digests = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert digests == {load_data(str(faces), cache=cache).info.sha256}
    assert len(folders(cache)) == 1


def test_description_has_the_promised_names(faces: Path, cache: Path) -> None:
    plain = describe(load_data(str(faces), cache=cache).info)
    assert set(plain) >= {
        "kind", "label_rule", "classes", "counts", "totals", "image_size", "sha256", "skipped",
    }  # fmt: skip
    assert json.loads(json.dumps(plain)) == plain
    assert plain["counts"]["train"] == {"neutral": 6, "happiness": 6, "sadness": 6}
    assert plain["skipped"] == []


def large(tmp_path: Path) -> Path:
    """Return a folder of 120 images of one class each way."""
    return class_folders(tmp_path / "large", ("happy", "sad"), count=60)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "size 0"),
        (b"these are words", "not an image"),
        (png(face(5))[:1500], "truncated"),
        (png(face(5))[:20], ""),
    ],
)
def test_one_broken_image_in_a_hundred_is_skipped_by_name(
    tmp_path: Path, cache: Path, content: bytes, reason: str
) -> None:
    root = large(tmp_path)
    whole = load_data(str(root), cache=cache)
    (root / "sad" / "7.png").write_bytes(content)
    data = load_data(str(root), cache=cache)
    assert len(data.info.skipped) == 1
    assert data.info.skipped[0].startswith(f"sad/7.png ({reason}")
    assert sum(data.info.totals.values()) == 119
    images = [data.split(name).images for name in ("train", "val", "test")]
    assert sum(map(len, images)) == 119
    for name in ("train", "val", "test"):
        kept = {image.tobytes() for image in data.split(name).images}
        assert kept <= {image.tobytes() for image in whole.split(name).images}
        assert data.info.totals[name] == len(data.split(name).labels)


def test_more_than_one_in_a_hundred_is_refused_and_nothing_is_left(
    tmp_path: Path, cache: Path
) -> None:
    root = large(tmp_path)
    for k in (3, 4):
        (root / "sad" / f"{k}.png").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"2 of 120 images cannot be read .*sad/3.png \(size 0\), sad/4.png"
    ):
        load_data(str(root), cache=cache)
    for k in (3, 4):  # now they look like images until they are decoded
        (root / "sad" / f"{k}.png").write_bytes(png(face(k))[:1500])
    with pytest.raises(InputError, match=r"2 of 120 images cannot be read .*truncated"):
        load_data(str(root), cache=cache)
    assert folders(cache) == []


def test_a_cache_that_cannot_be_written_is_named(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the folder"):
        load_data(str(faces), cache=tmp_path / "file")


def test_a_full_disk_is_foreseen(faces: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(faces)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"the decoded data need 0 MB but .* make room"):
        load_data(str(faces), cache=cache)
    assert folders(cache) == []


def test_a_limit_is_part_of_the_key_and_noted(faces: Path, cache: Path) -> None:
    data = load_data(f"{faces}?limit=9", cache=cache)
    assert data.info.totals == {"train": 9, "val": 6, "test": 6}
    assert "9 of 18 training images" in data.info.notes[-1]
    assert data.path != load_data(str(faces), cache=cache).path


def test_drawn_faces_come_through_the_same_door(cache: Path) -> None:
    spec = "synthetic:train=64,val=16,test=16,seed=3"
    data = load_data(spec, cache=cache, image_size=32)
    assert (data.info.kind, data.info.image_size) == ("synthetic", 32)
    assert data.info.totals == {"train": 64, "val": 16, "test": 16}
    assert "drawings" in data.info.layout
    assert len(data.info.classes) == 8
    assert data.train.images.dtype == np.uint8
    again = load_data(spec, cache=cache, image_size=32)
    assert (again.path, again.info) == (data.path, data.info)
    other = load_data(spec.replace("seed=3", "seed=4"), cache=cache, image_size=32)
    assert other.info.sha256 != data.info.sha256
