"""How long a face finder takes for a photograph at several sizes, and what it finds.

Without a picture it takes scikit-image's photograph of an astronaut (a test dependency).

    python benchmarks/finder_speed.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fersearch.align import align_face, one_thread, open_finder
from fersearch.environment import processor_name


def main() -> None:
    """Measure and print a row for every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 320, 640, 1280, 2560])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--face-model", type=Path)
    given = parser.parse_args()
    if given.picture is None:
        from skimage.data import astronaut

        image = Image.fromarray(astronaut())
    else:
        image = Image.open(given.picture).convert("RGB")
    finder = open_finder(given.face_model)
    print(f"{finder.name}; {processor_name()}, one thread, {given.rounds} rounds, processor time")
    for longest in given.sizes:
        scale = longest / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        picture = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
        find, align = [], []
        with one_thread():
            faces = finder.find(picture)
            for _ in range(given.rounds):
                start = time.process_time()
                faces = finder.find(picture)
                find.append(1000 * (time.process_time() - start))
                start = time.process_time()
                for face in faces[:1]:
                    align_face(picture, face, size=112)
                align.append(1000 * (time.process_time() - start))
        eyes = sum(face.left_eye is not None for face in faces)
        print(
            f"{size[0]} x {size[1]} px: {len(faces)} faces, {eyes} with eyes; finding "
            f"{statistics.median(find):.0f} ms (least {min(find):.0f}), aligning the largest "
            f"{statistics.median(align):.1f} ms"
        )


if __name__ == "__main__":
    main()
