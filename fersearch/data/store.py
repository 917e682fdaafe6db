"""The data store: decoded once into memory-mapped uint8 files, in a folder named by the content.

    <cache>/data/<key>/{train,val,test}.{images,labels[,votes]}.npy and info.json
    <cache>/data/index/<digest of names, sizes and times>.json   which key a path had last time

A folder of the store is written under a temporary name and renamed, under a lock; one whose files
are missing or of the wrong length counts as absent and is written again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fersearch.data.alignment import finder_of
from fersearch.data.dataset import INFO_FILE, SPLITS, DataInfo, Dataset
from fersearch.data.pictures import PictureError
from fersearch.data.readers import read_tree
from fersearch.data.readers.base import RawData, RawSplit
from fersearch.data.source import DataSource, parse_source
from fersearch.data.splits import arrange, drop_absent_classes, limit_splits
from fersearch.data.survey import Survey, check_broken, content_key, in_parallel, survey
from fersearch.data.tree import Tree, open_tree
from fersearch.errors import FersearchError, InputError
from fersearch.files import atomic_folder, ensure_folder, file_lock, write_json
from fersearch.records import digest, to_plain

__all__ = ["STORE_VERSION", "load_data"]

STORE_VERSION = 1
SMALLEST_SIZE, LARGEST_SIZE = 8, 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One decoded split: uint8 images (N, C, S, S), int64 labels, float32 votes or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    votes: NDArray[np.float32] | None


def load_data(
    spec: str,
    *,
    cache: Path,
    image_size: int | None = None,
    split_seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Open a data set, decoding it into the store the first time.

    Args:
        spec: DATA: ``synthetic[:k=v,...]``, a path, or ``KIND:PATH[?rule=majority&limit=2000]``.
        cache: The workspace's cache folder.
        image_size: Side of the stored images in pixels, 8-1024. Without it, square images of one
            size up to 64 px keep their size and all others become 112 px.
        split_seed: Seed of the splits and subsets that the data set does not bring itself.
        progress: Called with (images decoded, images in all) while decoding.

    Raises:
        InputError: Anything wrong with the spec or the data; nothing is left half-written.
    """
    if image_size is not None and not SMALLEST_SIZE <= image_size <= LARGEST_SIZE:
        raise InputError(
            f"the image size must be from {SMALLEST_SIZE} to {LARGEST_SIZE} px but is {image_size}"
        )
    source = parse_source(spec)
    store = ensure_folder(cache / "data")
    if source.path is None:
        return _load_synthetic(spec, source.synthetic, store, image_size)
    with open_tree(source.path) as tree:
        return _load_tree(
            spec, source, tree, store, image_size=image_size, split_seed=split_seed, tell=progress
        )


def _load_tree(
    spec: str,
    source: DataSource,
    tree: Tree,
    store: Path,
    *,
    image_size: int | None,
    split_seed: int,
    tell: Progress | None,
) -> Dataset:
    """Find the store folder by the quick index, else by the content, else make it."""
    quick = _quick_key(source, tree, (image_size, split_seed))
    index = store / "index" / f"{quick}.json"
    with file_lock(index.with_suffix(".lock")):  # a second process waits rather than reads again
        known = _open_whole(store / _indexed_key(index))
        if known is None:
            data = read_tree(tree, source.kind, source.options)
            data = drop_absent_classes(arrange(data, split_seed))
            if source.limit is not None:
                data = limit_splits(data, source.limit, split_seed)
            _check_usable(data.classes, {name: raw.labels for name, raw in data.splits.items()})
            found = survey(data, image_size)
            key = content_key(data, found, STORE_VERSION)

            def write(folder: Path) -> None:
                _write_raw(folder, spec, data, found, tell)

            known = _open_or_write(store / key, write)
            write_json(index, {"key": key})
    # Not in the store, which knows pictures by their content alone.
    return Dataset(known.path, dataclasses.replace(known.info, spec=spec, align=finder_of(tree)))


def _load_synthetic(spec: str, text: str, store: Path, image_size: int | None) -> Dataset:
    from fersearch.data import synthetic

    options = synthetic.parse_options(text, image_size)
    version = getattr(synthetic, "RENDERER_VERSION", 0)
    key = digest({"version": STORE_VERSION, "renderer": version, "synthetic": options}, 32)

    def write(folder: Path) -> None:
        faces = synthetic.make(options)
        splits: dict[str, _Decoded] = {}
        for name in SPLITS:
            part = getattr(faces, name)
            np.save(folder / f"{name}.images.npy", part.images)
            labels = np.asarray(part.labels, dtype=np.int64)
            splits[name] = _Decoded(part.images, labels, None)
        _check_usable(faces.classes, {name: part.labels for name, part in splits.items()})
        data = RawData(
            "synthetic",
            "faces drawn by the program: drawings, not photographs",
            "drawn",
            tuple(faces.classes),
            {},
        )
        _finish(folder, spec, data, splits, ())

    known = _open_or_write(store / key, write)
    return Dataset(known.path, dataclasses.replace(known.info, spec=spec))


def _quick_key(source: DataSource, tree: Tree, options: tuple[int | None, int]) -> str:
    """Return a digest of the paths, sizes and times of everything that is read, and the options."""
    labels = source.options.get("labels")
    status = Path(labels).stat() if labels else None
    return digest(
        {
            "version": STORE_VERSION,
            "path": str(Path(tree.label).resolve()),
            "stamp": tree.stamp(),
            "kind": source.kind,
            "options": source.options,
            "limit": source.limit,
            "image_size, split_seed": options,
            "labels": [labels, status.st_size, status.st_mtime_ns] if status else None,
        },
        32,
    )


def _indexed_key(index: Path) -> str:
    """Return the key noted in the quick index; a name that cannot exist when there is none."""
    try:
        key = json.loads(index.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return "absent"
    return str(key)


def _open_whole(folder: Path) -> Dataset | None:
    """Open a store folder if all its files are there in full length, else return None."""
    try:
        content = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
        files: dict[str, int] = content["files"]
        if any((folder / name).stat().st_size != size for name, size in files.items()):
            return None
        return Dataset.open(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FersearchError):
        return None


def _open_or_write(folder: Path, write: Callable[[Path], None]) -> Dataset:
    """Open a store folder; write it first, under a lock, where it is absent or damaged."""
    with file_lock(folder.parent / "index" / f"{folder.name}.lock"):
        known = _open_whole(folder)
        if known is None:
            shutil.rmtree(folder, ignore_errors=True)
            with atomic_folder(folder) as temporary:
                temporary.chmod(0o755)
                write(temporary)
            known = Dataset.open(folder)
    return known


def _check_usable(classes: tuple[str, ...], labels: Mapping[str, NDArray[np.int64]]) -> None:
    """Refuse data that cannot be trained on or measured.

    Raises:
        InputError: There is one class only, or a split is empty.
    """
    present = [classes[label] for label in np.unique(labels["train"])]
    if len(present) < 2:
        raise InputError(
            f"there is only one class with training images: {', '.join(present) or 'none'}",
            "a classifier needs at least two",
        )
    for name in SPLITS:
        if not len(labels[name]):
            raise InputError(f"the {name} split has no images", "give more images")


def _write_raw(
    folder: Path, spec: str, data: RawData, found: Survey, tell: Progress | None
) -> None:
    """Decode every split into ``folder`` and finish it."""
    total = sum(len(raw) for raw in data.splits.values())
    needed = total * found.channels * found.image_size**2
    free = shutil.disk_usage(folder).free
    if free < needed * 1.05:  # a memory map on a full disk would kill the process
        raise InputError(
            f"the decoded data need {needed / 1e6:.0f} MB but {folder.parent} has "
            f"{free / 1e6:.0f} MB free",
            "make room, use limit=N or a smaller --image-size",
        )
    finished = 0

    def count(images: int) -> None:
        nonlocal finished
        finished += images
        if tell is not None:
            tell(finished, total)

    skipped = list(data.skipped)
    splits: dict[str, _Decoded] = {}
    for name, raw in data.splits.items():
        splits[name], broken = _decode(folder / f"{name}.images.npy", raw, found, name, count)
        skipped += broken
    check_broken(skipped, total + len(data.skipped))
    _check_usable(data.classes, {name: part.labels for name, part in splits.items()})
    noted = dataclasses.replace(data, notes=(*data.notes, *found.notes))
    _finish(folder, spec, noted, splits, tuple(skipped))


def _decode(
    path: Path, raw: RawSplit, found: Survey, name: str, done: Callable[[int], None]
) -> tuple[_Decoded, list[str]]:
    """Decode one split into the file ``path``, without its broken images, which are returned."""
    size, channels = found.image_size, found.channels
    shape = (len(raw), channels, size, size)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    broken = dict(found.broken[name])

    def decode(index: int) -> None:
        if index not in broken:
            try:
                images[index] = raw.pictures.decode(index, image_size=size, channels=channels)
            except PictureError as error:
                broken[index] = str(error)

    in_parallel(len(raw), decode, done)
    names = [f"{raw.pictures.names[index]} ({broken[index]})" for index in sorted(broken)]
    labels, votes = raw.labels, raw.votes
    if broken:
        keep = np.setdiff1d(np.arange(len(raw), dtype=np.int64), list(broken))
        labels, votes = labels[keep], None if votes is None else votes[keep]
        images = _compacted(path, images, keep)
    images.flush()
    return _Decoded(images, labels, votes), names


def _compacted(path: Path, images: NDArray[np.uint8], keep: NDArray[np.int64]) -> np.memmap:
    """Write the images at ``keep`` into a new file under the same name."""
    shape = (len(keep), *images.shape[1:])
    other = path.with_suffix(".part")
    whole = np.lib.format.open_memmap(other, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, len(keep), 1024):
        whole[start : start + 1024] = images[keep[start : start + 1024]]
    other.replace(path)
    return whole


def _finish(
    folder: Path, spec: str, data: RawData, splits: Mapping[str, _Decoded], skipped: tuple[str, ...]
) -> None:
    """Write labels and votes beside the images, and what is known of them all."""
    total = hashlib.sha256("\0".join(data.classes).encode())
    counts: dict[str, dict[str, int]] = {}
    for name in SPLITS:
        part = splits[name]
        total.update(f"\n{name} {part.images.shape}\n".encode())
        total.update(part.labels.tobytes())
        np.save(folder / f"{name}.labels.npy", part.labels)
        if part.votes is not None:
            votes = np.ascontiguousarray(part.votes, dtype=np.float32)
            total.update(votes.tobytes())
            np.save(folder / f"{name}.votes.npy", votes)
        for start in range(0, len(part.images), 4096):
            total.update(np.ascontiguousarray(part.images[start : start + 4096]).data)
        numbers = np.bincount(part.labels, minlength=len(data.classes)).tolist()
        counts[name] = dict(zip(data.classes, numbers, strict=True))
    shape = splits["train"].images.shape
    info = DataInfo(
        spec=spec,
        kind=data.kind,
        layout=data.layout,
        label_rule=data.label_rule,
        classes=data.classes,
        counts=counts,
        totals={name: sum(counts[name].values()) for name in SPLITS},
        image_size=int(shape[2]),
        channels=int(shape[1]),
        sha256=total.hexdigest(),
        skipped=skipped,
        notes=data.notes,
    )
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as written:
            os.fsync(written.fileno())
        files[path.name] = path.stat().st_size
    write_json(folder / INFO_FILE, {"files": files, "info": to_plain(info)})
