"""The data of a study as files, as other tools read them: a folder of PNG pictures a class."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from fersearch.data import SPLITS, Dataset

__all__ = ["export_pictures"]


def export_pictures(dataset: Dataset, folder: Path) -> Path:
    """Write every split's pictures to ``folder/<split>/<class>/<number>.png``; return ``folder``.

    A folder that is there already is left alone; it is there when all pictures are.
    """
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for name in SPLITS:
        split = dataset.split(name)
        for label in dataset.info.classes:
            (part / name / label).mkdir(parents=True)
        for number, label in enumerate(split.labels):
            pixels = np.asarray(split.images[number])
            picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2))
            picture.save(part / name / dataset.info.classes[int(label)] / f"{number:06d}.png")
    part.rename(folder)
    return folder
