"""Finding faces and eyes by OpenCV's cascades, in a real photograph and its variations."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from photographs import (
    EYE_DISTANCE,
    LEFT_EYE,
    RIGHT_EYE,
    astronaut,
    head,
    resized,
    rotated,
    rotated_point,
    texture,
)

from fersearch.align import Face, FaceFinder, find_and_align, one_thread, open_finder

PACKAGE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return open_finder()


def assert_eyes(face: Face, left: tuple[float, float], right: tuple[float, float]) -> None:
    """Check both eyes to a tenth of their distance."""
    assert face.left_eye is not None
    assert face.right_eye is not None
    tolerance = 0.1 * math.dist(left, right)
    assert math.dist(face.left_eye, left) < tolerance
    assert math.dist(face.right_eye, right) < tolerance


def test_the_face_of_a_photograph_is_found_with_its_eyes(finder: FaceFinder) -> None:
    (face,) = finder.find(astronaut())
    assert_eyes(face, LEFT_EYE, RIGHT_EYE)
    left, top, width, height = face.box
    assert left < LEFT_EYE[0] < RIGHT_EYE[0] < left + width
    assert top < LEFT_EYE[1] < top + height / 2
    assert 1.5 * EYE_DISTANCE < width == height < 3 * EYE_DISTANCE


@pytest.mark.parametrize("degrees", [15, -15])
def test_a_face_turned_by_fifteen_degrees_is_found_and_turned_upright(
    finder: FaceFinder, degrees: float
) -> None:
    turned = rotated(astronaut(), degrees)
    face, aligned = find_and_align(turned, finder, size=96)[0]
    assert_eyes(face, rotated_point(LEFT_EYE, degrees), rotated_point(RIGHT_EYE, degrees))
    _, upright = find_and_align(astronaut(), finder, size=96)[0]
    assert likeness(aligned, upright) > 0.9
    crop = Face(box=face.box)
    untouched = find_and_align(turned, OneFace(crop), size=96)[0][1]
    assert likeness(untouched, upright) < likeness(aligned, upright)


class OneFace:
    """Finds what it is given."""

    name = "given"

    def __init__(self, face: Face) -> None:
        self._face = face

    def find(self, picture: np.ndarray) -> list[Face]:
        return [self._face]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two pictures' middles."""
    middle = slice(16, 80)
    return float(np.corrcoef(one[middle, middle].ravel(), other[middle, middle].ravel())[0, 1])


def test_two_faces_are_found_largest_first(finder: FaceFinder) -> None:
    side = np.zeros((512, 900, 3), dtype=np.uint8)
    side[:300, :300] = resized(astronaut(), 300)
    side[:, 388:] = astronaut()
    faces = finder.find(side)
    assert len(faces) == 2
    assert_eyes(faces[0], (LEFT_EYE[0] + 388, LEFT_EYE[1]), (RIGHT_EYE[0] + 388, RIGHT_EYE[1]))
    left, right = ((x * 300 / 512, y * 300 / 512) for x, y in (LEFT_EYE, RIGHT_EYE))
    assert_eyes(faces[1], left, right)


def test_bricks_have_no_face(finder: FaceFinder) -> None:
    assert finder.find(texture()) == []
    assert find_and_align(texture(), finder, size=48) == []


def test_a_grey_picture_serves_as_well(finder: FaceFinder) -> None:
    grey = astronaut().mean(axis=2).astype(np.uint8)
    (face,) = finder.find(np.repeat(grey[:, :, None], 3, axis=2))
    assert_eyes(face, LEFT_EYE, RIGHT_EYE)


@pytest.mark.parametrize("side", [48, 64, 112, 160])
def test_a_face_that_fills_a_small_picture_is_found(finder: FaceFinder, side: int) -> None:
    (face,) = finder.find(resized(astronaut()[50:180, 160:290], side))
    scale = side / 130
    left, right = (((x - 160) * scale, (y - 50) * scale) for x, y in (LEFT_EYE, RIGHT_EYE))
    assert_eyes(face, left, right)


@pytest.mark.parametrize("side", [160, 2000])
def test_coordinates_are_those_of_the_given_picture(finder: FaceFinder, side: int) -> None:
    (face,) = finder.find(resized(astronaut(), side))
    left, right = ((x * side / 512, y * side / 512) for x, y in (LEFT_EYE, RIGHT_EYE))
    assert_eyes(face, left, right)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (20, 20)])
def test_odd_shapes_have_no_face(finder: FaceFinder, shape: tuple[int, int]) -> None:
    assert finder.find(np.full((*shape, 3), 128, dtype=np.uint8)) == []


def test_the_same_picture_gives_the_same_faces_in_every_thread(finder: FaceFinder) -> None:
    picture = head(200)
    alone = finder.find(picture)
    assert alone
    with one_thread(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(finder.find, [picture] * 12)) == [alone] * 12
    assert open_finder().find(picture) == alone


def test_one_thread_gives_the_callers_number_of_threads_back() -> None:
    import cv2

    before = cv2.getNumThreads()
    with one_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_the_name_tells_the_cascades_and_their_digest(finder: FaceFinder) -> None:
    assert finder.name.startswith("haar frontalface_alt2 and eye, sha256 ")
    assert finder.name == open_finder().name


def opened_with(cv2_module: str | None, folder: Path) -> str:
    """Return what ``open_finder`` answers where ``cv2`` is absent, or is another module."""
    block = "import sys; sys.modules['cv2'] = None"
    if cv2_module is not None:
        (folder / "cv2.py").write_text(cv2_module, encoding="utf-8")
        block = f"import sys; sys.path.insert(0, {str(folder)!r})"
    code = f"""
{block}
from fersearch.align import open_finder
from fersearch.errors import InputError
try:
    open_finder()
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_opencv_the_extra_is_named(tmp_path: Path) -> None:
    assert 'pip install "fersearch[align]"' in opened_with(None, tmp_path)


def test_opencv_5_without_cascades_is_told_from_none(tmp_path: Path) -> None:
    told = opened_with("__version__ = '5.0.0'\n", tmp_path)
    assert "version 5.0.0, has no cascades" in told
    assert 'pip install "fersearch[align]"' in told
