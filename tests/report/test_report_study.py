"""A study's report and its summary table, from plain data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fersearch.errors import InputError
from fersearch.records import to_plain
from fersearch.report import (
    backbones_text,
    draw_confusion,
    gain_sentence,
    summary_cells,
    summary_rows,
    summary_text,
    under_limit,
    write_study_report,
)
from fersearch.report.front import front_sentences
from fersearch.report.text import code_block, code_span, escape_markdown, format_value
from fersearch.stats import evaluate, paired_gain

CLASSES = ["neutral", "happiness", "fear|*x*"]
PARAMS = {"temperature": 4.2, "alpha": 0.61, "ffe_splits": 4, "learning_rate": 0.0734}
PAPER = {"temperature": 8.0, "alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01}


@pytest.fixture
def result() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3

    def logits(skill: float, seeds: int) -> np.ndarray:
        return generator.normal(size=(seeds, 120, 3)) + skill * np.eye(3)[labels]

    distilled, alone = logits(3.0, 3), logits(0.5, 3)
    return to_plain(
        {
            "name": "faces_1",
            "protocol": {
                "data": "synthetic:train=400",
                "data_kind": "synthetic",
                "data_sha256": "ab" * 32,
                "label_rule": "as drawn",
                "classes": CLASSES,
                "n_train": 400,
                "n_val": 100,
                "n_test": 120,
                "image_size": 48,
                "student": "shufflenet_v2_x1_0",
                "teacher": "eff_resnet18",
                "views": {"flip": True},
            },
            "protocol_hash": "0123abcd",
            "study_hash": "4567cdef",
            "trials": {"complete": 31, "pruned": 19, "failed": 1},
            "best": {"params": PARAMS, "val_accuracy": 0.7123, "trial": 23},
            "paper_settings": [
                {"params": PAPER, "val_accuracy": 0.61},
                {"params": {**PAPER, "temperature": 6.0}, "val_accuracy": None},
            ],
            "confirmed": [{"params": PARAMS, "seeds": [0, 1], "val_accuracy": [0.70, 0.74]}],
            "test": {
                "distilled": evaluate(distilled, labels, CLASSES, seeds=[0, 1, 2]),
                "student_alone": evaluate(alone, labels, CLASSES, seeds=[0, 1, 2]),
                "teacher": evaluate(logits(3.5, 1), labels, CLASSES, seeds=[0]),
            },
            "gain": paired_gain(distilled, alone, labels),
            "cost": {"params": 1_261_804, "teacher": {"params": 11_824_455}},
            "seconds": {"search": 812.3},
            "command": "fersearch study distill --name faces_1",
            "environment": {"python": "3.11.2", "threads": 2},
            "test_reads": 1,
            "notes": ["limited to <400> faces"],
        }
    )


def test_report_states_result_search_protocol_and_command(
    result: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "history.png").write_bytes(b"")
    path = write_study_report(
        tmp_path,
        result,
        figures=[("History", "history.png"), ("Importances", "importances.png")],
    )
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "REPORT.md"
    assert text.startswith("# Study faces_1\n")
    assert "drawings, not photographs" in text
    assert "| teacher | eff_resnet18 | 11.82 |" in text
    assert "| distilled student | shufflenet_v2_x1_0 | 1.26 |" in text
    assert "Distillation gained" in text
    assert "Exact McNemar test of each seed" in text
    assert "| best (trial 23) | 4.2 | 0.61 | 4 | 0.0734 | 71.23 % |" in text
    assert "| paper (trial 0) | 8 | 0.4 | 4 | 0.01 | 61.00 % |" in text
    assert "| paper (trial 1) | 6 |" in text
    assert "0: 70.00 %, 1: 74.00 % | 72.00 % |" in text
    assert "31 complete trials, 19 pruned, 1 failed" in text
    assert "![History](history.png)" in text
    assert "The picture `importances.png` was not made." in text
    assert "Once by this study" in text
    assert "```sh\nfersearch study distill --name faces_1\n```" in text
    assert "`0123abcd`" in text
    assert "| python | 3.11.2 |" in text
    assert "2000 bootstrap resamples" in text
    assert "one training seed" in text
    assert "limited to &lt;400&gt; faces" in text
    assert "\n\n\n" not in text


def test_every_table_row_has_as_many_cells_as_its_header(
    result: dict[str, Any], tmp_path: Path
) -> None:
    text = write_study_report(tmp_path, result).read_text(encoding="utf-8")
    width = 0
    for line in text.splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        width = width or cells
        assert cells == width, line


def test_names_are_shown_literally(result: dict[str, Any], tmp_path: Path) -> None:
    result["name"] = "<script>|`x`"
    result["command"] = "fersearch study distill --name '```'"
    text = write_study_report(tmp_path, result).read_text(encoding="utf-8")
    assert "# Study &lt;script&gt;\\|\\`x\\`" in text
    assert "| fear\\|\\*x\\* |" in text
    assert "````sh\n" in text
    assert "<script>" not in text


def test_confusion_picture_is_a_readable_png(result: dict[str, Any], tmp_path: Path) -> None:
    write_study_report(tmp_path, result)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 10
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_confusion_picture_of_an_absent_class_and_a_name_with_dollars(tmp_path: Path) -> None:
    path = draw_confusion(
        [[3, 0], [0, 0]], ["a$b$", "none"], path=tmp_path / "c.png", title="$x$ of y"
    )
    assert path.stat().st_size > 1000


def test_a_study_on_photographs_without_a_control_or_test(
    result: dict[str, Any], tmp_path: Path
) -> None:
    result["protocol"]["data_kind"] = "ferplus"
    result["gain"] = None
    result["test_reads"] = 3
    del result["test"]["student_alone"]
    text = write_study_report(tmp_path / "new", result).read_text(encoding="utf-8")
    assert "drawings" not in text
    assert "nothing can be said about what distillation gained" in text
    assert "3 times by this study" in text
    result["test"] = {}
    result["test_reads"] = 0
    untested = write_study_report(tmp_path / "other", result).read_text(encoding="utf-8")
    assert "Nothing has been tested yet." in untested
    assert "Not once." in untested
    assert not (tmp_path / "other" / "confusion.png").exists()


def test_a_sparse_result_is_reported_too(result: dict[str, Any], tmp_path: Path) -> None:
    sparse = {key: result[key] for key in ("name", "protocol", "test")}
    text = write_study_report(tmp_path, sparse).read_text(encoding="utf-8")
    assert "Not recorded." in text
    assert "| teacher | eff_resnet18 | – |" in text  # noqa: RUF001


def test_summary_rows_and_cells(result: dict[str, Any]) -> None:
    rows = summary_rows(result)
    assert [row.role for row in rows] == ["teacher", "student_alone", "distilled"]
    assert [row.params for row in rows] == [11_824_455, 1_261_804, 1_261_804]
    assert [row.seeds for row in rows] == [1, 3, 3]
    assert rows[2].accuracy == result["test"]["distilled"]["accuracy"]
    assert summary_cells(rows[1])[:3] == ("student alone", "shufflenet_v2_x1_0", "1.26")


def test_summary_text_for_a_terminal(result: dict[str, Any]) -> None:
    lines = summary_text(result).splitlines()
    assert lines[0].startswith("row ")
    assert lines[2].startswith("teacher            eff_resnet18")
    assert lines[-2].startswith("Distillation gained")
    assert lines[-1] == (
        "Measured once on 120 test images of synthetic:train=400, label rule as drawn; drawings, "
        "not photographs."
    )


@pytest.mark.parametrize(
    ("accuracy", "ci95", "words"),
    [
        (0.021, (0.004, 0.038), "Distillation gained 2.10 points"),
        (-0.021, (-0.038, -0.004), "Distillation lost 2.10 points"),
        (0.021, (-0.004, 0.046), "No difference in test accuracy could be shown"),
        (0.0, (0.0, 0.0), "No difference in test accuracy could be shown"),
    ],
)
def test_gain_in_words(accuracy: float, ci95: tuple[float, float], words: str) -> None:
    gain = {"accuracy": accuracy, "ci95": ci95, "p_value": 0.0321, "test": "paired"}
    assert gain_sentence(gain).startswith(words)
    assert "p = 0.032" in gain_sentence(gain)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- item", "\\- item"),
        ("12. item", "12\\. item"),
        ("11.82", "11.82"),
        ("-0.5", "-0.5"),
        ("# title", "\\# title"),
        ("__bold__", "\\_\\_bold\\_\\_"),
        ("two\nlines", "two lines"),
        ("[a](b) $x$", "\\[a\\](b) \\$x\\$"),
    ],
)
def test_markdown_is_escaped_only_where_it_means_something(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_code_holds_any_text() -> None:
    assert code_span("a`b") == "`` a`b ``"
    assert code_block("x```y", "sh") == "````sh\nx```y\n````"


def test_values_as_text() -> None:
    assert format_value(True) == "yes"
    assert format_value(float("inf")) == "inf"
    assert format_value(128) == "128"


def test_importing_reports_is_light() -> None:
    code = (
        "import sys, fersearch.report; "
        "print([n for n in ('matplotlib', 'jinja2', 'sklearn', 'torch') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_on_the_latency_is_above_zero(limit: float) -> None:
    with pytest.raises(InputError, match="must be above 0 ms but is"):
        under_limit({"name": "small", "front": []}, limit)


def students_compared(*trials: dict[str, int]) -> dict[str, Any]:
    """Return the result of a backbones study whose searches ended with these trials."""
    block = {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "macro_f1": 0.5}
    row = {
        "test": {"distilled": block},
        "gain": {"accuracy": 0.0, "ci95": [-0.1, 0.1]},
        "params": 10,
        "macs": 10,
        "file_mb": 0.1,
        "latency": {},
        "deployed": {"int8_accuracy": 0.625},
    }
    names = ("one", "two", "three")
    return {
        "students": [
            {**row, "name": name, "trials": ended}
            for name, ended in zip(names, trials, strict=False)
        ],
        "fronts": {},
        "rule": "",
        "notes": [],
        "refused": {},
        "failed": {},
        "over_limit": [],
        "protocol": {"n_test": 8, "data": "synthetic", "data_kind": "synthetic", "label_rule": ""},
    }


def test_the_table_of_students_says_whose_int8_accuracy_it_is() -> None:
    study = students_compared({"complete": 3})
    assert "int8 accuracy: the 8-bit file of one network" in backbones_text(study)
    study["students"][0]["deployed"] = None
    assert "int8" not in backbones_text(study)


def test_the_table_of_students_says_when_their_searches_were_not_equally_long() -> None:
    equal = students_compared({"complete": 3, "pruned": 1}, {"complete": 4, "pruned": 0})
    assert "numbers of trials" not in backbones_text(equal)
    other = students_compared({"complete": 3, "pruned": 1}, {"complete": 2})
    assert "the searches had different numbers of trials: one 4, two 2." in backbones_text(other)


@pytest.mark.parametrize(("unsteady", "said"), [([False, False], False), ([True, False], True)])
def test_a_front_says_when_its_latencies_were_disturbed(unsteady, said) -> None:
    latency = {"image_size": 48, "runtime": "onnxruntime", "threads": 1, "host": "a machine"}
    point = {"trial": 3, "model": "lcnet_100", "options": {}, "recommended": True}
    sentences = front_sentences(
        {
            "front": [point],
            "recommendation": "the knee",
            "student_costs": [{"latency": {**latency, "unsteady": item}} for item in unsteady],
        }
    )
    found = [line for line in sentences if "disturbed 1 of these 2 measurements" in line]
    assert bool(found) is said
