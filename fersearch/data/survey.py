"""A look at every image before decoding: its digest, its size, whether it has colour."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fersearch.data.pictures import Glance, PictureError, Pictures
from fersearch.data.readers.base import RawData
from fersearch.errors import InputError
from fersearch.records import canonical_json

__all__ = ["BROKEN_SHARE", "Survey", "check_broken", "content_key", "in_parallel", "survey"]

BROKEN_SHARE = 0.01
LARGEST_NATIVE = 64
DEFAULT_SIZE = 112
CHUNK = 128

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a data set before it is decoded.

    Attributes:
        image_size: Side to which images will be brought, in pixels.
        channels: 3 if any image has colour, else 1.
        digests: Per split, SHA-256 of each image's bytes; None for an unreadable one.
        broken: Per split, position and reason of each unreadable image.
        notes: What was decided about size and colour.
    """

    image_size: int
    channels: int
    digests: dict[str, list[bytes | None]]
    broken: dict[str, dict[int, str]]
    notes: tuple[str, ...]


def in_parallel(
    count: int,
    work: Callable[[int], Result],
    done: Callable[[int], None] | None = None,
    *,
    chunk_size: int = CHUNK,
) -> list[Result]:
    """Return ``[work(0), ..., work(count - 1)]`` from a few threads.

    Args:
        count: How many items there are.
        work: Called once per item; Pillow and hashlib free the interpreter lock meanwhile.
        done: Called from this thread with the number of items finished since the last call.
        chunk_size: How many items a thread takes at a time.
    """

    def chunk(start: int) -> list[Result]:
        return [work(index) for index in range(start, min(start + chunk_size, count))]

    results: list[Result] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for part in pool.map(chunk, range(0, count, chunk_size)):
            results.extend(part)
            if done is not None:
                done(len(part))
    return results


def _glances(pictures: Pictures) -> list[Glance | str]:
    def glance(index: int) -> Glance | str:
        try:
            return pictures.glance(index)
        except PictureError as error:
            return str(error)

    return in_parallel(len(pictures.names), glance)


def check_broken(broken: Sequence[str], total: int) -> None:
    """Refuse a data set of which more than one image in a hundred cannot be read.

    Args:
        broken: Name and reason of each unreadable image.
        total: Number of images, unreadable ones included.

    Raises:
        InputError: There are too many.
    """
    if len(broken) > BROKEN_SHARE * total:
        shown = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise InputError(
            f"{len(broken)} of {total} images cannot be read (more than 1 %): {shown}",
            "replace or remove them",
        )


def survey(data: RawData, image_size: int | None) -> Survey:
    """Look at every image and decide size and channels.

    Without a wish, square images of one size up to 64 px keep it; all others become 112 px.

    Raises:
        InputError: More than 1 % of the images cannot be read.
    """
    digests: dict[str, list[bytes | None]] = {}
    broken: dict[str, dict[int, str]] = {}
    names = list(data.skipped)
    sizes: set[tuple[int, int]] = set()
    colours: set[bool] = set()
    oblong = 0
    for split, raw in data.splits.items():
        seen = _glances(raw.pictures)
        digests[split] = [item.digest if isinstance(item, Glance) else None for item in seen]
        broken[split] = {at: item for at, item in enumerate(seen) if isinstance(item, str)}
        names += [f"{raw.pictures.names[at]} ({why})" for at, why in broken[split].items()]
        whole = [item for item in seen if isinstance(item, Glance)]
        sizes |= {(item.width, item.height) for item in whole}
        colours |= {item.colour for item in whole}
        oblong += sum(item.width != item.height for item in whole)
    check_broken(names, len(data.skipped) + sum(len(raw) for raw in data.splits.values()))
    notes = []
    if image_size is None:
        widest, highest = max(sizes)
        native = len(sizes) == 1 and widest == highest <= LARGEST_NATIVE
        image_size = widest if native else DEFAULT_SIZE
        if not native:
            why = "images differ in size" if len(sizes) > 1 else f"images are {widest}x{highest} px"
            notes.append(f"{why}: resized to {image_size} px (choose with --image-size)")
    if oblong:
        notes.append(f"{oblong} images are not square: made square without keeping their aspect")
    if len(colours) > 1:
        notes.append("some images are grey and some in colour: all are kept in colour")
    return Survey(image_size, 3 if True in colours else 1, digests, broken, tuple(notes))


def content_key(data: RawData, found: Survey, version: int) -> str:
    """Return the store's name for this content under these options: equal only if all is equal."""
    total = hashlib.sha256()
    header = {
        "version": version,
        "kind": data.kind,
        "layout": data.layout,
        "label_rule": data.label_rule,
        "classes": data.classes,
        "image_size": found.image_size,
        "channels": found.channels,
        "skipped": data.skipped,
        "notes": (*data.notes, *found.notes),
    }
    total.update(canonical_json(header).encode())
    for split, raw in sorted(data.splits.items()):
        total.update(f"\n{split} {len(raw)}\n".encode())
        total.update(raw.labels.tobytes())
        if raw.votes is not None:
            total.update(raw.votes.tobytes())
        for name, digest in zip(raw.pictures.names, found.digests[split], strict=True):
            total.update(f"{name}\0".encode("utf-8", "replace"))
            total.update(digest or b"broken")
    return total.hexdigest()[:32]
