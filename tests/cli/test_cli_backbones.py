"""A study of several students as a user types it: one teacher, a search each, one table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, TINY_DATA, TINY_STUDY

import fersearch
from fersearch.cli.main import main
from fersearch.errors import FersearchError, InputError

ODD = ROOT / "tests" / "plugins" / "odd_models.py"
# One teacher: its number of subsets is not searched here, so that it can be counted.
SPACE = TINY_STUDY.replace("choices = [2, 4, 8]", "choices = [4]")
STUDY = SPACE.replace(
    'student = "tiny_student"',
    'students = ["tiny_student", "odd_features", "tiny_wide", "odd_failing_late"]',
).replace('name = "tiny"', 'name = "small"')
SHORT = ("--trials", "3", "--epochs", "1", "--seeds", "2", "--confirm-top", "1")
COMMON = ("--data", TINY_DATA, "--jobs", "1", "--threads", "1", "--no-latency")


def typed(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("file") / "small.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_data, tiny_cache, tiny_plugin) -> Path:
    """An empty workspace with the decoded data, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERSEARCH_WORKSPACE", raising=False)
    shutil.copytree(tiny_cache / "data", tmp_path / "workspace" / "cache" / "data")
    return tmp_path / "workspace"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, file, tiny_plugin, tiny_data, tiny_cache):
    """A workspace where the study has run, and what it printed."""
    work = tmp_path_factory.mktemp("tracked") / "workspace"
    shutil.copytree(tiny_cache / "data", work / "cache" / "data")
    lines: list[str] = []
    result = fersearch.run_backbones(
        file,
        data=TINY_DATA,
        workspace=work,
        jobs=1,
        threads=1,
        settings={
            "budget.trials": 3,
            "budget.epochs": 1,
            "budget.seeds": 2,
            "budget.confirm_top": 1,
        },
        latency=False,
        plugins=[tiny_plugin, ODD],
        listener=lambda progress: lines.append(
            progress.message or ("" if progress.step is None else f"step {progress.step.run_id}")
        ),
    )
    return work, result, lines


def options(tiny_plugin: Path, *more: str) -> tuple[str, ...]:
    return (*COMMON, *SHORT, "--plugin", str(tiny_plugin), "--plugin", str(ODD), *more)


@pytest.mark.slow
def test_every_student_gets_a_study_and_those_that_cannot_have_one_a_reason(tracked):
    work, result, _ = tracked
    content = json.loads((work / "studies" / "small" / "result.json").read_text())
    assert content == result.content
    assert content["kind"] == "backbones"
    assert [row["name"] for row in content["students"]] == ["tiny_student", "tiny_wide"]
    assert "gives (5,)" in content["refused"]["odd_features"]
    assert "this network fails later" in content["failed"]["odd_failing_late"]
    for row in content["students"]:
        own = json.loads((work / "studies" / row["study"] / "result.json").read_text())
        assert row["study"] == f"small-{row['name']}"
        assert row["test"]["distilled"]["accuracy"] == own["test"]["distilled"]["accuracy"]
        assert row["test"]["distilled"]["accuracy_ci95"] == list(
            own["test"]["distilled"]["accuracy_ci95"]
        )
        assert row["gain"]["p_value"] == own["gain"]["p_value"]
        assert (row["params"], row["macs"]) == (own["cost"]["params"], own["cost"]["macs"])
        assert row["best_params"] == own["best"]["params"]
        assert row["trials"] == own["trials"]
        assert sum(row["trials"].values()) == 3
        assert row["seeds"] == [1, 2]
        assert own["protocol"]["student"] == row["name"]
    first, second = (
        json.loads((work / "studies" / f"small-{name}" / "protocol.json").read_text())
        for name in ("tiny_student", "tiny_wide")
    )
    assert {key for key in first if first[key] != second[key]} == {"student"}


@pytest.mark.slow
def test_the_teacher_is_trained_once_and_its_soft_labels_are_made_once(tracked):
    work, _, lines = tracked
    assert len(list((work / "cache" / "teachers").glob("*/record.json"))) == 1
    assert len(list((work / "cache" / "soft_labels").iterdir())) == 3  # the search's and two seeds
    steps = [number for number, line in enumerate(lines) if line.startswith("step teacher")]
    second = next(number for number, line in enumerate(lines) if line.startswith("student 2 of"))
    assert steps
    assert max(steps) < second


@pytest.mark.slow
def test_each_student_reads_the_test_split_once(tracked):
    work, result, _ = tracked
    reads = sorted((work / "studies").glob("*/test_reads.jsonl"))
    assert [path.parent.name for path in reads] == ["small-tiny_student", "small-tiny_wide"]
    assert [len(path.read_text().splitlines()) for path in reads] == [1, 1]
    assert [row["test_reads"] for row in result.content["students"]] == [1, 1]


@pytest.mark.slow
def test_the_table_the_report_and_the_page_say_the_same_and_the_rule(tracked):
    work, result, _ = tracked
    table, report = str(result), result.report.read_text()
    page = (work / "reports" / "small" / "leaderboard.html").read_text()
    assert result.page == work / "reports" / "small" / "leaderboard.html"
    for text in (table, report, page):
        assert "Every student has a search of its own" in text
        assert "gives (5,)" in text
        assert "this network fails later" in text
        for name in ("tiny_student", "tiny_wide"):
            assert name in text
    assert "../../reports/small/leaderboard.html" in report
    assert (result.report.parent / "../../reports/small/leaderboard.html").exists()
    assert "../small-tiny_wide/REPORT.md" in report
    row = next(line for line in table.splitlines() if line.startswith("tiny_wide"))
    accuracy = result.content["students"][1]["test"]["distilled"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in row
    board = json.loads((work / "reports" / "small" / "leaderboard.json").read_text())
    titles = {row["title"] for row in board["rows"]}
    assert {"tiny_student, distilled", "tiny_wide, distilled"} <= titles


@pytest.mark.slow
def test_the_front_holds_the_smallest_student_and_the_best(tracked):
    _, result, _ = tracked
    rows = result.content["students"]
    best = max(rows, key=lambda row: row["test"]["distilled"]["accuracy"])
    front = result.content["fronts"]["params"]
    assert "tiny_student" in front  # none is smaller
    assert best["name"] in front or best["test"] == rows[0]["test"]
    assert set(result.content["fronts"]) == {"params"}  # no latency was measured


@pytest.mark.slow
def test_running_it_again_trains_and_tests_nothing(tracked, file, tiny_plugin, capsys):
    work, result, _ = tracked
    kept = {
        path: path.stat().st_mtime_ns
        for pattern in ("studies/small-tiny*/result.json", "studies/*/test_reads.jsonl")
        for path in work.glob(pattern)
    }
    teachers = {
        path: path.stat().st_mtime_ns for path in (work / "cache" / "teachers").rglob("*.json")
    }
    names = ("--student", "tiny_student", "--student", "tiny_wide", "--student", "odd_features")
    arguments = options(tiny_plugin, "--workspace", str(work), "--json", *names)
    assert typed("study", str(file), *arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["students"] == result.content["students"]
    assert len(kept) == 4
    for path, stamp in {**kept, **teachers}.items():
        assert path.stat().st_mtime_ns == stamp, path


@pytest.mark.slow
def test_list_and_show_know_the_summary(tracked, capsys):
    work, result, _ = tracked
    assert typed("study", "list", "--workspace", str(work)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]].count("small") == 1
    assert typed("study", "list", "--workspace", str(work), "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["small"]["students"] == ["small-tiny_student", "small-tiny_wide"]
    assert rows["small-tiny_wide"]["state"] == "finished"
    assert typed("study", "show", "small", "--workspace", str(work)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:4] == str(result).splitlines()[:4]
    assert typed("study", "show", "small", "--workspace", str(work), "--json") == 0
    assert json.loads(capsys.readouterr().out)["result"]["kind"] == "backbones"


@pytest.mark.slow
def test_the_name_of_a_summary_is_taken_and_so_is_that_of_a_study(tracked, file, tiny_plugin):
    work, _, _ = tracked
    common = {"data": TINY_DATA, "workspace": work, "jobs": 1, "track": False}
    with pytest.raises(InputError, match="'small' is the name of a study of several students"):
        fersearch.run_study(file, settings={"training.students": ["tiny_wide"]}, **common)
    with pytest.raises(InputError, match="'small-tiny_wide' is the name of a study"):
        fersearch.run_backbones(file, students=["tiny_wide"], name="small-tiny_wide", **common)


@pytest.mark.slow
def test_other_settings_under_the_same_name_are_refused(tracked, file, tiny_plugin):
    work, _, _ = tracked
    with pytest.raises(InputError, match=r"'small-tiny_student' exists with another protocol"):
        fersearch.run_backbones(
            file,
            students=["tiny_student", "tiny_wide"],
            data=TINY_DATA,
            workspace=work,
            track=False,
        )


# --- on the command line ------------------------------------------------------------------------


@pytest.mark.slow
def test_students_of_the_command_replace_those_of_the_file(place, file, tiny_plugin, capsys):
    names = ("--student", "tiny_m*", "--student", "odd_deaf", "--student", "tiny_middle")
    assert typed("study", str(file), *options(tiny_plugin, "--no-track", *names)) == 0
    shown = capsys.readouterr()
    rows = [line.split()[0] for line in shown.out.splitlines()[2:4]]
    assert set(rows) == {"tiny_middle", "odd_deaf"}
    assert "odd_deaf ignores drop_rate: it is trained without dropout" in shown.err
    assert "there is no page: nothing was tracked" in shown.err
    assert "report  workspace/studies/small/REPORT.md" in shown.out
    assert not (place / "reports").exists()


@pytest.mark.slow
def test_a_student_that_is_larger_than_the_teacher_is_noted(place, file, tiny_plugin, capsys):
    arguments = options(tiny_plugin, "--no-track", "--student", "tiny_wide", "--json")
    assert typed("study", str(file), *arguments) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("has more parameters" in note and "tiny_teacher" in note for note in notes)


def test_a_student_that_cannot_work_at_the_input_size_is_left_out(place, file, tiny_plugin, capsys):
    """vit_tiny_patch16_224 has patches of 16 px, which divide the images' 16 px and not 24 px."""
    students = ("--student", "vit_tiny_patch16_224", "--student", "tiny_student")
    arguments = options(tiny_plugin, "--no-track", "--json", *students, "--input-size", "24")
    assert typed("study", str(file), *arguments, "--no-export") == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in content["students"]] == ["tiny_student"]
    assert "would leave out the last 8 of 24 px" in content["refused"]["vit_tiny_patch16_224"]
    one = options(tiny_plugin, "--no-track", *students[:2], "--input-size", "24")
    assert typed("study", str(file), *one) == 2
    assert "no student can work at 24 px: vit_tiny" in capsys.readouterr().err.splitlines()[-1]


def test_a_student_that_is_too_slow_does_not_end_the_others(
    place, file, tiny_plugin, capsys, monkeypatch
):
    from fersearch.search import TooSlowError
    from fersearch.search.pareto import ParetoRunner

    def check_limit(self: ParetoRunner) -> None:
        if self.spec.training.student == "tiny_wide":
            raise TooSlowError("the fastest is tiny_wide")

    monkeypatch.setattr(ParetoRunner, "check_limit", check_limit)
    arguments = ["--student", "tiny_wide", "--student", "tiny_student", "--no-track", "--json"]
    arguments += ["--objective", "accuracy", "--objective", "macs", "--no-export"]
    arguments += ["--input-size", "16", "--input-size", "20"]
    assert typed("study", str(file), *options(tiny_plugin, *arguments)) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in content["students"]] == ["tiny_student"]
    assert content["failed"] == {"tiny_wide": "the fastest is tiny_wide"}


@pytest.mark.slow
def test_a_student_for_grey_images_is_given_colour(place, file, tiny_plugin):
    arguments = options(tiny_plugin, "--no-track", "--student", "odd_grey")
    assert typed("study", str(file), *arguments, "--name", "grey") == 0
    protocol = json.loads((place / "studies" / "grey-odd_grey" / "protocol.json").read_text())
    assert protocol["student_options"] == {"in_chans": 3}


@pytest.mark.slow
def test_limits_are_options(place, file, tiny_plugin, capsys):
    students = ("--student", "tiny_student", "--student", "tiny_wide")
    arguments = options(tiny_plugin, "--no-track", "--json", *students, "--max-params", "1k")
    assert typed("study", str(file), *arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in content["students"]] == ["tiny_student"]
    assert content["over_limit"] == ["tiny_wide"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--student", "tiny_studdent"), "unknown model 'tiny_studdent'; did you mean"),
        (("--student", "nothing_like_*"), "no model matches 'nothing_like_*'"),
        (("--max-params", "six"), "max_params must be a number of at least 1"),
        (("--max-macs", "0"), "max_macs must be a number of at least 1"),
        (("--student", "odd_features", "--student", "odd_tuple"), "none of 2 models can be a"),
        (("--sampler", "grid"), "is a grid"),
        (("--name", "a/b"), "the name of a study cannot be"),
        (("--name", "x" * 60, "--student", "tiny_wide"), "a shorter --name"),
        (("--trials", "0"), "trials must be at least 1"),
        (("--objective", "accuracy", "--objective", "params"), "a search of its own, at one size"),
        (("--teacher", "resnet_18"), "unknown model"),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_trained(
    place, file, tiny_plugin, capsys, arguments, words
):
    common = (*COMMON, "--plugin", str(tiny_plugin), "--plugin", str(ODD), "--no-track")
    assert typed("study", str(file), *common, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (place / "cache" / "teachers").exists()


@pytest.mark.slow
def test_a_study_without_one_student_left_fails_with_the_reasons(place, file, tiny_plugin, capsys):
    arguments = options(tiny_plugin, "--no-track", "--student", "odd_failing_late")
    assert typed("study", str(file), *arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: no student has a result: odd_failing_late:")
    assert not (place / "studies" / "small" / "result.json").exists()


def test_an_ordinary_study_refuses_a_student_that_cannot_be_trained(
    place, tiny_study_file, tiny_plugin, capsys
):
    for student, words in (
        ("odd_two_heads", "odd_two_heads gives a tuple of 2 in training"),
        ("odd_no_dropout", "odd_no_dropout takes no drop_rate"),
    ):
        arguments = options(tiny_plugin, "--no-track", "--student", student)
        arguments = tuple(item for item in arguments if item != "--no-latency")
        assert typed("study", str(tiny_study_file), *arguments) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
    assert not (place / "studies" / "tiny").exists()


def test_the_file_of_several_students_has_a_help_of_its_own(file, capsys):
    assert typed("study", "backbones", "--help") == 0
    shipped = capsys.readouterr().out
    for words in ("--max-params", "--max-macs", "a search of its own", "may be given"):
        assert words in " ".join(shipped.split())
    assert typed("study", str(file), "--help") == 0
    assert "--max-params" in capsys.readouterr().out
    assert typed("study", "distill", "--help") == 0
    assert "--max-params" not in capsys.readouterr().out


def test_the_library_names_the_function_for_several_students(file, place):
    with pytest.raises(InputError, match="run_backbones"):
        fersearch.run_study(file, data=TINY_DATA, workspace=place)


def test_two_processes_do_not_run_one_study_at_once(place, file):
    from fersearch.files import file_lock

    with (
        file_lock(place / "studies" / "small" / "lock"),
        pytest.raises(FersearchError, match="is being run by another process"),
    ):
        fersearch.run_backbones(
            file, students=["tiny_wide"], data=TINY_DATA, workspace=place, track=False
        )
