"""Boards and maps for the tests of the comparison with the paper, from seeded random logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.evaluations import GradCams
from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.paper.claims import load_claims
from fersearch.stats import evaluate

CLASSES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
)  # fmt: skip
DRAWN: dict[str, Any] = {
    "data": "synthetic:train=400",
    "data_kind": "synthetic",
    "label_rule": "as drawn",
    "n_train": 400,
    "image_size": 48,
    "epochs": 8,
    "batch_size": 64,
    "recipe": "default",
    "seed": 0,
    "seeds": 3,
    "teacher_weights_sha256": "",
}
PAPERS: dict[str, Any] = {
    **DRAWN,
    "data": "ferplus:faces",
    "data_kind": "ferplus",
    "label_rule": "majority",
    "n_train": 25_060,
    "image_size": 224,
    "epochs": 150,
    "batch_size": 128,
    "recipe": "paper",
    "teacher_weights_sha256": "ab" * 32,
}
SIZES = {
    "eff_resnet18": 11_772_488,
    "shufflenet_v2_x1_0": 1_261_804,
    "resnet18": 11_180_616,
    "rcl_net": 11_660_864,
    "tfen": 9_304_968,
    "ecdnet": 11_243_592,
}
NASTY = ("<script>alert(1)</script>|`x` & \\input{y} $z$ %", '=HYPERLINK("a","b")')


def make_logits(
    labels: NDArray[np.int64], accuracy: float, seeds: int, *, seed: int = 0
) -> NDArray[np.float32]:
    """Return logits that are right on about that share of the images of every class."""
    generator = np.random.default_rng(seed)
    size = len(CLASSES)
    logits = generator.normal(size=(seeds, len(labels), size)).astype(np.float32)
    wrong = (labels + generator.integers(1, size, size=(seeds, len(labels)))) % size
    right = generator.random((seeds, len(labels))) < accuracy
    answers = np.where(right, labels, wrong)
    return logits + 9 * np.eye(size, dtype=np.float32)[answers]


def make_row(
    labels: NDArray[np.int64],
    model: str,
    role: str,
    *,
    accuracy: float = 0.85,
    seeds: int = 3,
    settings: Mapping[str, Any] | None = None,
    **fields: Any,
) -> BoardRow:
    key = fields.pop("key", f"{role} {model} {dict(settings or {})}")
    logits = make_logits(labels, accuracy, seeds, seed=len(key))
    return BoardRow(
        key=key,
        model=model,
        title=fields.pop("title", f"{model} as {role}"),
        role=role,
        seeds=tuple(range(seeds)),
        settings=dict(settings or {}),
        metrics=evaluate(logits, labels, CLASSES, seeds=range(seeds), resamples=200),
        logits=logits,
        params=fields.pop("params", SIZES[model]),
        training_params=SIZES[model],
        macs=fields.pop("macs", 147_800_000),
        macs_not_counted=(),
        file_mb=5.0,
        **fields,
    )


def make_labels(per_class: int = 40, absent: Sequence[str] = ()) -> NDArray[np.int64]:
    present = [index for index, name in enumerate(CLASSES) if name not in absent]
    return np.repeat(np.array(present, dtype=np.int64), per_class)


def make_board(
    rows: Sequence[BoardRow],
    labels: NDArray[np.int64],
    protocol: Mapping[str, Any] = DRAWN,
    kind: str = "leaderboard",
) -> Board:
    return Board(
        kind=kind,
        protocol={**protocol, "n_test": len(labels)},
        protocol_hash=f"{kind[0]}0123abcd",
        classes=CLASSES,
        labels=labels,
        rows=tuple(rows),
    )


def study_rows(labels: NDArray[np.int64], **fields: Any) -> list[BoardRow]:
    """Return teacher, student alone and distilled student."""
    shufflenet = "shufflenet_v2_x1_0"
    settings = {"temperature": 4.2, "alpha": 0.61, "ffe_splits": 4, "learning_rate": 0.0734}
    return [
        make_row(
            labels, "eff_resnet18", "teacher", settings={"ffe_splits": 4},
            **{"accuracy": 0.8623, **fields},
        ),
        make_row(labels, shufflenet, "student", **{"accuracy": 0.8815, **fields}),
        make_row(
            labels, shufflenet, "distilled", settings=settings, **{"accuracy": 0.9162, **fields}
        ),
    ]  # fmt: skip


def baseline_rows(labels: NDArray[np.int64], **fields: Any) -> list[BoardRow]:
    return [
        make_row(labels, name, "baseline", **{"accuracy": 0.8, **fields})
        for name in ("resnet18", "rcl_net", "tfen", "ecdnet")
    ]


def grid_rows(
    labels: NDArray[np.int64],
    points: Sequence[tuple[float, float]] = ((4, 0.4), (6, 0.2), (6, 0.4), (6, 0.6), (8, 0.4)),
    **fields: Any,
) -> list[BoardRow]:
    """Return cells of the grid and the student without a teacher."""
    rows = [
        make_row(
            labels,
            "shufflenet_v2_x1_0",
            "distilled",
            title=f"T={t} alpha={alpha}",
            settings={
                "temperature": float(t),
                "alpha": alpha,
                "ffe_splits": 4,
                "learning_rate": 0.01,
            },
            accuracy=0.6 + 0.02 * t,
            **fields,
        )
        for t, alpha in points
    ]
    return [*rows, make_row(labels, "shufflenet_v2_x1_0", "student", accuracy=0.6, **fields)]


def whole_leaderboard(protocol: Mapping[str, Any] = DRAWN) -> Leaderboard:
    labels = make_labels()
    grid = (*((4, 0.4), (6, 0.2), (6, 0.4), (6, 0.6), (8, 0.4)), (4, 0.2), (8, 0.6))
    return Leaderboard(
        boards=(
            make_board([*study_rows(labels), *baseline_rows(labels)], labels, protocol),
            make_board(grid_rows(labels, grid), labels, protocol, "ablation"),
        ),
        created="2026-03-14T09:26:53+00:00",
        version="0.1.0",
        tracking="sqlite:///workspace/mlflow.db",
        command="fersearch report paper",
    )


def make_cams(
    keys: Sequence[str], *, indices: Sequence[int] = (3, 11, 27), side: int = 48, seed: int = 0
) -> GradCams:
    """Return maps for ``keys`` on pictures that are a function of their number."""
    generator = np.random.default_rng(seed)
    count = len(indices)
    images = np.stack(
        [
            np.random.default_rng(index).integers(0, 256, (1, side, side), dtype=np.uint8)
            for index in indices
        ]
    )
    labels = np.array([index % len(CLASSES) for index in indices], dtype=np.int64)
    return GradCams(
        rule="of every class the test image with the smallest digest",
        images=images,
        indices=np.array(indices, dtype=np.int64),
        labels=labels,
        maps={key: generator.random((count, side, side)).astype(np.float32) for key in keys},
        predictions={
            key: np.where(np.arange(count) % 2 == 0, labels, (labels + 1) % len(CLASSES))
            for key in keys
        },
        layers=dict.fromkeys(keys, "layer4 (7 x 7)"),
    )


def claim_ids() -> list[str]:
    return list(load_claims().figures)
