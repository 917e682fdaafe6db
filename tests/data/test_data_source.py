from pathlib import Path

import pytest

from fersearch.data import parse_source
from fersearch.errors import InputError


def test_synthetic_options_are_passed_on_as_text() -> None:
    assert parse_source("synthetic").synthetic == ""
    assert parse_source("synthetic:train=4000,seed=0").synthetic == "train=4000,seed=0"
    assert parse_source("synthetic").path is None


def test_a_path_alone_leaves_the_kind_open(tmp_path: Path) -> None:
    source = parse_source(str(tmp_path))
    assert (source.kind, source.path, source.options, source.limit) == ("", tmp_path, {}, None)


def test_kind_path_and_options(tmp_path: Path) -> None:
    source = parse_source(f"ferplus:{tmp_path}?rule=argmax&limit=20")
    assert (source.kind, source.path, source.options, source.limit) == (
        "ferplus", tmp_path, {"rule": "argmax"}, 20,
    )  # fmt: skip


def test_options_follow_a_path_without_kind(tmp_path: Path) -> None:
    assert parse_source(f"{tmp_path}?limit=7").limit == 7


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_source("folder:~/faces").path == tmp_path / "faces"


@pytest.mark.parametrize("name", ["a:b", "what?rule=x"])
def test_a_path_that_exists_as_written_is_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    source = parse_source(name)
    assert str(source.path) == name
    assert not source.options


def test_labels_are_found_beside_the_data(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("x")
    (tmp_path / "pixels.csv").write_text("x")
    source = parse_source(f"ferplus:{tmp_path}/pixels.csv?labels=votes.csv")
    assert source.options == {"labels": str(tmp_path / "votes.csv")}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "DATA is empty"),
        ("ferpluss:faces", "unknown kind of data 'ferpluss'; did you mean ferplus"),
        ("ferplus:faces?rul=argmax", "unknown data option 'rul'; did you mean rule"),
        ("faces?rule", "rule has no value"),
        ("faces?rule=a&rule=b", "given twice"),
        ("faces?limit=few", "limit=few is not a number"),
        ("faces?limit=0", "limit=0 is not a number"),
        ("faces?labels=nowhere.csv", "no label file nowhere.csv"),
        ("synthetic?train=4", "follow a colon"),
        ("folder:", "names no path"),
    ],
)
def test_mistakes_are_named(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        parse_source(spec)
