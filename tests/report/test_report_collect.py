"""What may be compared stands together: from evaluations to boards."""

from __future__ import annotations

import numpy as np
import pytest

from fersearch.errors import FersearchError
from fersearch.evaluations import (
    Evaluation,
    GradCams,
    TestedRow,
    load_evaluation,
    load_grad_cams,
    save_evaluation,
    save_grad_cams,
)
from fersearch.report.leaderboard.collect import Source, load_sources, make_leaderboard
from fersearch.stats import holm, paired_gain
from fersearch.track import TrackedRun, TrackedStudy

CLASSES = ("neutral", "happiness", "surprise")
LABELS = np.arange(120) % 3


def logits(skill: float, seeds: int, start: int = 0) -> np.ndarray:
    pieces = []
    for seed in range(seeds):
        noise = np.random.default_rng(1000 * start + seed).normal(size=(len(LABELS), 3))
        pieces.append(noise + skill * np.eye(3)[LABELS])
    return np.stack(pieces).astype(np.float32)


def row(key: str, role: str, seeds: tuple[int, ...], **fields) -> TestedRow:
    return TestedRow(
        **{
            "key": key,
            "model": "resnet18",
            "title": key,
            "role": role,
            "seeds": seeds,
            "runs": tuple(f"{key}-{seed}" for seed in seeds),
            "params": 10,
            "training_params": 12,
            "macs": 100,
            "file_mb": 0.1,
            **fields,
        }
    )


def source(name: str, rows: dict[TestedRow, np.ndarray] | list, **fields) -> Source:
    pairs = list(rows)
    evaluation = Evaluation(
        **{
            "name": name,
            "kind": "study",
            "protocol": {"data": "faces", "data_kind": "folder", "data_sha256": "d1",
                         "image_size": 48, "metric": "accuracy", "space": {}},
            "protocol_hash": "p1",
            "study_hash": f"s-{name}",
            "classes": CLASSES,
            "rows": tuple(item for item, _ in pairs),
            "labels": LABELS,
            "logits": {item.key: values for item, values in pairs},
            **fields,
        }
    )  # fmt: skip
    study = TrackedStudy(
        run_id=f"id-{name}",
        name=name,
        status="FINISHED",
        started=0,
        runs=tuple(
            TrackedRun(
                run_id=f"id-{run}", name=run, role="x", state="complete", model="resnet18",
                params={}, metrics={},
            )
            for item, _ in pairs
            for run in item.runs
        ),
        evaluation=None,
    )  # fmt: skip
    return Source(study, evaluation)


@pytest.fixture
def study() -> Source:
    return source(
        "first",
        [
            (row("teacher", "teacher", (0,)), logits(3.0, 1, 1)),
            (row("distilled", "distilled", (1, 2, 3)), logits(2.0, 3, 2)),
            (row("alone", "student", (1, 2, 3)), logits(1.0, 3, 3)),
        ],
        pairs=(("distilled", "alone"),),
    )


def test_rows_are_ranked_and_compared_with_the_first(study):
    board = make_leaderboard([study]).boards[0]
    assert [item.role for item in board.rows] == ["teacher", "distilled", "student"]
    first, distilled, alone = board.rows
    assert first.versus_first is None
    raw = [distilled.versus_first.p_value, alone.versus_first.p_value]
    assert [distilled.p_value_vs_first, alone.p_value_vs_first] == list(holm(raw))
    assert distilled.run_ids == ("id-distilled-1", "id-distilled-2", "id-distilled-3")
    assert board.gains[0].gain == paired_gain(
        study.evaluation.logits["distilled"], study.evaluation.logits["alone"], LABELS
    )


def test_a_model_of_one_seed_stands_against_every_seed_of_the_other(study):
    board = make_leaderboard([study]).boards[0]
    gain = board.rows[1].versus_first
    repeated = np.repeat(study.evaluation.logits["teacher"], 3, axis=0)
    expected = paired_gain(study.evaluation.logits["distilled"], repeated, LABELS)
    assert (gain.accuracy, gain.ci95, gain.p_value) == (
        expected.accuracy,
        expected.ci95,
        expected.p_value,
    )
    assert "teacher as the one network it is" in gain.test


def test_models_are_paired_over_the_seeds_that_both_have(study):
    more = source("more", [(row("rival", "baseline", (2, 3, 4, 5)), logits(0.5, 4, 4))])
    board = make_leaderboard([study, more]).boards[0]
    rival = next(item for item in board.rows if item.role == "baseline")
    assert rival.study == "more"
    other = source("other", [(row("stranger", "baseline", (7, 8)), logits(0.5, 2, 5))])
    alone = source("alone", [(row("mine", "baseline", (1, 2)), logits(1.5, 2, 6))])
    board = make_leaderboard([other, alone]).boards[0]
    assert board.rows[1].versus_first is None
    assert board.rows[1].p_value_vs_first is None


def test_protocols_and_grids_stand_in_tables_of_their_own(study):
    other = source("other", [(row("x", "baseline", (1,)), logits(1, 1, 7))], protocol_hash="p2")
    grid = source("grid", [(row("T=4", "distilled", (1,)), logits(1, 1, 8))], kind="ablation")
    boards = make_leaderboard([grid, other, study]).boards
    assert [(board.kind, board.protocol_hash, len(board.rows)) for board in boards] == [
        ("leaderboard", "p1", 3),
        ("leaderboard", "p2", 1),
        ("ablation", "p1", 1),
    ]


def test_equal_titles_are_told_apart_by_their_study(study):
    again = source("again", [(row("teacher", "teacher", (0,)), logits(3.0, 1, 21))])
    board = make_leaderboard([study, again]).boards[0]
    titles = [item.title for item in board.rows if item.role == "teacher"]
    assert sorted(titles) == ["teacher (again)", "teacher (first)"]


def test_the_same_networks_are_shown_once(study):
    copy = source("copy", [(row("teacher", "teacher", (0,)), logits(3.0, 1, 1))])
    board = make_leaderboard([study, copy]).boards[0]
    assert len(board.rows) == 3
    assert board.rows[0].title == "teacher"
    assert "the same networks are in copy" in board.rows[0].notes


def test_two_models_with_identical_predictions_differ_in_nothing(study):
    same = source("same", [(row("rival", "baseline", (0,)), logits(3.0, 1, 1))])
    first, second, *_ = make_leaderboard([study, same]).boards[0].rows
    assert {first.role, second.role} == {"teacher", "baseline"}
    assert second.versus_first.accuracy == 0
    assert second.versus_first.p_value == 1


def test_other_test_labels_under_the_same_hash_are_left_out_and_named(study):
    liar = source(
        "liar", [(row("x", "baseline", (1,)), logits(1, 1, 9))], labels=np.roll(LABELS, 1)
    )
    board = make_leaderboard([liar, study])
    assert len(board.boards[0].rows) == 3
    assert any("liar" in line and "labels differ" in line for line in board.left_out)


def test_models_on_several_data_sets_are_ranked_over_them(study):
    rows = [
        (row("teacher", "teacher", (0,)), logits(3.0, 1, 11)),
        (row("distilled", "distilled", (1, 2, 3)), logits(2.0, 3, 12)),
    ]
    protocol = {**study.evaluation.protocol, "data": "more faces", "data_sha256": "d2"}
    second = source("second", rows, protocol=protocol, protocol_hash="p2")
    ranking = make_leaderboard([study, second]).ranking
    assert ranking.models == ("teacher", "distilled")
    assert ranking.mean_ranks == (1.0, 2.0)
    assert not ranking.drawable
    assert make_leaderboard([study]).ranking is None


def test_a_class_without_test_images_is_no_obstacle():
    labels = LABELS % 2
    some = source("some", [(row("x", "baseline", (1, 2)), logits(1, 2, 13))], labels=labels)
    metrics = make_leaderboard([some]).boards[0].rows[0].metrics
    assert metrics.per_class["surprise"].recall is None
    assert any("no test images of surprise" in note for note in metrics.notes)


def test_evaluations_survive_the_disk(study, tmp_path):
    save_evaluation(tmp_path, study.evaluation)
    again = load_evaluation(tmp_path)
    assert again.rows == study.evaluation.rows
    assert again.pairs == (("distilled", "alone"),)
    for key, values in study.evaluation.logits.items():
        np.testing.assert_array_equal(again.logits[key], values)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(FersearchError, match="no readable evaluation"):
        load_evaluation(tmp_path)


def test_what_the_8_bit_file_gave_survives_the_disk_and_old_evaluations_load(study, tmp_path):
    import dataclasses
    import json

    figures = {"int8_accuracy": 0.5, "fp32_accuracy": 0.6, "file": "a.int8.onnx"}
    first, *others = study.evaluation.rows
    rows = (dataclasses.replace(first, deployed=figures), *others)
    save_evaluation(tmp_path, dataclasses.replace(study.evaluation, rows=rows))
    again = load_evaluation(tmp_path)
    assert [item.deployed for item in again.rows] == [figures, None, None]
    board = make_leaderboard([Source(study.study, again)]).boards[0]
    assert board.rows[0].deployed == figures
    path = tmp_path / "evaluation.json"
    content = json.loads(path.read_text())
    for item in content["rows"]:
        del item["deployed"]  # as it was before there was such a field
    path.write_text(json.dumps(content))
    assert load_evaluation(tmp_path).rows == study.evaluation.rows


def test_rows_have_the_latencies_of_their_architecture_the_main_runtime_first(study):
    from board_samples import make_latency

    from fersearch.report.leaderboard.collect import architectures

    (network,) = architectures([study])  # all rows are of one
    found = {
        (network.key, name): make_latency(p50, runtime=name)
        for name, p50 in (("onnxruntime-int8", 1.0), ("onnxruntime", 2.0), ("eager", 3.0))
    }
    names = ("onnxruntime", "onnxruntime-int8")
    for row in make_leaderboard([study], latencies=found, runtimes=names).boards[0].rows:
        assert list(row.latencies) == list(names)
        assert row.latency.p50 == 2.0
    del found[network.key, "onnxruntime"]
    row = make_leaderboard([study], latencies=found, runtimes=names).boards[0].rows[0]
    assert row.latency is None
    assert list(row.latencies) == ["onnxruntime-int8"]
    assert make_leaderboard([study]).boards[0].rows[0].latencies == {}


def test_what_cannot_be_read_is_named(study, tmp_path):
    broken = TrackedStudy(
        run_id="b", name="broken", status="FINISHED", started=0, runs=(), evaluation=tmp_path
    )
    absent = TrackedStudy(
        run_id="a", name="absent", status="KILLED", started=0, runs=(), evaluation=None,
        problem="it was interrupted",
    )  # fmt: skip
    sources, left_out = load_sources([broken, absent])
    assert sources == []
    assert left_out[1] == "absent: it was interrupted"
    assert left_out[0].startswith("broken: ")
    assert load_sources([broken, absent], names=["absent"])[1] == [left_out[1]]


def test_grad_cam_maps_survive_the_disk(tmp_path):
    cams = GradCams(
        rule="by chance",
        images=np.zeros((2, 1, 8, 8), np.uint8),
        indices=np.array([3, 5]),
        labels=np.array([0, 1]),
        maps={"a": np.full((2, 8, 8), 0.5, np.float32)},
        predictions={"a": np.array([0, 0])},
        layers={"a": "layer1 (8 x 8)", "b": "none: no maps"},
    )
    save_grad_cams(tmp_path / "cams.npz", cams)
    again = load_grad_cams(tmp_path / "cams.npz")
    np.testing.assert_array_equal(again.maps["a"], cams.maps["a"])
    assert again.layers == cams.layers
    (tmp_path / "cams.npz").write_bytes(b"x")
    with pytest.raises(FersearchError, match="no readable Grad-CAM"):
        load_grad_cams(tmp_path / "cams.npz")


def test_every_format_shows_the_ranks_over_several_data_sets(study, tmp_path):
    import json

    from fersearch.report.leaderboard.text import leaderboard_text
    from fersearch.report.leaderboard.write import write_leaderboard

    rows = [
        (row("teacher", "teacher", (0,)), logits(3.0, 1, 11)),
        (row("distilled", "distilled", (1, 2, 3)), logits(2.0, 3, 12)),
    ]
    protocol = {**study.evaluation.protocol, "data": "more <b>", "data_sha256": "d2"}
    for item in (study, second := source("second", rows, protocol=protocol, protocol_hash="p2")):
        item.evaluation.protocol.update({"epochs": 1, "seeds": 3, "n_train": 9, "n_test": 120})
    board = make_leaderboard([study, second])
    write_leaderboard(board, tmp_path, ("html", "md", "json"))
    page = (tmp_path / "leaderboard.html").read_text()
    assert "Over several data sets" in page
    assert "more &lt;b&gt;" in page
    assert "| teacher | 1.00 |" in (tmp_path / "leaderboard.md").read_text()
    ranking = json.loads((tmp_path / "leaderboard.json").read_text())["ranking"]
    assert ranking["mean_ranks"] == [1.0, 2.0]
    assert "mean rank" in leaderboard_text(board)


def test_the_distilled_student_is_compared_with_every_baseline(study, tmp_path):
    from fersearch.report.leaderboard.formats import leaderboard_json, leaderboard_markdown
    from fersearch.report.leaderboard.text import leaderboard_text

    study.evaluation.protocol.update({"epochs": 1})
    rivals = source(
        "rivals",
        [
            (row("strong", "baseline", (1, 2, 3), params=100), logits(3.0, 3, 31)),
            (row("weak", "baseline", (1, 2, 3), params=120), logits(0.2, 3, 32)),
        ],
    )
    board = make_leaderboard([study, rivals])
    contests = {item.second: item for item in board.boards[0].contests}
    assert contests["strong"].gain.accuracy < 0 < contests["weak"].gain.accuracy
    raw = [
        paired_gain(
            study.evaluation.logits["distilled"], rivals.evaluation.logits[key], LABELS
        ).p_value
        for key in contests
    ]
    assert [item.gain.p_value for item in contests.values()] == list(holm(raw))
    assert "above in 1 of 2 comparisons" in leaderboard_text(board)
    assert "1 : 12.0" in leaderboard_markdown(board)
    assert len(leaderboard_json(board)["tables"][0]["contests"]) == 2


def test_the_protocol_says_which_settings_are_not_of_every_row():
    from fersearch.report.leaderboard.words import protocol_rows

    shared = {"epochs": 8, "objective": "o", "teacher": "t", "budget": "fixed"}
    names = [name for name, _ in protocol_rows(shared)]
    assert names == ["epochs", "teacher (study)", "objective (study)", "budget (baselines)"]
    alone = [name for name, _ in protocol_rows({"epochs": 8, "teacher": "t", "objective": "o"})]
    assert alone == ["epochs", "teacher", "objective"]
