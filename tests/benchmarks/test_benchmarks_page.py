"""The performance page says what the measured files say, and a command keeps it so."""

from __future__ import annotations

import json

import pytest

from benchmarks import page


def content(**changes):
    return {
        "benchmark": "floor",
        "options": {"image_size": 48, "threads": 1, "compile": False, "student": None},
        "started": "2026-11-26T10:00:00+00:00",
        "load_before": [0.1, 0.2, 0.3],
        "machine": {"processor": "A processor", "cores": 2},
        "versions": {"torch": "2.15.0", "commit": "0123456789ab"},
        "series": {"ours": {"unit": "ms a step", "values": [80.0, 90.0, 100.0]}},
        "ratios": {"theirs / ours": {"median": 2.0, "low": 1.9, "high": 2.125}},
        "figures": {},
        "lines": ["floor: A processor", "  theirs / ours: 2.00"],
        **changes,
    }


@pytest.fixture
def place(tmp_path):
    """Return a page with one region and an empty folder of results."""
    text = "# Page\n\nBefore.\n\n<!-- measured: floor-48 -->\nold\n<!-- end -->\n\nAfter.\n"
    (tmp_path / "performance.md").write_text(text, encoding="utf-8")
    result = tmp_path / "results" / "floor-48"
    result.mkdir(parents=True)
    (result / "floor.json").write_text(json.dumps(content()), encoding="utf-8")
    (result / "floor.png").write_bytes(b"a plot")
    return tmp_path


def run(place, *words):
    page.main([*words, "--page", str(place / "performance.md"), "--measured", str(place / "in")])
    return (place / "performance.md").read_text(encoding="utf-8")


def test_a_region_is_written_from_its_file_and_the_rest_stays(place):
    text = run(place, "--add", str(place / "results" / "floor-48"))
    assert "| theirs / ours | 2.00 (1.90-2.12) |" in text
    assert "| ours | 90.0 (80.0-100.0) ms a step |" in text
    assert "`python -m benchmarks floor --image-size 48 --threads 1`" in text
    assert "A processor, 2 cores, PyTorch 2.15.0, 2026-11-26, commit 0123456789ab, 3 rounds" in text
    assert "old" not in text
    assert "load" not in text
    assert text.startswith("# Page\n\nBefore.\n")
    assert text.endswith("<!-- end -->\n\nAfter.\n")
    assert not list((place / "in").glob("*.png"))  # the page shows none
    assert run(place) == text


def test_a_busy_machine_is_said_and_lines_can_be_shown(place):
    (place / "performance.md").write_text(
        "![plot](in/floor-48.png)\n<!-- measured: floor-48 lines -->\n<!-- end -->\n",
        encoding="utf-8",
    )
    file = place / "results" / "floor-48" / "floor.json"
    file.write_text(json.dumps(content(load_before=[1.5, 1, 1])), encoding="utf-8")
    text = run(place, "--add", str(file.parent))
    assert "load 1.5 at the start" in text
    assert "```text\n  theirs / ours: 2.00\n```" in text
    assert (place / "in" / "floor-48.png").read_bytes() == b"a plot"


def test_a_page_that_is_not_what_the_files_say_fails_the_check(place):
    run(place, "--add", str(place / "results" / "floor-48"))
    run(place, "--check")
    with (place / "in" / "floor-48.json").open("w", encoding="utf-8") as file:
        json.dump(content(ratios={}), file)
    with pytest.raises(SystemExit, match="run python -m benchmarks page"):
        run(place, "--check")


def test_a_region_without_a_file_is_an_error(place):
    with pytest.raises(SystemExit, match="there is no"):
        run(place)


def test_the_page_of_this_project_is_what_its_files_say():
    page.main(["--check"])
    names = {file.stem for file in page.MEASURED.glob("*.json")}
    text = page.PAGE.read_text(encoding="utf-8")
    shown = {match["name"] for match in page.REGION.finditer(text)}
    assert names == shown, "a measured file that no region shows, or the other way round"
