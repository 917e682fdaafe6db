"""Boards for tests: seeded random logits, measured as a real test is, under awkward names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.deploy.latency import Latency
from fersearch.report.leaderboard.board import (
    Board,
    BoardRow,
    Gain,
    Leaderboard,
    SearchHistory,
    SearchTrial,
)
from fersearch.stats import evaluate, holm, paired_gain

CLASSES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
SHARES = (0.27, 0.24, 0.12, 0.12, 0.10, 0.05, 0.06, 0.04)
NASTY = (
    "<img src=x onerror=alert(1)>",
    "50% of $x_1^2$ & {a}~b\\c #1",
    '=HYPERLINK("x","y")',
    "naïve “quotes” 'single' 模型 |pipe|",
    "</script><script>alert(2)</script>",
    "-2+3 @SUM [link](x) `code` *star* __u__",
)
PROTOCOL: dict[str, Any] = {
    "version": 1,
    "data": "synthetic",
    "data_kind": "synthetic",
    "data_sha256": "d3a640c86f50377e809b8c4614238fd5bcb81216a83eba7bc43e98f2e31175b7",
    "label_rule": "drawn",
    "n_train": 2400,
    "n_val": 800,
    "image_size": 48,
    "epochs": 8,
    "batch_size": 64,
    "recipe": "default",
    "recipe_settings": {"momentum": 0.9, "weight_decay": 0.0005, "schedule": "cosine"},
    "views": {"shift": 0.06, "rotation": 8.0, "flip": 0.5},
    "preprocessing": {"image_size": 48, "mean": [0.5108], "std": [0.1813]},
    "metric": "accuracy",
    "seed": 0,
    "seeds": 3,
}
LADDER = (
    ("eff_resnet18", "EFF-ResNet18", "teacher", 11_824_455, 90_200_000, 3.1),
    ("shufflenet_v2_x1_0", "ShuffleNetV2 x1.0, distilled", "distilled", 1_261_804, 7_120_000, 2.9),
    ("shufflenet_v2_x1_0", "ShuffleNetV2 x1.0 alone", "student", 1_261_804, 7_120_000, 2.4),
    ("resnet18", "ResNet18", "baseline", 11_180_616, 84_700_000, 2.7),
    ("rcl_net", "RCL-Net (style)", "baseline", 11_660_864, 87_300_000, 2.75),
    ("tfen", "TFEN (style)", "baseline", 9_304_968, 141_000_000, 2.5),
    ("ecdnet", "ECDNet (after its authors' design)", "baseline", 11_243_208, 84_600_000, 2.2),
)


def draw_labels(images: int, *, absent: Sequence[str] = (), seed: int = 0) -> NDArray[np.int64]:
    """Return true classes of the test images, none of the absent ones, the others at least once."""
    present = [index for index, name in enumerate(CLASSES) if name not in absent]
    shares = np.array([SHARES[index] for index in present])
    generator = np.random.default_rng(seed)
    drawn = generator.choice(present, size=images, p=shares / shares.sum())
    drawn[: len(present)] = present
    return drawn.astype(np.int64)


def draw_logits(
    labels: NDArray[np.int64], *, skill: float, seeds: int, seed: int
) -> NDArray[np.float32]:
    """Return logits (seeds, images, classes): images differ in difficulty, alike for all models."""
    ease = np.random.default_rng(99).normal(1.0, 0.35, size=len(labels))
    generator = np.random.default_rng(seed)
    skills = skill + generator.normal(0, 0.03, size=(seeds, 1, 1))
    truth = np.eye(len(CLASSES))[labels] * ease[:, None]
    noise = generator.normal(size=(seeds, len(labels), len(CLASSES)))
    return (1.3 * (skills * truth + noise)).astype(np.float32)


def make_latency(
    p50: float,
    *,
    runtime: str = "onnxruntime",
    session: str = "bench-1",
    unsteady: bool = False,
) -> Latency:
    """Return latency figures around a median."""
    return Latency(
        runtime=runtime,
        runtime_version="1.32.0",
        threads=1,
        image_size=48,
        p50=p50,
        p90=p50 * (1.6 if unsteady else 1.12),
        min=p50 * (0.7 if unsteady else 0.95),
        runs=200,
        host=f"8-core x86-64 processor, Linux, host of {session}",
        session=session,
        unsteady=unsteady,
    )


def make_latencies(
    p50: float, *, session: str = "bench-1", unsteady: bool = False
) -> dict[str, Latency]:
    """Return latencies in ONNX Runtime, in float32 and in 8 bits; the first may be unsteady."""
    return {
        "onnxruntime": make_latency(p50, session=session, unsteady=unsteady),
        "onnxruntime-int8": make_latency(0.6 * p50, runtime="onnxruntime-int8", session=session),
    }


DEPLOYED = {
    "int8_accuracy": 0.8612,
    "fp32_accuracy": 0.8651,
    "int8_val_accuracy": 0.8701,
    "fp32_val_accuracy": 0.8722,
    "int8_file_mb": 1.4,
    "onnx_file_mb": 5.1,
}
"""What the ONNX files of a row give."""


def make_row(labels: NDArray[np.int64], number: int, *, seeds: int, **overrides: Any) -> BoardRow:
    """Return the row of one model of the ladder; after its end names and sizes vary."""
    model, title, role, params, macs, skill = LADDER[number % len(LADDER)]
    round_number = number // len(LADDER)
    if round_number:
        title = NASTY[number % len(NASTY)] if round_number == 1 else f"{title} v{round_number + 1}"
        role = "baseline" if role == "teacher" else role
        params, macs = int(params * (1 + 0.31 * round_number)), int(macs / (1 + round_number))
        skill -= 0.13 * round_number
    logits = draw_logits(labels, skill=skill, seeds=seeds, seed=100 + number)
    values: dict[str, Any] = {
        "key": f"row-{number}",
        "model": model,
        "title": title,
        "role": role,
        "seeds": tuple(range(seeds)),
        "settings": {"learning_rate": 0.0734 / (1 + number), "temperature": 4.2, "alpha": 0.61},
        "logits": logits,
        "params": params,
        "training_params": params + (24_000 if model == "ecdnet" else 0),
        "macs": macs,
        "macs_not_counted": ("aten::grid_sampler",) if model == "ecdnet" else (),
        "file_mb": params * 4.02e-6,
        "latencies": make_latencies(0.3 + macs / 9e6, unsteady=number == 3),
        "runtime": "onnxruntime",
        "claimed": {"accuracy": 0.988, "params_m": 1.3} if role == "distilled" else None,
        "run_ids": tuple(
            f"{number:02d}{seed:02d}c0ffee{number * 7919 % 65536:04x}" for seed in range(seeds)
        ),
        "study": "distill" if role != "baseline" else "baselines",
        "command": "fersearch study distill --trials 50 --name 'distill'",
        "source": "Ma et al., ECCV 2018" if "shuffle" in model else "He et al., CVPR 2016",
        "notes": ("Trained without the auxiliary head.",) if model == "ecdnet" else (),
        "train_seconds": 412.5 * seeds,
    } | overrides
    values["metrics"] = evaluate(
        values["logits"], labels, CLASSES, seeds=values["seeds"], resamples=200
    )
    return BoardRow(**values)


def ranked(rows: Sequence[BoardRow], labels: NDArray[np.int64]) -> tuple[BoardRow, ...]:
    """Return rows by falling accuracy with their paired comparison to the first."""
    ordered = sorted(rows, key=lambda row: (-row.metrics.accuracy, row.title))
    first, others = ordered[0], ordered[1:]
    gains = [
        paired_gain(row.logits, first.logits, labels, resamples=200)
        if row.logits.shape == first.logits.shape
        else None
        for row in others
    ]
    adjusted = iter(holm([gain.p_value for gain in gains if gain is not None]))
    compared = [
        replace(
            row,
            versus_first=gain,
            p_value_vs_first=None if gain is None else next(adjusted),
        )
        for row, gain in zip(others, gains, strict=True)
    ]
    return (replace(first, versus_first=None, p_value_vs_first=None), *compared)


def make_search(trials: int = 50) -> SearchHistory:
    """Return the history of a search in which values creep upwards."""
    generator = np.random.default_rng(5)
    entries = []
    for number in range(trials):
        state = (
            "failed" if number == 17 else ("pruned" if generator.random() < 0.35 else "complete")
        )
        value = float(0.55 + 0.2 * (1 - np.exp(-number / 12)) - abs(generator.normal(0, 0.05)))
        entries.append(
            SearchTrial(
                number=number,
                state=state,
                value=None if state == "failed" else value - (0.12 if state == "pruned" else 0),
                params={"temperature": 1 + 15 * generator.random(), "alpha": 0.4},
            )
        )
    return SearchHistory(
        study="distill",
        metric="accuracy",
        trials=tuple(entries),
        importances={"learning_rate": 0.61, "temperature": 0.22, "ffe_splits": 0.11, "alpha": 0.06},
        importance_note="fANOVA over complete trials",
    )


def make_board(
    count: int = 7,
    *,
    seeds: int = 3,
    images: int = 500,
    absent: Sequence[str] = (),
    kind: str = "leaderboard",
    protocol_hash: str = "3f9a2c7e51d0b846",
    with_study: bool = True,
    **overrides: Any,
) -> Board:
    """Return a board of ``count`` models; ``overrides`` go to every row."""
    labels = draw_labels(images, absent=absent)
    rows = ranked(
        [make_row(labels, number, seeds=seeds, **overrides) for number in range(count)], labels
    )
    gains: tuple[Gain, ...] = ()
    by_role = {row.role: row for row in reversed(rows)}
    if with_study and {"distilled", "student"} <= set(by_role):
        pair = by_role["distilled"], by_role["student"]
        gains = (
            Gain(
                study="distill",
                first=pair[0].title,
                second=pair[1].title,
                gain=paired_gain(pair[0].logits, pair[1].logits, labels, resamples=200),
            ),
        )
    return Board(
        kind=kind,
        protocol={**PROTOCOL, "classes": list(CLASSES), "n_test": images, "seeds": seeds},
        protocol_hash=protocol_hash,
        classes=CLASSES,
        labels=labels,
        rows=rows,
        gains=gains,
        searches=(make_search(),) if with_study else (),
        test_reads={"distill": 1, "baselines": 2} if with_study else {},
    )


def make_leaderboard(*boards: Board) -> Leaderboard:
    """Return a leaderboard of ``boards``."""
    return Leaderboard(
        boards=boards,
        left_out=("run 81f3 of study <old>: its logits are missing",) if boards else (),
        created="2026-03-14T09:26:53Z",
        version="0.1.0",
        tracking="sqlite:///workspace/mlflow.db",
        command="fersearch report leaderboard",
    )


def small_leaderboard() -> Leaderboard:
    """Return seven models on one board and two, of one seed, on another."""
    other = make_board(
        2,
        seeds=1,
        images=200,
        absent=("contempt",),
        protocol_hash="77aa00bb11cc22dd",
        with_study=False,
        macs=None,
        latencies={},
    )
    return make_leaderboard(make_board(), other)


def large_leaderboard(count: int = 30) -> Leaderboard:
    """Return one board of ``count`` models, six of which have awkward names."""
    return make_leaderboard(make_board(count, images=2000))


def nasty_leaderboard() -> Leaderboard:
    """Return a board whose names, settings, notes and commands are all awkward."""
    labels = draw_labels(160)
    rows = [
        make_row(
            labels,
            number,
            seeds=2,
            title=name,
            model=name,
            settings={name: name, "loss": float("nan")},
            notes=(name,),
            command=f"fersearch study {name}",
            source=name,
            study=name,
            run_ids=(name, "\tx"),
        )
        for number, name in enumerate(NASTY)
    ]
    board = replace(
        make_board(2, images=160, seeds=2),
        labels=labels,
        rows=ranked(rows, labels),
        protocol={**PROTOCOL, "data": NASTY[0], NASTY[4]: NASTY[1], "n_test": 160},
        test_reads={NASTY[0]: 3},
    )
    return replace(make_leaderboard(board), left_out=NASTY, command=NASTY[4], tracking=NASTY[0])


def twin_board() -> Board:
    """Return a board whose first two models give identical predictions."""
    labels = draw_labels(120, absent=("contempt", "disgust"))
    rows = [make_row(labels, number, seeds=1) for number in range(3)]
    twin = replace(rows[0], key="twin", title="Twin of the first", latencies={})
    return replace(
        make_board(1, images=120, seeds=1, with_study=False),
        labels=labels,
        rows=ranked([*rows, twin], labels),
    )
