"""Where eyes and box lie in real face crops, how often they are found, and how long that takes.

The template of ``fersearch.align.warp`` comes from this, run on FERPlus:

    python benchmarks/eye_positions.py --data ferplus:faces.zip
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

from fersearch.align import Face, one_thread, open_finder
from fersearch.data import parse_source
from fersearch.data.readers import read_tree
from fersearch.data.tree import open_tree
from fersearch.environment import processor_name

Found = tuple[int, int, list[Face]]


def main() -> None:
    """Look for faces in a random sample and print rates, positions and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="faces in any layout that is read")
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--face-model", type=Path)
    given = parser.parse_args()
    finder = open_finder(given.face_model)
    source = parse_source(given.data)
    if source.path is None:
        parser.error("give faces of people: drawings tell nothing about them")
    with open_tree(source.path) as tree, one_thread():
        splits = read_tree(tree, source.kind, source.options).splits.values()
        places = [(part.pictures, at) for part in splits for at in range(len(part))]
        count = min(given.faces, len(places))
        chosen = np.random.default_rng(given.seed).choice(len(places), count, replace=False)
        found: list[Found] = []
        seconds = 0.0
        for number in np.sort(chosen):
            pictures, at = places[number]
            picture = pictures.whole(at)
            if picture.ndim == 2:
                picture = np.repeat(picture[:, :, None], 3, axis=2)
            start = time.process_time()
            faces = finder.find(picture)
            seconds += time.process_time() - start
            height, width = picture.shape[:2]
            found.append((width, height, faces))
    print(f"{finder.name}; {processor_name()}, one thread")
    print(f"{count} of {len(places)} pictures, seed {given.seed}")
    tell_rates([faces for _, _, faces in found])
    tell_positions(found)
    print(f"{1000 * seconds / count:.1f} ms of processor time per picture, decoding not included")


def tell_rates(found: list[list[Face]]) -> None:
    """Print how often eyes, a box alone, and nothing were found, with the standard error."""
    largest = [faces[0] if faces else None for faces in found]
    rates = {
        "with eyes": np.mean([face is not None and face.left_eye is not None for face in largest]),
        "box only": np.mean([face is not None and face.left_eye is None for face in largest]),
        "no face": np.mean([face is None for face in largest]),
        "several faces": np.mean([len(faces) > 1 for faces in found]),
    }
    for name, rate in rates.items():
        error = math.sqrt(rate * (1 - rate) / len(found))
        print(f"{name:<14} {100 * rate:5.1f} % (standard error {100 * error:.1f})")


def tell_positions(found: list[Found]) -> None:
    """Print means and standard deviations as fractions of the picture's width and height."""
    rows = [
        np.array((*face.left_eye, *face.right_eye)) / (width, height, width, height)
        for width, height, faces in found
        for face in faces[:1]
        if face.left_eye is not None and face.right_eye is not None
    ]
    boxes = [
        ((left + wide / 2) / width, (top + high / 2) / height, wide / width)
        for width, height, faces in found
        for left, top, wide, high in [face.box for face in faces[:1]]
    ]
    names = ("left eye, x", "left eye, y", "right eye, x", "right eye, y")
    tell_means(names, np.array(rows))
    tell_means(("box centre, x", "box centre, y", "box side"), np.array(boxes))
    distance = np.mean([row[2] - row[0] for row in rows])
    print(f"mirrored: eyes at {0.5 - distance / 2:.3f} and {0.5 + distance / 2:.3f}")


def tell_means(names: tuple[str, ...], values: np.ndarray) -> None:
    """Print a line for each column."""
    for name, column in zip(names, values.T, strict=True):
        error = column.std(ddof=1) / math.sqrt(len(column))
        print(
            f"{name:<14} mean {column.mean():.3f} (standard error {error:.3f}), "
            f"standard deviation {column.std(ddof=1):.3f}, {len(column)} faces"
        )


if __name__ == "__main__":
    main()
