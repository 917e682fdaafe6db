"""Shipped files are found, and plug-ins are loaded or refused with their line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fersearch.errors import FersearchError, InputError
from fersearch.plugins import (
    list_shipped,
    load_installed_plugins,
    load_plugin,
    shipped,
)


def test_shipped_studies_are_found() -> None:
    assert "distill" in list_shipped("studies", ".toml")
    assert shipped("studies", "distill.toml").read_text().startswith("#")


def test_folders_say_what_they_hold() -> None:
    assert shipped("baselines", "README.md").is_file()
    assert shipped("reports", "README.md").is_file()


def test_an_unknown_shipped_file_is_refused_with_near_names() -> None:
    with pytest.raises(InputError, match=r"no distil\.toml among .* studies; did you mean distill"):
        shipped("studies", "distil.toml")


def test_shipped_files_stay_in_their_folder() -> None:
    with pytest.raises(InputError):
        shipped("studies", "../pyproject.toml")


def test_a_plugin_is_imported_once_and_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("answer = 41\n")
    first = load_plugin(file)
    assert first.answer == 41
    assert load_plugin(str(file)) is first
    file.write_text("answer = 42\n")
    assert load_plugin(file).answer == 42


def test_plugins_of_one_name_stand_side_by_side(tmp_path: Path) -> None:
    files = [tmp_path / folder / "json.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("import json\nplace = __file__\nread = json.loads\n")
    modules = [load_plugin(file) for file in files]
    assert [module.place for module in modules] == [str(file) for file in files]
    assert modules[0].__name__ != modules[1].__name__


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = (\n", r"fails at line 2: SyntaxError"),
        ("x = 1\n\nimport no_such_module_here\n", r"fails at line 3: ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"fails at line 2: ZeroDivisionError"),
        ("import json\n\njson.loads('')\n", r"fails at line 3: JSONDecodeError"),
    ],
)
def test_a_broken_plugin_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "model.py"
    file.write_text(text)
    for _ in range(2):  # the first failure leaves no half-made module behind
        with pytest.raises(InputError, match=message):
            load_plugin(file)


def test_a_plugin_may_speak_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("from fersearch.errors import InputError\nraise InputError('no licence')\n")
    with pytest.raises(InputError, match=r"^no licence"):
        load_plugin(file)


def test_what_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.py: No such file"):
        load_plugin(tmp_path / "model.py")
    with pytest.raises(InputError, match=r"is not a \.py file"):
        load_plugin(tmp_path)


def install(folder: Path, code: str) -> None:
    """Lay out a distribution with one plug-in, as an installer would."""
    (folder / "my_faces.py").write_text(code)
    info = folder / "my_faces-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-faces\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fersearch.plugins]\nfaces = my_faces\n")


def test_installed_plugins_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_faces", raising=False)
    assert load_installed_plugins()["faces"].answer == 42  # type: ignore[attr-defined]


def test_a_broken_installed_plugin_names_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_faces", raising=False)
    with pytest.raises(FersearchError, match="faces of my-faces cannot be loaded"):
        load_installed_plugins()
