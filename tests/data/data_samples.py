"""Tiny data sets in each layout, drawn for the tests."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

FER2013_NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VOTE_HEADER = (
    "Usage", "Image name", "neutral", "happiness", "surprise", "sadness", "anger", "disgust",
    "fear", "contempt", "unknown", "NF",
)  # fmt: skip


def face(seed: int, side: int = 48, *, colour: bool = False) -> np.ndarray:
    """Return random pixels, side x side (x 3)."""
    shape = (side, side, 3) if colour else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def png(pixels: np.ndarray) -> bytes:
    """Return pixels as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a csv file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def pixel_text(seed: int) -> str:
    """Return 2,304 grey values as FER2013's csv writes them."""
    return " ".join(map(str, face(seed).ravel()))


def fer2013_rows(per_class: int = 2) -> list[tuple[int, str, str]]:
    """Return (emotion, pixels, Usage) rows: ``per_class`` of each emotion in each split."""
    rows = []
    for usage in ("Training", "PublicTest", "PrivateTest"):
        for emotion in range(7):
            rows += [(emotion, pixel_text(len(rows) + k), usage) for k in range(per_class)]
    return rows


def write_fer2013(path: Path, rows: Sequence[Sequence[object]] | None = None) -> Path:
    """Write ``fer2013.csv``."""
    return write_csv(path, ("emotion", "pixels", "Usage"), rows or fer2013_rows())


def class_folders(
    root: Path, classes: Sequence[str], *, count: int = 5, side: int = 48, seed: int = 0
) -> Path:
    """Write ``root/<class>/<k>.png`` with grey images; every image is different."""
    for position, name in enumerate(classes):
        for k in range(count):
            save(root / name / f"{k}.png", face(seed + 1000 * position + k, side))
    return root


def zipped(folder: Path, archive: Path, top: str = "") -> Path:
    """Pack a folder, under ``top`` where given."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{top}{path.relative_to(folder)}")
    return archive
