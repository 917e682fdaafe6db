"""The documentation says what is there: links lead somewhere, commands and examples are real."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "baselines" / "README.md",
        ROOT / "reports" / "README.md",
    )
    if page.is_file()
]

COMMANDS = [
    "python -m venv .venv && . .venv/bin/activate && pip install ."
    " && fersearch study distill --trials 50",
    'pip install -e ".[test]" && pytest',
]

FENCE = re.compile(r"^( *)(`{3,})([\w-]*)[^\n]*\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
SOURCE = re.compile(r"<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=\"([^\"]+)\"")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of every fenced block of a page."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield match[3], match[4]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_picture_is_there(page: Path) -> None:
    text = prose(page)
    for target in [*LINK.findall(text), *SOURCE.findall(text)]:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), f"{target} leaves the repository"
        assert file.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(file), f"{name_of(file)} has no heading for #{anchor}"


def test_the_readme_holds_both_commands_as_they_are_run() -> None:
    lines = {
        line.strip().removeprefix("$ ")
        for language, text in blocks(ROOT / "README.md")
        for line in text.splitlines()
        if language != "python"
    }
    assert [command for command in COMMANDS if command not in lines] == []


def shell_lines(text: str) -> Iterator[str]:
    """Yield the commands of a shell block; continued lines are joined, outputs left out."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = any(line.lstrip().startswith("$ ") for line in lines)
    for line in lines:
        stripped = line.strip()
        if not prompted or stripped.startswith("$ "):
            yield stripped.removeprefix("$ ")


def written_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the arguments of every ``fersearch`` command in the documentation."""
    for page in PAGES:
        for language, text in blocks(page):
            if language not in {"", "sh", "bash", "console", "shell"}:
                continue
            for line in shell_lines(text):
                for part in re.split(r"&&|\|\||[;|]", line):
                    words = shlex.split(part, comments=True) if "fersearch " in part else []
                    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                        words = words[1:]
                    if words and words[0] == "fersearch":
                        yield name_of(page), words[1:]


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line as click would, without running anything or looking at any file."""
    context = click.Context(command, parent=parent, info_name=command.name)
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice) and parameter.name in values:
            given = values[parameter.name]
            for value in given if isinstance(given, list | tuple) else [given]:
                parameter.type.convert(value, parameter, context)
    if isinstance(command, click.Group) and rest:
        _, inner, remaining = command.resolve_command(context, rest)
        assert inner is not None
        parse(inner, remaining, context)
    else:
        assert rest == [], f"{rest} is too much"


@pytest.mark.parametrize(("page", "words"), [*written_commands()], ids=str)
def test_every_written_command_is_understood(page: str, words: list[str]) -> None:
    main = pytest.importorskip("fersearch.cli.main")
    try:
        parse(main.cli, words)
    except click.UsageError as error:
        pytest.fail(f"{page}: fersearch {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_example_is_python(page: Path) -> None:
    for language, text in blocks(page):
        if language in {"python", "py", "pycon"}:
            examples = doctest.DocTestParser().get_examples(text)
            for source in [example.source for example in examples] or [text]:
                ast.parse(source, filename=str(page))


# Spelled in parts, so that this file does not find itself.
FOREIGN = ["/wo" + "rk/", "../sha" + "red", "/ho" + "me/", "/tm" + "p/w/"]
TEXT = {".cfg", ".css", ".js", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}
OWN = [".ci", "baselines", "benchmarks", "docs", "fersearch", "reports", "studies", "tests"]


def test_no_file_speaks_of_one_machine() -> None:
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".cov")]
    for folder in OWN:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = [
        f"{name_of(path)}: {word}"
        for path in files
        if path.suffix in TEXT and "__pycache__" not in path.parts
        for word in FOREIGN
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []
