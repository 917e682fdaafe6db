import pytest

from fersearch.data import CLASS_ORDER, canonical_class
from fersearch.data.classes import order_classes
from fersearch.errors import InputError


def test_order_is_that_of_ferplus() -> None:
    assert CLASS_ORDER == (
        "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("happy", "happiness"),
        ("Joy", "happiness"),
        ("ANGRY", "anger"),
        ("sad", "sadness"),
        ("surprised", "surprise"),
        ("afraid", "fear"),
        ("scared", "fear"),
        ("disgusted", "disgust"),
        ("neutrality", "neutral"),
        ("contemptuous", "contempt"),
        ("3-happy", "happiness"),
        ("0 anger", "anger"),
        ("calm", None),
        ("3", None),
    ],
)
def test_spellings(given: str, ours: str | None) -> None:
    assert canonical_class(given) == ours


def test_every_class_spells_itself() -> None:
    assert [canonical_class(name) for name in CLASS_ORDER] == list(CLASS_ORDER)


def test_known_names_come_in_the_one_order_whatever_order_they_are_given_in() -> None:
    mapping, classes, note = order_classes(["angry", "fear", "happy", "neutral"])
    assert classes == ("neutral", "happiness", "anger", "fear")
    assert mapping == {
        "angry": "anger", "fear": "fear", "happy": "happiness", "neutral": "neutral"
    }  # fmt: skip
    assert note == ""


def test_one_unknown_name_keeps_all_names_in_alphabetical_order() -> None:
    mapping, classes, note = order_classes(["happy", "bored", "angry"])
    assert classes == ("angry", "bored", "happy")
    assert mapping["happy"] == "happy"
    assert "bored" in note


def test_two_names_for_one_class_are_refused() -> None:
    with pytest.raises(InputError, match="happiness and happy both mean happiness"):
        order_classes(["happy", "happiness", "sad"])
