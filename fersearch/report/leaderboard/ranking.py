"""The comparison over several data sets as rows and words, for every format."""

from __future__ import annotations

from typing import Any

from fersearch.records import to_plain
from fersearch.stats import RankComparison

__all__ = ["ranking_json", "ranking_rows", "ranking_sentences"]


def ranking_rows(ranking: RankComparison) -> list[tuple[str, str]]:
    """Return model and mean rank, the best first."""
    return [
        (model, f"{rank:.2f}")
        for model, rank in zip(ranking.models, ranking.mean_ranks, strict=True)
    ]


def ranking_sentences(ranking: RankComparison) -> list[str]:
    """Say what was ranked, what the test says, and which models are not told apart."""
    lines = [
        f"Mean ranks by accuracy over {len(ranking.datasets)} data sets: "
        f"{'; '.join(ranking.datasets)}.",
        ranking.words,
    ]
    lines += [f"Not told apart: {', '.join(group)}." for group in ranking.groups]
    if ranking.left_out:
        lines.append(f"Not on all of them: {', '.join(ranking.left_out)}.")
    return [line for line in lines if line]


def ranking_json(ranking: RankComparison | None) -> dict[str, Any] | None:
    """Return the comparison as JSON; None where there is none."""
    plain: dict[str, Any] | None = None if ranking is None else to_plain(ranking)
    return plain
