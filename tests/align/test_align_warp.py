"""The warp: eyes land where the template says, in any size and roll, without aliasing."""

import math

import numpy as np
import pytest

from fersearch.align import TEMPLATE, Face, align_face, crop_corners
from fersearch.errors import InputError

Point = tuple[float, float]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def dots(height: int, width: int, points: list[Point], radius: float) -> np.ndarray:
    """Return black pixels with a soft bright dot around each point; pixel centres are at .5."""
    y, x = np.mgrid[:height, :width] + 0.5
    light = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * radius**2)) for a, b in points)
    return np.repeat(np.round(255 * light).astype(np.uint8)[:, :, None], 3, axis=2)


def centroid(picture: np.ndarray, near: Point, reach: float) -> Point:
    """Return the centre of the light near a point."""
    light = picture[:, :, 0].astype(float)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    light = np.where(np.hypot(x - near[0], y - near[1]) <= reach, light, 0)
    assert light.sum() > 0
    return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())


@pytest.mark.parametrize("degrees", [0, 20, -20, 65])
@pytest.mark.parametrize(
    ("distance", "size"), [(40, 100), (40, 48), (300, 112), (300, 48), (12, 112)]
)
def test_eyes_land_where_the_template_says(degrees: float, distance: float, size: int) -> None:
    width, height = 480, 400
    across = distance * math.cos(math.radians(degrees)) / 2
    down = distance * math.sin(math.radians(degrees)) / 2
    left, right = (238.3 - across, 190.6 - down), (238.3 + across, 190.6 + down)
    picture = dots(height, width, [left, right], max(1.0, distance / 20))
    face = Face(box=(0.0, 0.0, 10.0, 10.0), left_eye=left, right_eye=right)
    aligned = align_face(picture, face, size=size)
    assert aligned.shape == (size, size, 3)
    assert aligned.dtype == np.uint8
    # By hand: 0.314 and 0.686 of the width, 0.376 of the height.
    for wanted in ((0.314 * size, 0.376 * size), (0.686 * size, 0.376 * size)):
        assert math.dist(centroid(aligned, wanted, 0.15 * size), wanted) < 0.5


def test_eyes_at_the_templates_distance_are_only_shifted() -> None:
    # In 1,000 px the eyes belong at x = 314 and 686, y = 376; here they are 10 and 20 px further.
    picture = noise(1040, 1030)
    face = Face(box=(0, 0, 1, 1), left_eye=(324.0, 396.0), right_eye=(696.0, 396.0))
    aligned = align_face(picture, face, size=1000)
    np.testing.assert_array_equal(aligned, picture[20:1020, 10:1010])
    np.testing.assert_allclose(crop_corners(face), [(10, 20), (1010, 20), (10, 1020)])


def test_without_eyes_the_box_is_put_in_its_place() -> None:
    # In 1,000 px the box belongs at 500, 486 and has a side of 949; it is 30 and 20 px further.
    picture = noise(1040, 1040)
    box = (530 - 949 / 2, 506 - 949 / 2, 949.0, 949.0)
    aligned = align_face(picture, Face(box=box), size=1000)
    np.testing.assert_array_equal(aligned, picture[20:1020, 30:1030])
    high = Face(box=(530 - 300, box[1], 600.0, 949.0))
    np.testing.assert_array_equal(align_face(picture, high, size=1000), aligned)


def test_eyes_in_one_point_tell_no_direction_so_the_box_counts() -> None:
    picture = noise(60, 60)
    box = (10.0, 10.0, 40.0, 40.0)
    same = Face(box=box, left_eye=(30.0, 25.0), right_eye=(30.0, 25.0))
    np.testing.assert_array_equal(
        align_face(picture, same, size=48), align_face(picture, Face(box=box), size=48)
    )


def test_past_the_border_the_border_repeats() -> None:
    picture = np.zeros((40, 40, 3), dtype=np.uint8)
    picture[:, 20:] = (200, 10, 60)
    aligned = align_face(picture, Face(box=(30.0, 10.0, 20.0, 20.0)), size=64)
    assert (aligned[:, 40:] == (200, 10, 60)).all()
    far = align_face(picture, Face(box=(-500.0, 0.0, 20.0, 20.0)), size=16)
    assert (far == 0).all()


@pytest.mark.parametrize("degrees", [0, 20])
def test_shrinking_averages_instead_of_picking_single_pixels(degrees: float) -> None:
    # Columns of 0 and 255 in turn: point sampling gives stripes, averaging a grey of 127.
    picture = np.zeros((600, 600, 3), dtype=np.uint8)
    picture[:, ::2] = 255
    across, down = math.cos(math.radians(degrees)) * 110, math.sin(math.radians(degrees)) * 110
    face = Face(
        box=(0, 0, 1, 1), left_eye=(300 - across, 300 - down), right_eye=(300 + across, 300 + down)
    )
    inner = align_face(picture, face, size=64)[16:48, 16:48].astype(int)
    assert abs(inner - 127).max() <= 32
    assert abs(inner.mean() - 127.5) < 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_pictures_of_one_pixel_or_one_line_are_no_obstacle(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, dtype=np.uint8)
    aligned = align_face(picture, Face(box=(0.0, 0.0, 1.0, 1.0)), size=48)
    assert (aligned == 77).all()


def test_a_face_larger_than_the_canvas_is_still_averaged() -> None:
    picture = np.full((64, 64, 3), 90, dtype=np.uint8)
    face = Face(box=(-40_000.0, -40_000.0, 80_000.0, 80_000.0))
    assert (align_face(picture, face, size=32) == 90).all()


@pytest.mark.parametrize("size", [0, 7, 1025])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="from 8 to 1024 px"):
        align_face(noise(10, 10), Face(box=(0, 0, 10, 10)), size=size)


def test_the_template_is_symmetric() -> None:
    assert TEMPLATE.left_eye[0] + TEMPLATE.right_eye[0] == pytest.approx(1)
    assert TEMPLATE.left_eye[1] == TEMPLATE.right_eye[1]
