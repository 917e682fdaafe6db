"""A data set's faces, found and aligned, as a new data set in class folders.

A picture without a face that is found stays in the new data set, resized as it is, and is counted:
left out, it would turn a failure of the finder into an easier test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fersearch.align import TEMPLATE, FaceFinder, Template, one_thread, open_finder
from fersearch.align.warp import check_size
from fersearch.data import SPLITS, parse_source
from fersearch.data.aligning import SplitAlignment, align_split, tally
from fersearch.data.alignment import ALIGNMENT_FILE
from fersearch.data.pictures import PixelPictures
from fersearch.data.readers import RawData, RawSplit, read_tree
from fersearch.data.source import DataSource
from fersearch.data.splits import arrange, drop_absent_classes, limit_splits
from fersearch.data.survey import check_broken
from fersearch.data.tree import open_tree
from fersearch.errors import InputError
from fersearch.files import ensure_folder, file_lock, write_json
from fersearch.records import digest, to_plain

__all__ = ["AlignResult", "Alignment", "SplitAlignment", "align_data"]

Progress = Callable[[int, int], None]

VERSION = 1  # of what is written for a picture: what another one began is not continued
CROPPED_ALREADY = frozenset({"fer2013", "ferplus", "rafdb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """What ``alignment.json`` says.

    Attributes:
        finder: What found the faces, with the digest of its files.
        size: Side of the aligned faces in pixels.
        template: Where eyes and box were put, as fractions of the side.
        data: DATA as the user wrote it.
        layout: What it was recognised as.
        label_rule: How labels were made.
        classes: Names of the classes.
        splits: Under ``whole`` for data without splits, else under ``train``, ``val``, ``test``.
        skipped: Pictures that could not be read, each with its reason; they were left out.
        notes: What the user should know.
    """

    finder: str
    size: int
    template: Template
    data: str
    layout: str
    label_rule: str
    classes: tuple[str, ...]
    splits: dict[str, SplitAlignment]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlignResult:
    """An aligned data set that was written.

    Attributes:
        path: Its folder, a DATA for every other command.
        alignment: What was found.
    """

    path: Path
    alignment: Alignment


def align_data(
    data: str,
    out: str | Path,
    *,
    size: int = 112,
    face_model: str | Path | None = None,
    split_seed: int = 0,
    progress: Progress | None = None,
) -> AlignResult:
    """Find the largest face of every picture, align it, and write class folders to ``out``.

    The new data set has the splits that DATA brings; where it brings none, or lacks one, they are
    made from the new data set by the same rule as from DATA itself, with the same pictures for the
    same seed. Its labels are those after the label rule: votes are not carried. ``out`` appears
    when everything is done; an interrupted run is continued by the same call.

    Args:
        data: DATA, as :func:`fersearch.api.load_data` takes it.
        out: The folder to write; it must not exist, or be empty.
        size: Side of the aligned faces in pixels, 8-1024.
        face_model: A YuNet file; by default OpenCV's cascades find the faces.
        split_seed: Seed of the subset of ``limit=N``; not used without a limit.
        progress: Called with (pictures done, pictures in all).

    Raises:
        InputError: The data cannot be read, ``out`` is not free, an option is wrong, or what finds
            faces is not installed.
        FersearchError: The folder cannot be written, or another process is writing it.
    """
    check_size(size)
    target = Path(out).expanduser().resolve()
    source = parse_source(data)
    _check_free(target, source)
    finder = open_finder(None if face_model is None else Path(face_model).expanduser())
    with _opened(source, split_seed) as (raw, stamp):
        _check_classes(data, raw.classes, {name: part.labels for name, part in raw.splits.items()})
        terms = [VERSION, stamp, _places(raw), size, finder.name, TEMPLATE]
        partial = target.parent / f".{target.name}.part-{digest(terms, 12)}"
        ensure_folder(partial)
        lock = partial / ".lock"
        with file_lock(lock, wait=False, busy=f"{target} is being written"), one_thread():
            alignment = _write(partial, data, raw, finder, size=size, progress=progress)
            write_json(partial / ALIGNMENT_FILE, to_plain(alignment))
            lock.unlink()
            _check_free(target, source)
            partial.replace(target)
    return AlignResult(target, alignment)


def _check_free(target: Path, source: DataSource) -> None:
    """Refuse a folder that has something in it, and one inside the data that are read."""
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"the folder {target} is not empty", "name a new one")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file", "name a new folder")
    if source.path is not None and source.path.resolve() in (target, *target.parents):
        raise InputError(
            f"{target} lies in the data {source.path}, which would change while they are read",
            "name a folder elsewhere",
        )


@contextmanager
def _opened(source: DataSource, split_seed: int) -> Iterator[tuple[RawData, str]]:
    """Yield the pictures of DATA, in the splits it brings, and what changes when its files do."""
    if source.path is None:
        from fersearch.data import synthetic

        options = synthetic.parse_options(source.synthetic, None)
        faces = synthetic.make(options)
        splits = {}
        for name in SPLITS:
            part = getattr(faces, name)
            names = tuple(f"{name}:{index}" for index in range(len(part.labels)))
            pictures = PixelPictures(part.images[:, 0], names)
            splits[name] = RawSplit(pictures, np.asarray(part.labels, dtype=np.int64))
        layout = "faces drawn by the program: drawings, not photographs"
        stamp = digest([synthetic.RENDERER_VERSION, options])
        yield RawData("synthetic", layout, "drawn", tuple(faces.classes), splits), stamp
        return
    with open_tree(source.path) as tree:
        data = read_tree(tree, source.kind, source.options)
        if source.limit is not None:
            data = limit_splits(arrange(data, split_seed), source.limit, split_seed)
        yield drop_absent_classes(data), digest([str(source.path.resolve()), tree.stamp()])


def _places(data: RawData) -> str:
    """Return a digest of every picture's name, split and class: what decides where it goes."""
    total = hashlib.sha256("\0".join(data.classes).encode())
    for split, part in data.splits.items():
        total.update(f"\n{split}\n".encode())
        total.update("\0".join(part.pictures.names).encode("utf-8", "replace"))
        total.update(part.labels.tobytes())
    return total.hexdigest()


def _check_classes(
    data: str, classes: tuple[str, ...], labels: dict[str, NDArray[np.int64]]
) -> None:
    """Refuse splits that lack a class, which class folders cannot say."""
    for split, present in labels.items():
        missing = [name for at, name in enumerate(classes) if at not in present]
        if missing:
            raise InputError(
                f"{data}: the {split} split has no image of {', '.join(missing)}, and class "
                "folders need every class in every split",
                "align a larger part of the data",
            )


def _write(
    folder: Path,
    spec: str,
    data: RawData,
    finder: FaceFinder,
    *,
    size: int,
    progress: Progress | None,
) -> Alignment:
    """Align every split into ``folder`` and return what was found."""
    total = sum(len(part) for part in data.splits.values())
    finished = 0

    def count(pictures: int) -> None:
        nonlocal finished
        finished += pictures
        if progress is not None:
            progress(finished, total)

    splits: dict[str, SplitAlignment] = {}
    kept: dict[str, NDArray[np.int64]] = {}
    skipped = list(data.skipped)
    for name, part in data.splits.items():
        outcomes = align_split(
            part,
            folder if name == "whole" else folder / name,
            classes=data.classes,
            finder=finder,
            size=size,
            done=count,
        )
        whole = [at for at, outcome in enumerate(outcomes) if not outcome.broken]
        kept[name] = part.labels[whole]
        skipped += [
            f"{part.pictures.names[at]} ({outcome.broken})"
            for at, outcome in enumerate(outcomes)
            if outcome.broken
        ]
        splits[name] = tally(part.pictures, outcomes)
    check_broken(skipped, total + len(data.skipped))
    _check_classes(spec, data.classes, kept)
    return Alignment(
        finder=finder.name,
        size=size,
        template=TEMPLATE,
        data=spec,
        layout=data.layout,
        label_rule=data.label_rule,
        classes=data.classes,
        splits=splits,
        skipped=tuple(skipped),
        notes=(*data.notes, *_notes(data)),
    )


def _notes(data: RawData) -> list[str]:
    notes = []
    if any(part.votes is not None for part in data.splits.values()):
        notes.append(f"votes are not carried: labels are those of the rule {data.label_rule}")
    if data.kind in CROPPED_ALREADY:
        notes.append("these pictures are cropped faces already; alignment is for photographs")
    return notes
