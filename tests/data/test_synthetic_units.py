"""Action units: which expression shows which, how strongly, and what they move."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.synthetic import PROTOTYPES, UNITS, Difficulty
from fersearch.data.synthetic.action_units import Expressions, draw_expressions
from fersearch.data.synthetic.draws import Draws
from fersearch.data.synthetic.landmarks import MOTIONS, Landmarks, place_landmarks
from fersearch.data.synthetic.people import Camera, Identity, draw_camera, draw_identity
from fersearch.data.synthetic.render import Scene, render

NUMBERS = list(UNITS)
PURE = replace(
    Difficulty.at(0.0), unit_jitter=0.0, stray_probability=0.0, identity_spread=0.0, noise=0.0
)


def expressions(count: int, difficulty: Difficulty = PURE) -> Expressions:
    return draw_expressions(Draws(count, 0, "train"), difficulty)


def people(count: int) -> Identity:
    return draw_identity(Draws(count, 1, "train"), PURE)


def units(**active: float | tuple[float, float]) -> NDArray[np.float64]:
    """Return the units of one face, given as au12=1.0 or au14=(left, right)."""
    values = np.zeros((1, len(NUMBERS), 2))
    for name, strength in active.items():
        values[0, NUMBERS.index(int(name.removeprefix("au")))] = strength
    return values


def moved(**active: float | tuple[float, float]) -> tuple[Landmarks, Landmarks]:
    """Return the landmarks of one person at rest and with the given units."""
    person = people(1)
    return place_landmarks(person, units()), place_landmarks(person, units(**active))


def test_prototypes_cover_the_class_order_and_known_units() -> None:
    assert tuple(PROTOTYPES) == CLASS_ORDER
    assert {unit for members in PROTOTYPES.values() for unit in members} == set(UNITS)
    assert set(MOTIONS) == set(UNITS)


@pytest.mark.parametrize("name", CLASS_ORDER)
def test_each_class_shows_its_units_and_no_other(name: str) -> None:
    drawn = expressions(80)
    shown = drawn.units[drawn.labels == CLASS_ORDER.index(name)].max(axis=2) > 0
    expected = [unit in PROTOTYPES[name] for unit in NUMBERS]
    assert len(shown) == 10
    assert (shown == expected).all()


def test_neutral_faces_have_no_intensity_and_no_active_unit() -> None:
    drawn = expressions(80)
    neutral = drawn.labels == CLASS_ORDER.index("neutral")
    assert (drawn.intensities[neutral] == 0).all()
    assert (drawn.units[neutral] == 0).all()


def test_intensity_is_that_of_the_units_and_between_its_bounds() -> None:
    drawn = expressions(800)
    happy = drawn.labels == CLASS_ORDER.index("happiness")
    puller = drawn.units[happy, NUMBERS.index(12)]
    assert puller.mean(axis=1) == pytest.approx(drawn.intensities[happy], rel=0.06)
    others = drawn.intensities[drawn.labels != 0]
    assert others.min() >= 0.15
    assert others.max() <= 1.0
    assert others.mean() == pytest.approx(0.575, abs=0.03)


def test_contempt_is_shown_on_one_side_only_and_on_either() -> None:
    drawn = expressions(160)
    dimpler = drawn.units[drawn.labels == CLASS_ORDER.index("contempt"), NUMBERS.index(14)]
    assert ((dimpler > 0).sum(axis=1) == 1).all()
    assert (dimpler > 0).any(axis=0).all()


def test_harder_faces_have_stray_units_jitter_and_missing_units() -> None:
    heavy = expressions(800, Difficulty.at(1.0))
    assert (heavy.units[heavy.labels == 0] > 0).any()
    happy = heavy.units[heavy.labels == 1].max(axis=2)
    assert (happy[:, NUMBERS.index(12)] == 0).any()
    contempt = heavy.units[heavy.labels == 7].max(axis=2)
    assert (contempt[:, NUMBERS.index(14)] > 0).all()
    assert (heavy.units >= 0).all()
    assert (heavy.units <= 1).all()


def test_every_run_of_eight_faces_holds_each_class_once() -> None:
    labels = expressions(84).labels
    assert labels.dtype == np.int64
    assert (np.sort(labels[:80].reshape(10, 8), axis=1) == np.arange(8)).all()
    assert len({tuple(run) for run in labels[:80].reshape(10, 8)}) > 5


def test_lip_corner_puller_raises_and_widens_the_mouth() -> None:
    rest, smile = moved(au12=1.0)
    assert smile.corner_y == pytest.approx(rest.corner_y - 0.15)
    assert smile.corner_x == pytest.approx(rest.corner_x + 0.11)


def test_half_the_intensity_moves_half_as_far() -> None:
    rest, smile = moved(au12=0.5)
    assert smile.corner_y == pytest.approx(rest.corner_y - 0.075)


@pytest.mark.parametrize(
    ("unit", "landmark", "direction"),
    [
        ("au1", "brow_inner_y", -1),
        ("au2", "brow_outer_y", -1),
        ("au4", "brow_inner_y", 1),
        ("au4", "brow_inner_x", -1),
        ("au5", "upper_lid", 1),
        ("au6", "lower_lid", -1),
        ("au7", "upper_lid", -1),
        ("au9", "nose_lines", 1),
        ("au10", "upper_lip", -1),
        ("au15", "corner_y", 1),
        ("au20", "corner_x", 1),
        ("au23", "lips", -1),
        ("au25", "lower_lip", 1),
        ("au26", "jaw_drop", 1),
    ],
)
def test_units_move_their_landmarks(unit: str, landmark: str, direction: int) -> None:
    rest, active = moved(**{unit: 1.0})
    change = getattr(active, landmark) - getattr(rest, landmark)
    assert (np.sign(change) == direction).all()


def test_a_one_sided_dimpler_moves_one_corner() -> None:
    rest, active = moved(au14=(0.0, 1.0))
    assert active.corner_y[0, 0] == rest.corner_y[0, 0]
    assert active.corner_y[0, 1] < rest.corner_y[0, 1] - 0.05


def test_what_lies_on_the_middle_line_moves_on_both_sides() -> None:
    _, active = moved(au26=(0.0, 1.0))
    assert active.lower_lip[0, 0] == active.lower_lip[0, 1]


def test_eyes_never_open_less_than_a_slit() -> None:
    _, active = moved(au6=1.0, au7=1.0, au9=1.0)
    assert (active.upper_lid > 0).all()
    assert (active.lower_lid > 0).all()


def photograph(active: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one clean frontal picture of one bright, bald-faced person, 64 x 64."""
    person = people(1)
    plain = {"skin": 0.8, "lip_tone": 0.6, "beard": 0.0, "glasses": 0.0, "wrinkles": 0.0}
    person = replace(person, **{name: np.full(1, value) for name, value in plain.items()})
    still = {field.name: np.zeros(1) for field in fields(Camera) if field.name != "patch_box"}
    straight = Camera(**still, patch_box=np.full((1, 7), 0.5))
    one = np.ones(1)
    straight = replace(straight, cosine=one, scale=one, contrast=one, background=0.5 * one)
    scene = Scene(person, place_landmarks(person, active), straight)
    image = render(scene, image_size=64, noise=np.random.default_rng(0))
    return np.asarray(image[0, 0], dtype=np.float64)


def region(image: NDArray[np.float64], *, x: tuple[float, float], y: tuple[float, float]) -> float:
    """Return the mean brightness between face coordinates."""
    column = slice(*(round((value + 1) * 32) for value in x))
    row = slice(*(round((value + 1) * 32) for value in y))
    return float(image[row, column].mean())


def test_a_face_at_rest_is_symmetric() -> None:
    image = photograph(units())
    middle = image[:, 8:56]
    nose = slice(18, 30)  # the light falls on the nose from one side
    difference = np.abs(middle - middle[:, ::-1])
    assert np.delete(difference, nose, axis=1)[:, :18].max() <= 4


def test_a_smile_darkens_the_skin_beside_and_above_the_mouth_and_shows_teeth() -> None:
    rest, smile = photograph(units()), photograph(units(au6=1.0, au12=1.0, au25=1.0))
    corner = {"x": (0.30, 0.42), "y": (0.34, 0.46)}
    assert region(smile, **corner) < region(rest, **corner) - 8
    mouth = {"x": (-0.1, 0.1), "y": (0.50, 0.58)}
    assert region(smile, **mouth) > region(rest, **mouth) + 20


def test_raised_lids_show_more_white_and_a_dropped_jaw_a_dark_mouth() -> None:
    rest, surprised = photograph(units()), photograph(units(au1=1, au2=1, au5=1, au26=1))
    lid = {"x": (0.28, 0.46), "y": (-0.38, -0.33)}
    assert region(surprised, **lid) > region(rest, **lid) + 10
    mouth = {"x": (-0.08, 0.08), "y": (0.62, 0.70)}
    assert region(surprised, **mouth) < region(rest, **mouth) - 50


def test_contempt_changes_one_half_of_the_image() -> None:
    rest, contempt = photograph(units()), photograph(units(au14=(0.0, 1.0)))
    difference = np.abs(contempt - rest)
    assert difference[:, :31].max() <= 1
    assert difference[:, 33:].max() > 40


def test_people_and_cameras_differ_more_when_it_is_harder() -> None:
    for draw, name in ((draw_identity, "mouth_width"), (draw_camera, "shift_x")):
        easy, hard = (draw(Draws(400, 0, "train"), Difficulty.at(at)) for at in (0.0, 1.0))
        assert getattr(hard, name).std() > 1.5 * getattr(easy, name).std()
