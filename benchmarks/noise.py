"""Stores of any size without drawing or decoding: random pixels, which train as fast as faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fersearch.data import SPLITS, DataInfo, Dataset
from fersearch.files import write_json
from fersearch.records import to_plain

__all__ = ["CLASSES", "make_noise"]

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
CHUNK = 4096


def make_noise(folder: Path, *, images: int, image_size: int) -> Dataset:
    """Write a store of ``images`` grey training images (32 of each other split) and open it.

    One that is there already is opened as it is.
    """
    if not (folder / "info.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(0)
        totals = {name: images if name == "train" else 32 for name in SPLITS}
        for name, count in totals.items():
            shape = (count, 1, image_size, image_size)
            pixels = np.lib.format.open_memmap(
                folder / f"{name}.images.npy", mode="w+", dtype=np.uint8, shape=shape
            )
            for start in range(0, count, CHUNK):
                part = pixels[start : start + CHUNK]
                part[:] = generator.integers(0, 256, part.shape, dtype=np.uint8)
            pixels.flush()
            np.save(folder / f"{name}.labels.npy", np.arange(count, dtype=np.int64) % len(CLASSES))
        info = DataInfo(
            spec=f"noise:{images}",
            kind="folder",
            layout="random pixels",
            label_rule="given",
            classes=CLASSES,
            counts={name: {} for name in SPLITS},
            totals=totals,
            image_size=image_size,
            channels=1,
            sha256=f"noise-{images}-{image_size}",
            skipped=(),
            notes=(),
        )
        write_json(folder / "info.json", {"files": {}, "info": to_plain(info)})
    return Dataset.open(folder)
